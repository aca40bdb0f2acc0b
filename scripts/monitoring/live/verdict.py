"""What a metric's checks say: whether the traffic has changed, and whether checks are missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from monitoring.cli import UserError
from monitoring.detection.attribution import Attribution, Excess, find_excess
from monitoring.detection.change_detection import Bets, ChangeDetector
from monitoring.hydrosphere.sonar import Check, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portable_knn import PortableKNN

MISSING = 0.5  # the proportion of missing checks that is an alert
EXPLAINED = 1000  # alarms, the last ones of a change, that the reason comes from


@dataclass
class Metric:
    """A metric of the target, and what it has seen.

    Attributes
    ----------
    name : str
    threshold : float
    calibration : dict or None
        Of the artifact that it was uploaded with, or of the one at hand; None if neither is known.
    artifact : PortableKNN or None
        The one at hand, if it has the metric's threshold.
    requests : list of Request
        Those that were read, in their order.
    """

    name: str
    threshold: float
    calibration: dict[str, Any] | None = None
    artifact: PortableKNN | None = None
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.detector = ChangeDetector(Bets.of(self.calibration)) if self.calibration else None
        self.scored: list[int] = []  # positions of the requests that it has checked

    def add(self, requests: Sequence[Request]) -> None:
        """Take new requests in their order."""
        for request in requests:
            self.requests.append(request)
            if self.name in request.checks:
                self.scored.append(len(self.requests) - 1)
                if self.detector:
                    self.detector.add(request.checks[self.name].value)

    def check(self, request: Request) -> Check:
        return request.checks[self.name]


@dataclass(frozen=True)
class Detected:
    """A change that was detected: the requests with which it began, was detected, and last seen.

    Attributes
    ----------
    onset, first, last : Request
        About where it began; the first alert; the last one.
    goes_on : bool
    excess : Excess or None
        The field that alarms since the onset come from, if the artifact is at hand.
    """

    onset: Request
    first: Request
    last: Request
    goes_on: bool
    excess: Excess | None


@dataclass(frozen=True)
class Verdict:
    """What a metric's checks say of the traffic.

    Attributes
    ----------
    metric, threshold
        Its name on the target, and the threshold of its alarms.
    requests, checked, alarms : int
    expected_rate : float or None
        The proportion of healthy requests that raise an alarm, if it is known.
    evidence : float or None
        Of a change, since the last alert; None if the metric has no calibration.
    since, until : Request
        The first and the last request.
    detected : Detected or None
        The last change that was detected.
    last_alarm : Request or None
    problem : str
        Why no field is named, or ''.
    """

    metric: str
    threshold: float
    requests: int
    checked: int
    alarms: int
    expected_rate: float | None
    evidence: float | None
    since: Request
    until: Request
    detected: Detected | None
    last_alarm: Request | None
    problem: str

    @property
    def missing(self) -> int:
        return self.requests - self.checked

    @property
    def rate(self) -> float | None:
        return self.alarms / self.checked if self.checked else None

    @property
    def misses_checks(self) -> bool:
        return self.missing >= MISSING * self.requests

    @property
    def is_alert(self) -> bool:
        return self.detected is not None or self.misses_checks


def assess(metric: Metric) -> Verdict:
    """Return what a metric's checks say; at least one request must have been read."""
    checked = [metric.requests[place] for place in metric.scored]
    alarms = [request for request in checked if metric.check(request).is_alarm]
    detected, problem = _find_change(metric, checked)
    expected = None
    if metric.calibration:
        expected = sum(metric.calibration["top_features"].values()) / metric.calibration["rows"]
    return Verdict(
        metric=metric.name,
        threshold=metric.threshold,
        requests=len(metric.requests),
        checked=len(checked),
        alarms=len(alarms),
        expected_rate=expected,
        evidence=metric.detector.evidence if metric.detector else None,
        since=metric.requests[0],
        until=metric.requests[-1],
        detected=detected,
        last_alarm=alarms[-1] if alarms else None,
        problem=problem,
    )


def _find_change(metric: Metric, checked: Sequence[Request]) -> tuple[Detected | None, str]:
    detector = metric.detector
    if detector is None or not detector.changes:
        return None, ""
    change = detector.changes[-1]
    goes_on = detector.goes_on(change)
    end = len(checked) if goes_on else change.last + 1
    excess, problem = _explain(metric, checked[change.onset : end])
    places = (change.onset, change.detected, change.last)
    onset, first, last = (checked[place] for place in places)
    return Detected(onset, first, last, goes_on, excess), problem


def _explain(metric: Metric, since: Sequence[Request]) -> tuple[Excess | None, str]:
    """Name the field that the last alarms come from; what cannot be named takes no alert back."""
    if metric.artifact is None or metric.calibration is None:
        return None, ""
    from portable_knn.messages import read

    recent = since[-EXPLAINED:]
    alarms = [request for request in recent if metric.check(request).is_alarm]
    if not alarms:
        return None, ""
    try:
        attribution = Attribution(metric.artifact)
        rows = np.array([read(request.inputs, attribution.names) for request in alarms])
        values = metric.artifact.decision_function(rows).tolist()
        others = sum(
            value != metric.check(request).value
            for value, request in zip(values, alarms, strict=True)
        )
        if others:
            return None, (
                f"{others:,} of the last {len(alarms):,} alarms have another value here: the"
                " cluster serves another artifact than the one at hand"
            )
        tops = attribution.top_features(rows)
        return find_excess(tops, len(recent), metric.calibration), ""
    except (UserError, ValueError) as error:
        return None, f"the alarmed requests cannot be explained: {error}"
