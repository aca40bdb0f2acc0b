"""What is said of a watched target: one line, the table, the JSON object, alerts, the picture."""

import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from knn_metric.cli import UserError, complain, show
from knn_metric.live.metric import Failures, Metric, Told
from knn_metric.live.monitor import Monitor
from knn_metric.platform.manager import Service
from knn_metric.platform.sonar import format_time
from knn_metric.tables import format_table

CHANGE = "MonitoredTrafficChanged"
LASTS = 3600  # seconds until an alert ends that is not sent again
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


def describe(monitor: Monitor) -> str:
    """Return the line: ``ok``, ``alert`` or ``not tested``, and of which metrics if several."""
    alerts, metrics = [one for one in monitor.streams if one.is_alert], monitor.metrics
    said = [describe_metric(one, is_one=not metrics[1:]) for one in alerts or metrics]
    state = "alert" if alerts else "ok" if any(one.is_tested for one in metrics) else "not tested"
    return f"{state}: {'; '.join(said)}"


def describe_metric(metric: Metric, is_one: bool) -> str:
    """Say what became of a metric's requests, after its name if it is not the only one."""
    said = [metric.outage] if metric.outage else []
    if change := metric.change:
        field = f"; {change.field}" if change.field else ""
        changed = f"the traffic changed at {change.begin}, and it {STATES[change.goes_on]}{field}"
        said.insert(0, changed)
    if not said:
        alarms = f"{metric.verdict.alarms:,} alarms in {metric.verdict.checked:,} requests"
        said.append(f"no change detected, {alarms}")
    whose = "" if is_one or isinstance(metric, Failures) else f"{show(metric.name)}: "
    return whose + ", and ".join(said)


def describe_next_step(monitor: Monitor) -> str:
    """Say what to do after an alert; '' if there is none."""
    for metric in monitor.metrics:
        if metric.change:
            line = f"knn-metric explain {monitor.target} --request {metric.change.request}"
            return f"next: `{line}` explains the request that shows it best"
    if not any(one.is_alert for one in monitor.streams):
        return ""
    whose = "metric" if any(one.is_alert for one in monitor.metrics) else "target"
    return f"next: look at the {whose}'s log for why it does not answer"


def format_report(monitor: Monitor) -> str:
    """Return a row for each metric, then what is known of its change, and of all requests."""
    table = [["metric", *(key.partition("_")[0] for key in COLUMNS)]]
    details: list[Sequence[str]] = []
    is_one, failures = len(monitor.streams) == 1, monitor.failures
    for metric in monitor.metrics:
        one, name, known = to_json(metric), show(metric.name), []
        cells = ("-" if one[key] is None else write(one[key]) for key, write in COLUMNS.items())
        table.append([name, *cells])
        if change := metric.change:
            known = [
                ("began", change.begin),
                ("detected", format_time(change.detected)),
                ("seen last", format_time(change.last)),
                ("goes on", ANSWERS[change.goes_on]),
                ("field", change.field),
            ]
        known += [("note", show(note)) for note in metric.notes]
        details += [(what, said if is_one else f"{name}: {said}") for what, said in known if said]
    if failures.error:
        missing = failures.verdict.requests - failures.verdict.checked
        counts = f"{missing:,} of {failures.verdict.requests:,} requests"
        details.append(("failed", f"{failures.name}: {counts}: {show(failures.error)}"))
    details.append(("newest", format_time(monitor.newest)))
    details += [("note", one) for one in monitor.notes]
    return f"{format_table(table, '<>>>>>><')}\n{format_table(details, '<<')}"


def to_json(metric: Metric) -> dict[str, Any]:
    verdict, change = metric.verdict, metric.change
    return {
        "name": metric.name,
        "alert": metric.is_alert,
        "requests": verdict.requests,
        "checked": verdict.checked,
        "missing": verdict.requests - verdict.checked,
        "missing_since": metric.lack.onset if metric.lack and metric.outage else None,
        "alarms": verdict.alarms,
        "rate": verdict.alarms / verdict.checked if verdict.checked else None,
        "expected_rate": metric.expected_rate,
        "evidence": verdict.evidence if metric.is_tested else None,
        "since": metric.since,
        "until": max((one.second for one in metric.requests.values()), default=None),
        "change": change and change._asdict(),
        "note": "; ".join(metric.notes) or None,
    }


class Alertmanager(Service):
    """The Alertmanager of a cluster; alerts with the same labels are one alert there."""

    NAME = "Alertmanager"
    ROOT = "/alerts/"

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.due: dict[str, dict[str, Any]] = {}  # by their labels, until they are accepted

    def send(self, monitor: Monitor) -> None:
        """Send what goes on anew, end what is over, and send what was not accepted before.

        That it is not accepted changes no verdict, and is said.
        """
        for metric in monitor.streams:
            if change := metric.change:
                # An annotation, since the field may become another one while the change lasts.
                field = change.field or "unknown"
                said = {"summary": f"its traffic changed, field: {field}", "field": field}
                self._add(monitor.target, metric, CHANGE, change, said)
            if lack := metric.lack:
                said = {"summary": metric.describe(lack)}
                self._add(monitor.target, metric, metric.ALERT, lack, said)
        try:
            if self.due:
                self.call("POST", "api/v2/alerts", list(self.due.values()))
            self.due.clear()
        except UserError as error:
            complain(str(error))

    def _add(
        self, target: str, metric: Metric, name: str, told: Told, said: dict[str, str]
    ) -> None:
        model, _, version = target.partition(":")
        labels = {"alertname": name, "modelName": model, "modelVersion": version}
        labels["metric"] = metric.name
        ends = time.time() + (0 if told.goes_on is False else LASTS)
        self.due[json.dumps(labels)] = {
            "labels": labels,
            "annotations": {**said, "summary": f"{target}: {said['summary']}"},
            "startsAt": datetime.fromtimestamp(told.onset, UTC).isoformat(),
            "endsAt": datetime.fromtimestamp(ends, UTC).isoformat(),
        }


def plot(monitor: Monitor, path: Path) -> None:
    """Draw a metric below the other: its scores, and below them the evidence of a change."""
    import numpy as np
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    from knn_metric import plotting
    from knn_metric.detection.change import ALERT

    metrics = monitor.metrics
    figure = Figure(figsize=(11, 2 + 4 * len(metrics)), layout="constrained")
    axes = figure.subplots(2 * len(metrics), 1, sharex=True, squeeze=False)[:, 0]
    for metric, own in zip(metrics, axes.reshape(-1, 2).tolist(), strict=True):
        requests = list(metric.requests.values())
        times = [datetime.fromtimestamp(request.second) for request in requests]
        scores = np.array([request.score for request in requests])
        evidence = [request.evidence for request in requests] if metric.is_tested else []
        limit = metric.threshold if np.isfinite(metric.threshold) else np.nanmax([1, *scores])
        plotting.plot_stream(own, times, scores, evidence, limit, ALERT)
        said = describe_metric(metric, is_one=False)
        own[0].set_title(said, loc="left", fontsize=10, wrap=True, parse_math=False)
        if metric.change:
            moment = datetime.fromtimestamp(metric.change.onset)
            plotting.mark(own, moment, "about where the change began", "tab:green")
    locator = AutoDateLocator()
    axes[-1].xaxis.set_major_locator(locator)
    axes[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes[-1].set_xlabel("time of the check")
    title = f"{monitor.target}: the scores of its requests, and the evidence that they have changed"
    plotting.add_title(figure, "\n".join(filter(None, [title, monitor.failures.outage])))
    plotting.add_legend(figure)
    plotting.save(figure, path)
