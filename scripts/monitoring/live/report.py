"""What is said of a watched target: one line, the table, the JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monitoring.cli import show
from monitoring.hydrosphere.sonar import format_time
from monitoring.live.verdict import Detected, Verdict
from monitoring.tables import format_table


def is_alert(verdicts: Sequence[Verdict]) -> bool:
    return any(verdict.is_alert for verdict in verdicts)


def describe(verdicts: Sequence[Verdict]) -> str:
    """Return the line: ``ok`` or ``alert``, and of which metrics if there are several."""
    alerts = [verdict for verdict in verdicts if verdict.is_alert]
    said = "; ".join(
        f"{show(verdict.metric)}: {_describe(verdict)}" if verdicts[1:] else _describe(verdict)
        for verdict in alerts or verdicts
    )
    return f"{'alert' if alerts else 'ok'}: {said}"


def _describe(verdict: Verdict) -> str:
    said = []
    if verdict.detected:
        said.append(_describe_change(verdict.detected))
    if verdict.misses_checks:
        said.append(f"{verdict.missing:,} of {verdict.requests:,} checks are missing")
    elif not verdict.detected:
        alarms = f"{verdict.alarms:,} alarms in {verdict.checked:,} requests"
        said.append(f"no change detected, {alarms}")
    return ", and ".join(said)


def _describe_change(detected: Detected) -> str:
    state = "goes on" if detected.goes_on else "is over"
    field = f"; {detected.excess}" if detected.excess else ""
    return (
        f"the traffic changed at about {format_time(detected.onset.second)}, and it {state}{field}"
    )


def describe_next_step(verdicts: Sequence[Verdict], target: str) -> str:
    """Say what to do after an alert; '' if there is none."""
    for verdict in verdicts:
        if verdict.detected and verdict.last_alarm:
            request = f"REQUEST={verdict.last_alarm.id} TARGET={target}"
            return f"next: `make explain {request}` explains the last alarm"
    if is_alert(verdicts):
        return "next: look at the metric's log for why it does not answer"
    return ""


def format_verdicts(verdicts: Sequence[Verdict]) -> str:
    """Return a row for each metric, then what is known of its change and its last alarm."""
    head = "metric requests alarms rate expected evidence missing since".split()
    table = [head]
    for one in verdicts:
        rate = "-" if one.rate is None else f"{one.rate:.1%}"
        expected = "-" if one.expected_rate is None else f"{one.expected_rate:.1%}"
        evidence = "-" if one.evidence is None else f"{one.evidence:,.0f}"
        counts = [f"{one.requests:,}", f"{one.alarms:,}", rate, expected, evidence]
        since = format_time(one.since.second)
        table.append([show(one.metric), *counts, f"{one.missing:,}", since])
    details = [row for one in verdicts for row in _list_details(one, bool(verdicts[1:]))]
    lines = [format_table(table, "<>>>>>><")]
    return "\n".join(lines + ([format_table(details, "<<")] if details else []))


def _list_details(verdict: Verdict, is_named: bool) -> list[list[str]]:
    name = f"{show(verdict.metric)}: " if is_named else ""
    details = []
    detected, alarm = verdict.detected, verdict.last_alarm
    if detected:
        for label, request in (
            ("began at about", detected.onset),
            ("detected", detected.first),
            ("seen last", detected.last),
        ):
            details.append([label, f"{name}{format_time(request.second)}"])
        details.append(["goes on", f"{name}{'yes' if detected.goes_on else 'no'}"])
        if detected.excess:
            details.append(["field", f"{name}{detected.excess}"])
    if alarm:
        check = alarm.checks[verdict.metric]
        value = f"value {check.value!r}, threshold {check.threshold!r}"
        when = format_time(alarm.second)
        details.append(["last alarm", f"{name}{value}, {when}, request {show(alarm.id)}"])
    if verdict.evidence is None:
        problem = (
            "not tested: it was uploaded without a calibration, and no artifact here is its own"
        )
        details.append(["change", f"{name}{problem}"])
    return details


def to_json(verdict: Verdict) -> dict[str, Any]:
    """Return what the table says of a metric, as plain values."""
    change = None
    if verdict.detected:
        found = verdict.detected
        change = {
            "onset": found.onset.second,
            "detected": found.first.second,
            "last": found.last.second,
            "goes_on": found.goes_on,
            "field": found.excess and found.excess._asdict(),
        }
    return {
        "name": verdict.metric,
        "alert": verdict.is_alert,
        "requests": verdict.requests,
        "checked": verdict.checked,
        "missing": verdict.missing,
        "alarms": verdict.alarms,
        "rate": verdict.rate,
        "expected_rate": verdict.expected_rate,
        "evidence": verdict.evidence,
        "since": verdict.since.second,
        "until": verdict.until.second,
        "change": change,
        "last_alarm": verdict.last_alarm and verdict.last_alarm.id,
    }
