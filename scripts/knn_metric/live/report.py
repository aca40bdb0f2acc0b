"""What is said of a watched target: one line, the table, the JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from knn_metric.cli import show
from knn_metric.live.metric import Metric
from knn_metric.platform.sonar import format_time
from knn_metric.tables import format_table


def is_alert(metrics: Sequence[Metric]) -> bool:
    return any(metric.is_alert for metric in metrics)


def describe(metrics: Sequence[Metric]) -> str:
    """Return the line: ``ok`` or ``alert``, and of which metrics if there are several."""
    alerts = [metric for metric in metrics if metric.is_alert]
    said = "; ".join(
        f"{show(metric.name)}: {_describe(metric)}" if metrics[1:] else _describe(metric)
        for metric in alerts or metrics
    )
    return f"{'alert' if alerts else 'ok'}: {said}"


def _describe(metric: Metric) -> str:
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
    return ", and ".join(said)


def describe_next_step(metrics: Sequence[Metric], target: str) -> str:
    """Say what to do after an alert; '' if there is none."""
    for metric in metrics:
        if metric.change:
            request = metric.at(metric.change.example).id
            line = f"knn-metric explain {target} --request {request}"
            return f"next: `{line}` explains the request that shows it best"
    if is_alert(metrics):
        return "next: look at the metric's log for why it does not answer"
    return ""


def format_metrics(metrics: Sequence[Metric]) -> str:
    """Return a row for each metric, then what is known of its change."""
    table = ["metric requests alarms rate expected evidence missing since".split()]
    details = []
    for metric in metrics:
        one = to_json(metric)
        name = show(metric.name)
        rates = [
            "-" if rate is None else f"{rate:.1%}" for rate in (one["rate"], one["expected_rate"])
        ]
        evidence = f"{one['evidence']:,.0f}" if metric.is_tested else "-"
        counts = [f"{one[key]:,}" for key in ("requests", "alarms", "missing")]
        since = format_time(one["since"])
        table.append([name, *counts[:2], *rates, evidence, counts[2], since])
        label = f"{name}: " if metrics[1:] else ""
        details += [[what, f"{label}{said}"] for what, said in _list_details(metric, one) if said]
    lines = [format_table(table, "<>>>>>><")]
    return "\n".join(lines + ([format_table(details, "<<")] if details else []))


def _list_details(metric: Metric, content: dict[str, Any]) -> list[tuple[str, str]]:
    note = [("note", metric.note)]
    if not metric.change:
        return note
    change = content["change"]
    return [
        ("began", metric.describe_begin(metric.change)),
        ("detected", format_time(change["detected"])),
        ("seen last", format_time(change["last"])),
        ("goes on", "yes" if change["goes_on"] else "no"),
        ("field", change["field"] or ""),
        *note,
    ]


def to_json(metric: Metric) -> dict[str, Any]:
    """Return what the table says of a metric, as plain values."""
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
        "since": metric.at(0).second,
        "until": metric.at(verdict.requests - 1).second,
        "change": change,
        "note": metric.note or None,
    }
