"""Alerts that are sent to the platform's Alertmanager: one for a change, however long it lasts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from knn_metric.detection.verdict import Change
from knn_metric.live.metric import Metric
from knn_metric.live.report import describe_missing
from knn_metric.platform.manager import Service

CHANGE = "MonitoredTrafficChanged"
MISSING = "MonitoringChecksMissing"
LASTS = 3600  # seconds until an alert ends that is not sent again


class Alertmanager(Service):
    """The Alertmanager of a cluster; alerts with the same labels are one alert there."""

    NAME = "Alertmanager"
    ROOT = "/alerts/"

    def send(self, metrics: Sequence[Metric], target: str) -> int:
        """Send an alert for each change and each lack of checks; return how many.

        One that goes on is sent again with each call, one that is over is ended.
        """
        now = time.time()
        alerts = [alert for metric in metrics for alert in make_alerts(metric, target, now)]
        if alerts:
            self.call("POST", "api/v2/alerts", alerts)
        return len(alerts)


def make_alerts(metric: Metric, target: str, now: float) -> list[dict[str, Any]]:
    """Return a metric's alerts as Alertmanager takes them."""
    model, _, version = target.partition(":")
    labels = {"modelName": model, "modelVersion": version, "metric": metric.name}
    alerts = []

    def add(name: str, change: Change, annotations: dict[str, str]) -> None:
        starts = metric.requests[change.onset].second
        ends = now + LASTS if metric.verdict.goes_on(change) else now
        times = (datetime.fromtimestamp(second, UTC).isoformat() for second in (starts, ends))
        named = {"labels": {"alertname": name, **labels}, "annotations": annotations}
        alerts.append(named | dict(zip(("startsAt", "endsAt"), times, strict=True)))

    if metric.change:
        # An annotation, since the field may become another one while the change lasts.
        field = metric.name_field(metric.change) or "unknown"
        summary = f"{target}: its traffic changed, field: {field}"
        add(CHANGE, metric.change, {"summary": summary, "field": field})
    for lack in metric.verdict.missing[-1:]:
        add(MISSING, lack, {"summary": f"{target}: {describe_missing(metric, lack)}"})
    return alerts
