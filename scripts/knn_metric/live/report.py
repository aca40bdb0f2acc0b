"""What is said of a watched target: one line, the table, the JSON object."""

from collections.abc import Callable, Sequence
from typing import Any

from knn_metric.cli import show
from knn_metric.live.metric import Failures, Metric
from knn_metric.platform.sonar import format_time
from knn_metric.tables import format_table

STATES = {True: "goes on", False: "is over", None: "may go on: no check since tells"}
ANSWERS = {True: "yes", False: "no", None: "not known: no check since tells"}
# The table's columns of numbers.
COLUMNS: dict[str, Callable[[Any], str]] = {
    "requests": "{:,}".format,
    "alarms": "{:,}".format,
    "rate": "{:.1%}".format,
    "expected_rate": "{:.1%}".format,
    "evidence": "{:,.0f}".format,
    "missing": "{:,}".format,
    "since": format_time,
}


def describe(streams: Sequence[Metric]) -> str:
    """Return the line: ``ok``, ``alert`` or ``not tested``, and of which metrics if several."""
    alerts = [metric for metric in streams if metric.is_alert]
    metrics = [metric for metric in streams if not isinstance(metric, Failures)]
    said = [describe_metric(metric, is_one=not metrics[1:]) for metric in alerts or metrics]
    state = "alert" if alerts else "ok" if any(one.is_tested for one in metrics) else "not tested"
    return f"{state}: {'; '.join(said)}"


def describe_metric(metric: Metric, is_one: bool) -> str:
    """Say what became of a metric's requests, after its name if it is not the only one."""
    said = []
    change, verdict = metric.change, metric.verdict
    if change:
        begin, field = metric.describe_begin(change), metric.name_field(change)
        state = STATES[metric.goes_on(change)]
        said.append(f"the traffic changed at {begin}, and it {state}{field and f'; {field}'}")
    if metric.outage:
        said.append(metric.describe_missing(metric.outage))
    if not said:
        alarms = f"{verdict.alarms:,} alarms in {verdict.checked:,} requests"
        said.append(f"no change detected, {alarms}")
    whose = "" if is_one or isinstance(metric, Failures) else f"{show(metric.name)}: "
    return whose + ", and ".join(said)


def describe_next_step(streams: Sequence[Metric], target: str) -> str:
    """Say what to do after an alert; '' if there is none."""
    for metric in streams:
        if metric.change:
            line = f"knn-metric explain {target} --request {metric.at(metric.change.example).id}"
            return f"next: `{line}` explains the request that shows it best"
    failing = [metric for metric in streams if metric.is_alert]
    whose = "target" if all(isinstance(one, Failures) for one in failing) else "metric"
    return f"next: look at the {whose}'s log for why it does not answer" if failing else ""


def format_metrics(streams: Sequence[Metric], newest: int, notes: Sequence[str]) -> str:
    """Return a row for each metric, then what is known of its change, and of all requests."""
    table = [["metric", *(key.partition("_")[0] for key in COLUMNS)]]
    details: list[Sequence[str]] = []
    for metric in streams:
        one, name = to_json(metric), show(metric.name)
        label = f"{name}: " if streams[1:] else ""
        if isinstance(metric, Failures):
            counts = f"{one['missing']:,} of {one['requests']:,} requests"
            details.append(("failed", f"{label}{counts}: {show(metric.error)}"))
            continue
        details += [(what, f"{label}{said}") for what, said in _list_details(metric) if said]
        cells = ("-" if one[key] is None else write(one[key]) for key, write in COLUMNS.items())
        table.append([name, *cells])
    details += [("newest", format_time(newest)), *(("note", one) for one in notes)]
    return f"{format_table(table, '<>>>>>><')}\n{format_table(details, '<<')}"


def _list_details(metric: Metric) -> list[tuple[str, str]]:
    notes = [("note", show(note)) for note in metric.notes]
    change = metric.change
    if not change:
        return notes
    return [
        ("began", metric.describe_begin(change)),
        ("detected", format_time(metric.at(change.detected).second)),
        ("seen last", format_time(metric.at(change.last).second)),
        ("goes on", ANSWERS[metric.goes_on(change)]),
        ("field", metric.name_field(change)),
        *notes,
    ]


def to_json(metric: Metric) -> dict[str, Any]:
    verdict, change, outage = metric.verdict, metric.change, metric.outage
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
        "change": change
        and {
            "onset": metric.at(change.onset).second,
            "began_earlier": change.began_earlier,
            "detected": metric.at(change.detected).second,
            "last": metric.at(change.last).second,
            "goes_on": metric.goes_on(change),
            "field": metric.name_field(change) or None,
            "request": metric.at(change.example).id,
        },
        "note": "; ".join(metric.notes) or None,
    }
