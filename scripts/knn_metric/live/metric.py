"""A metric of a watched target: what it said of the requests, tested as one stream."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from knn_metric.detection.verdict import Change, Stream, Verdict
from knn_metric.platform.sonar import Request

if TYPE_CHECKING:
    from portable_knn import PortableKNN

# For a metric without levels: no score exceeds this one, so that only missing checks win a bet.
UNTESTED: dict[str, Any] = {
    "score": [[math.inf], [0], [1]],
    "fields": {},
    "confidence": 0.999,
    "copies": 1,
    "rejected": [0, 10**6],
    "window": 0,
}
NOTHING = "only missing checks are tested: "
UNKNOWN = f"{NOTHING}it was uploaded without a calibration, and no artifact here is its own"
OLD = f"{NOTHING}its calibration has no levels of fields, train and upload it again"
NOT_AT_HAND = "the score alone is tested, and no field is named, since its artifact is not at hand"


class Seen(NamedTuple):
    """What is kept of a request: when it was checked, and its score, NaN where that is missing."""

    id: str
    second: int
    score: float


class Metric:
    """A metric of the target, and what it has seen since it was attached.

    Parameters
    ----------
    name : str
    threshold : float
    calibration : dict or None
        Of the artifact that it was uploaded with, or of the one at hand; None if neither is known.
    detector : PortableKNN or None
        The artifact at hand, if it has the metric's threshold.

    Attributes
    ----------
    requests : list of Seen
        From the first one on that it has checked; all, if it has checked none.
    evidence : list of float
        With each of them.
    verdict : Verdict
    note : str
        What is tested, and why, if not all is; else ''.
    """

    def __init__(
        self,
        name: str,
        threshold: float,
        calibration: dict[str, Any] | None = None,
        detector: PortableKNN | None = None,
    ) -> None:
        self.name, self.threshold = name, threshold
        self.is_tested = calibration is not None and "fields" in calibration
        self._calibration = calibration if calibration and self.is_tested else UNTESTED
        self._names = list(self._calibration["fields"])
        is_own = detector is not None and detector.calibration_ == self._calibration
        self._detector = detector if is_own else None
        self.note = "" if is_own else NOT_AT_HAND if self.is_tested else OLD
        if calibration is None:
            self.note = UNKNOWN
        self._compared = self._others = 0
        self.verdict: Verdict
        self._forget()

    def add(self, requests: Sequence[Request]) -> None:
        """Take new requests in their order."""
        new = [Seen(one.id, one.second, self._read_score(one)) for one in requests]
        rows = np.array([self._read_row(one.inputs) for one in requests], dtype=np.float64)
        if not self.verdict.checked:
            first = next((place for place, one in enumerate(new) if one.score == one.score), None)
            if first is not None:  # what came before it was attached says nothing
                self._forget()
                new, rows = new[first:], rows[first:]
        if new:
            self.requests += new
            self._take(rows, np.array([one.score for one in new]))
            self.verdict = self._stream.verdict()

    @property
    def expected_rate(self) -> float | None:
        """The proportion of healthy requests that raise an alarm, if it is known."""
        known = self._calibration
        return known["alarms"] / known["rows"] if self.is_tested else None

    @property
    def change(self) -> Change | None:
        """The last change of the traffic."""
        return self.verdict.changes[-1] if self.verdict.changes else None

    @property
    def outage(self) -> Change | None:
        """The lack of checks that goes on."""
        last = self.verdict.missing[-1] if self.verdict.missing else None
        return last if last and self.verdict.goes_on(last) else None

    @property
    def is_alert(self) -> bool:
        return bool(self.change or self.outage)

    def name_field(self, change: Change) -> str:
        """Return the field of a change; '' if fields were not tested."""
        return change.field or ("" if self.note else "no single field")

    def _forget(self) -> None:
        self.requests: list[Seen] = []
        # What was fed while the artifact at hand seemed the metric's.
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []
        self._begin()

    def _begin(self) -> None:
        surprise = None
        if not self.note and self._detector is not None:
            from knn_metric.detection.surprise import FieldSurprise  # numba, not always needed

            surprise = FieldSurprise.of(self._detector)
        self._stream = Stream(self._calibration, self.threshold, surprise)
        self.verdict = self._stream.verdict()
        self.evidence: list[float] = []

    def _take(self, rows: np.ndarray, scores: np.ndarray) -> None:
        parts = [(rows, scores)]
        self._compare(rows, scores)
        if not self.note:
            self._parts += parts
        if self._others:
            was_believed = not self.note
            self.note = (
                f"the score alone is tested: {self._others:,} of {self._compared:,} requests have"
                " another value here: the cluster serves another artifact than the one at hand"
            )
            if was_believed:  # that artifact's fields are none of the metric's
                parts, self._parts = self._parts, []
                self._begin()
        for part in parts:
            self.evidence += self._stream.feed(*part).tolist()

    def _compare(self, rows: np.ndarray, scores: np.ndarray) -> None:
        """Count the checks that are not what the artifact at hand says."""
        known = ~np.isnan(rows).any(axis=1) & ~np.isnan(scores)
        if self._detector is not None and known.any():
            own = self._detector.decision_function(rows[known])
            self._compared += len(own)
            self._others += int(np.sum(own != scores[known]))

    def _read_score(self, request: Request) -> float:
        check = request.checks.get(self.name)
        return check.value if check and math.isfinite(check.value) else math.nan

    def _read_row(self, inputs: dict[str, Any]) -> list[float]:
        """Return the artifact's fields; NaN throughout where one of them cannot be read."""
        try:
            if self._detector is not None:
                from portable_knn.messages import read  # compiles, which is not always needed

                return read(inputs, self._names)
            return [float(inputs[name]) for name in self._names]
        except (KeyError, OverflowError, TypeError, ValueError):
            return [math.nan] * len(self._names)
