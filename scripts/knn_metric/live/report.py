"""What is said of a watched target: one line, the table, the JSON object."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from knn_metric.cli import show
from knn_metric.detection.verdict import Change
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
        field = metric.name_field(change)
        begin = describe_begin(metric, change)
        said.append(f"the traffic changed at {begin}, and it {state}{field and f'; {field}'}")
    if metric.outage:
        said.append(describe_missing(metric, metric.outage))
    elif not change:
        alarms = f"{verdict.alarms:,} alarms in {verdict.checked:,} requests"
        said.append(f"no change detected, {alarms}")
    return ", and ".join(said)


def describe_begin(metric: Metric, change: Change) -> str:
    """Say when a change began: about then, or earlier than what was read can tell."""
    time = format_time(metric.requests[change.onset].second)
    return f"{time} or earlier" if change.began_earlier else f"about {time}"


def describe_missing(metric: Metric, lack: Change) -> str:
    """Say how many checks are missing since that began."""
    since = metric.requests[lack.onset :]
    missing = sum(math.isnan(request.score) for request in since)
    begin = describe_begin(metric, lack)
    return f"{missing:,} of {len(since):,} checks are missing since {begin}"


def describe_next_step(metrics: Sequence[Metric], target: str) -> str:
    """Say what to do after an alert; '' if there is none."""
    for metric in metrics:
        if metric.change:
            request = metric.requests[metric.change.example].id
            line = f"knn-metric explain {target} --request {request}"
            return f"next: `{line}` explains the request that shows it best"
    if is_alert(metrics):
        return "next: look at the metric's log for why it does not answer"
    return ""


def format_metrics(metrics: Sequence[Metric]) -> str:
    """Return a row for each metric, then what is known of its change."""
    head = "metric requests alarms rate expected evidence missing since".split()
    table = [head]
    for one in metrics:
        content = to_json(one)
        rates = (content[name] for name in ("rate", "expected_rate"))
        cells = ["-" if rate is None else f"{rate:.1%}" for rate in rates]
        cells.append(f"{content['evidence']:,.0f}" if one.is_tested else "-")
        counts = [f"{content[name]:,}" for name in ("requests", "alarms", "missing")]
        since = format_time(content["since"])
        table.append([show(one.name), *counts[:2], *cells, counts[2], since])
    details = [row for one in metrics for row in _list_details(one, bool(metrics[1:]))]
    lines = [format_table(table, "<>>>>>><")]
    return "\n".join(lines + ([format_table(details, "<<")] if details else []))


def _list_details(metric: Metric, is_named: bool) -> list[list[str]]:
    details = {}
    change = metric.change
    if change:
        details["began"] = describe_begin(metric, change)
        details["detected"] = format_time(metric.requests[change.detected].second)
        details["seen last"] = format_time(metric.requests[change.last].second)
        details["goes on"] = "yes" if metric.verdict.goes_on(change) else "no"
        details["field"] = metric.name_field(change)
    details["note"] = metric.note
    name = f"{show(metric.name)}: " if is_named else ""
    return [[label, f"{name}{said}"] for label, said in details.items() if said]


def to_json(metric: Metric) -> dict[str, Any]:
    """Return what the table says of a metric, as plain values."""
    verdict, found = metric.verdict, metric.change
    change = found and {
        "onset": metric.requests[found.onset].second,
        "began_earlier": found.began_earlier,
        "detected": metric.requests[found.detected].second,
        "last": metric.requests[found.last].second,
        "goes_on": verdict.goes_on(found),
        "field": metric.name_field(found) or None,
        "request": metric.requests[found.example].id,
    }
    return {
        "name": metric.name,
        "alert": metric.is_alert,
        "requests": verdict.requests,
        "checked": verdict.checked,
        "missing": verdict.requests - verdict.checked,
        "missing_since": metric.outage and metric.requests[metric.outage.onset].second,
        "alarms": verdict.alarms,
        "rate": verdict.alarms / verdict.checked if verdict.checked else None,
        "expected_rate": metric.expected_rate,
        "evidence": verdict.evidence if metric.is_tested else None,
        "since": metric.requests[0].second,
        "until": metric.requests[-1].second,
        "change": change,
        "note": metric.note or None,
    }
