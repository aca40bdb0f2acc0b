"""What is said of a watched target: one line, the table, the JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from knn_metric.cli import show
from knn_metric.live.metric import Failures, Metric
from knn_metric.platform.sonar import format_time
from knn_metric.tables import format_table


def is_alert(metrics: Sequence[Metric]) -> bool:
    return any(metric.is_alert for metric in metrics)


def is_tested(metrics: Sequence[Metric]) -> bool:
    return any(metric.is_tested for metric in metrics if not isinstance(metric, Failures))


def describe(streams: Sequence[Metric]) -> str:
    """Return the line: ``ok``, ``alert`` or ``not tested``, and of which metrics if several."""
    alerts = [metric for metric in streams if metric.is_alert]
    metrics = [metric for metric in streams if not isinstance(metric, Failures) or metric in alerts]
    said = [_describe(metric, is_one=not metrics[1:]) for metric in alerts or metrics]
    state = "alert" if alerts else "ok" if is_tested(metrics) else "not tested"
    return f"{state}: {'; '.join(said)}"


def _describe(metric: Metric, is_one: bool) -> str:
    said = []
    change, verdict = metric.change, metric.verdict
    if change:
        state = "goes on" if verdict.goes_on(change) else "is over"
        begin, field = metric.describe_begin(change), metric.name_field(change)
        said.append(f"the traffic changed at {begin}, and it {state}{field and f'; {field}'}")
    if metric.outage:
        said.append(metric.describe_missing(metric.outage))
    elif not change:
        alarms = f"{verdict.alarms:,} alarms in {verdict.checked:,} requests"
        said.append(f"no change detected, {alarms}")
    whose = "" if is_one or isinstance(metric, Failures) else f"{show(metric.name)}: "
    return whose + ", and ".join(said)


def describe_next_step(metrics: Sequence[Metric], target: str) -> str:
    """Say what to do after an alert; '' if there is none."""
    for metric in metrics:
        if metric.change:
            line = f"knn-metric explain {target} --request {metric.at(metric.change.example).id}"
            return f"next: `{line}` explains the request that shows it best"
    failing = [metric for metric in metrics if metric.is_alert]
    whose = "target" if all(isinstance(one, Failures) for one in failing) else "metric"
    return f"next: look at the {whose}'s log for why it does not answer" if failing else ""


def format_metrics(streams: Sequence[Metric], notes: Sequence[str]) -> str:
    """Return a row for each metric, then what is known of its change, and of all requests."""
    table = ["metric requests alarms rate expected evidence missing since".split()]
    details: list[list[str]] = []
    for metric in streams:
        one, name = to_json(metric), show(metric.name)
        label = f"{name}: " if streams[1:] else ""
        details += [[what, f"{label}{said}"] for what, said in _list_details(metric, one) if said]
        if isinstance(metric, Failures):
            continue
        rates = [one["rate"], one["expected_rate"]]
        percent = ["-" if rate is None else f"{rate:.1%}" for rate in rates]
        evidence = f"{one['evidence']:,.0f}" if metric.is_tested else "-"
        counts = [f"{one[key]:,}" for key in ("requests", "alarms", "missing")]
        since = "-" if one["since"] is None else format_time(one["since"])
        table.append([name, *counts[:2], *percent, evidence, counts[2], since])
    details += [["note", note] for note in notes]
    lines = [format_table(table, "<>>>>>><")]
    return "\n".join(lines + ([format_table(details, "<<")] if details else []))


def _list_details(metric: Metric, content: dict[str, Any]) -> list[tuple[str, str]]:
    notes = [("note", show(note)) for note in metric.notes]
    if isinstance(metric, Failures):
        failed = f"{content['missing']:,} of {content['requests']:,} requests: {show(metric.error)}"
        return [("failed", failed), *notes]
    if not metric.change:
        return notes
    change = content["change"]
    return [
        ("began", metric.describe_begin(metric.change)),
        ("detected", format_time(change["detected"])),
        ("seen last", format_time(change["last"])),
        ("goes on", "yes" if change["goes_on"] else "no"),
        ("field", change["field"] or ""),
        *notes,
    ]


def to_json(metric: Metric) -> dict[str, Any]:
    verdict, found, outage = metric.verdict, metric.change, metric.outage
    change = found and {
        "onset": metric.at(found.onset).second,
        "began_earlier": found.began_earlier,
        "detected": metric.at(found.detected).second,
        "last": metric.at(found.last).second,
        "goes_on": verdict.goes_on(found),
        "field": metric.name_field(found) or None,
        "request": metric.at(found.example).id,
    }
    return {
        "name": metric.name,
        "alert": metric.is_alert,
        "requests": verdict.requests,
        "checked": verdict.checked,
        "missing": verdict.requests - verdict.checked,
        "missing_since": outage and metric.at(outage.onset).second,
        "alarms": verdict.alarms,
        "rate": verdict.alarms / verdict.checked if verdict.checked else None,
        "expected_rate": metric.expected_rate,
        "evidence": verdict.evidence if metric.is_tested else None,
        "since": metric.since,
        "until": max((one.second for one in metric.requests.values()), default=None),
        "change": change,
        "note": "; ".join(metric.notes) or None,
    }
