"""Alerts that are sent to the platform's Alertmanager: one for a change, however long it lasts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from monitoring.hydrosphere.manager import Service
from monitoring.live.verdict import Verdict

CHANGE = "MonitoredTrafficChanged"
MISSING = "MonitoringChecksMissing"
LASTS = 3600  # seconds until an alert ends that is not sent again


class Alertmanager(Service):
    """The Alertmanager of a cluster; alerts with the same labels are one alert there."""

    NAME = "Alertmanager"
    ROOT = "/alerts/"

    def send(self, verdicts: Sequence[Verdict], target: str) -> int:
        """Send an alert for each change and each lack of checks; return how many.

        One that goes on is sent again with each call, one that is over is ended.
        """
        alerts = [
            alert for verdict in verdicts for alert in make_alerts(verdict, target, time.time())
        ]
        if alerts:
            self.call("POST", "api/v2/alerts", alerts)
        return len(alerts)


def make_alerts(verdict: Verdict, target: str, now: float) -> list[dict[str, Any]]:
    """Return a verdict's alerts as Alertmanager takes them."""
    model, _, version = target.partition(":")
    labels = {"modelName": model, "modelVersion": version, "metric": verdict.metric}
    alerts = []
    if verdict.detected:
        found = verdict.detected
        field = found.excess.feature if found.excess else "unknown"
        summary = f"{target}: its traffic changed, {found.excess or 'the field is not known'}"
        ends = now + LASTS if found.goes_on else now
        own = {"alertname": CHANGE, **labels, "field": field}
        alerts.append(_make_alert(own, summary, found.onset.second, ends))
    if verdict.misses_checks:
        summary = f"{target}: {verdict.missing:,} of {verdict.requests:,} checks are missing"
        own = {"alertname": MISSING, **labels}
        alerts.append(_make_alert(own, summary, verdict.since.second, now + LASTS))
    return alerts


def _make_alert(labels: dict[str, str], summary: str, starts: float, ends: float) -> dict[str, Any]:
    times = (datetime.fromtimestamp(second, UTC).isoformat() for second in (starts, ends))
    starts_at, ends_at = times
    annotations = {"summary": summary}
    return {"labels": labels, "annotations": annotations, "startsAt": starts_at, "endsAt": ends_at}
