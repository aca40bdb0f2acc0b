"""Alerts that are sent to the platform's Alertmanager: one for a change, however long it lasts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from knn_metric.detection.verdict import Change
from knn_metric.live.metric import Failures, Metric
from knn_metric.platform.manager import Service

CHANGE = "MonitoredTrafficChanged"
MISSING = "MonitoringChecksMissing"
FAILS = "MonitoredModelFails"
LASTS = 3600  # seconds until an alert ends that is not sent again


class Alertmanager(Service):
    """The Alertmanager of a cluster; alerts with the same labels are one alert there."""

    NAME = "Alertmanager"
    ROOT = "/alerts/"

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.due: dict[str, dict[str, Any]] = {}  # by their labels, until they are accepted

    def send(self, metrics: Sequence[Metric], target: str) -> None:
        """Send what goes on anew, end what is over, and send what was not accepted before."""
        for metric in metrics:
            for alert in make_alerts(metric, target):
                self.due[json.dumps(alert["labels"])] = alert
        if self.due:
            self.call("POST", "api/v2/alerts", list(self.due.values()))
        self.due.clear()


def make_alerts(metric: Metric, target: str) -> Iterator[dict[str, Any]]:
    model, _, version = target.partition(":")
    now = time.time()

    def make(name: str, change: Change, annotations: dict[str, str]) -> dict[str, Any]:
        labels = {"modelName": model, "modelVersion": version, "metric": metric.name}
        ends = now + LASTS if metric.verdict.goes_on(change) else now
        return {
            "labels": {"alertname": name, **labels},
            "annotations": annotations,
            "startsAt": datetime.fromtimestamp(metric.at(change.onset).second, UTC).isoformat(),
            "endsAt": datetime.fromtimestamp(ends, UTC).isoformat(),
        }

    if metric.change:
        # An annotation, since the field may become another one while the change lasts.
        field = metric.name_field(metric.change) or "unknown"
        summary = f"{target}: its traffic changed, field: {field}"
        yield make(CHANGE, metric.change, {"summary": summary, "field": field})
    if metric.lack:
        name = FAILS if isinstance(metric, Failures) else MISSING
        summary = f"{target}: {metric.describe_missing(metric.lack)}"
        yield make(name, metric.lack, {"summary": summary})
