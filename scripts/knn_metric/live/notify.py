"""Alerts that are sent to the platform's Alertmanager: one for a change, however long it lasts."""

import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from knn_metric.detection.verdict import Change
from knn_metric.live.metric import Metric
from knn_metric.platform.manager import Service

CHANGE = "MonitoredTrafficChanged"
LASTS = 3600  # seconds until an alert ends that is not sent again


class Alertmanager(Service):
    """The Alertmanager of a cluster; alerts with the same labels are one alert there."""

    NAME = "Alertmanager"
    ROOT = "/alerts/"

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.due: dict[str, dict[str, Any]] = {}  # by their labels, until they are accepted

    def send(self, streams: Sequence[Metric], target: str) -> None:
        """Send what goes on anew, end what is over, and send what was not accepted before."""
        for metric in streams:
            for change, labels, said in _describe(metric, target):
                ends = time.time() + (LASTS if metric.verdict.goes_on(change) else 0)
                begins = metric.at(change.onset).second
                self.due[json.dumps(labels)] = {
                    "labels": labels,
                    "annotations": said,
                    "startsAt": datetime.fromtimestamp(begins, UTC).isoformat(),
                    "endsAt": datetime.fromtimestamp(ends, UTC).isoformat(),
                }
        if self.due:
            self.call("POST", "api/v2/alerts", list(self.due.values()))
        self.due.clear()


def _describe(
    metric: Metric, target: str
) -> Iterator[tuple[Change, dict[str, str], dict[str, str]]]:
    """Yield what is told of a metric: the change, an alert's labels and its annotations."""
    model, _, version = target.partition(":")
    labels = {"modelName": model, "modelVersion": version, "metric": metric.name}
    if metric.change:
        # An annotation, since the field may become another one while the change lasts.
        field = metric.name_field(metric.change) or "unknown"
        summary = f"{target}: its traffic changed, field: {field}"
        yield metric.change, {"alertname": CHANGE, **labels}, {"summary": summary, "field": field}
    if metric.lack:
        summary = f"{target}: {metric.describe_missing(metric.lack)}"
        yield metric.lack, {"alertname": metric.ALERT, **labels}, {"summary": summary}
