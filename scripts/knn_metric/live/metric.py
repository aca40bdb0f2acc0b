"""A metric of a watched target: what it said of the requests, tested as one stream."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from knn_metric.cli import show
from knn_metric.detection.detectors import count_others
from knn_metric.detection.verdict import Change, Stream, Verdict
from knn_metric.platform.sonar import Request, format_time

if TYPE_CHECKING:
    from portable_knn import PortableKNN

KEPT = 10_000  # requests, the newest, as many as a stream looks into a change by
# For a metric without levels: no score exceeds this one, so that only missing checks win a bet.
UNTESTED: dict[str, Any] = {"score": [[math.inf], [0], [1]], "fields": {}, "confidence": 0.999}
UNTESTED |= {"copies": 1, "rejected": [0, 10**6], "window": 0}
# Why not all is tested.
NOTHING = "only missing checks are tested: "
UNKNOWN = f"{NOTHING}it was uploaded without a calibration, and no artifact here is its own"
OLD = f"{NOTHING}its calibration has no levels of fields, train and upload it again"
NOT_AT_HAND = "the score alone is tested, and no field is named, since its artifact is not at hand"
OTHER = "the score alone is tested: {:,} of {:,} requests have another value here: the cluster"
OTHER += " serves another artifact than the one at hand"


class Seen(NamedTuple):
    """What is kept of a request; the score is NaN where its check is missing."""

    id: str
    second: int
    score: float
    row: np.ndarray
    evidence: float = 0.0


class Told(NamedTuple):
    """A change, or a lack of checks, by the times of its requests: epoch seconds."""

    onset: int
    began_earlier: bool  # than what was read can tell
    detected: int
    last: int
    goes_on: bool | None  # None where no check has told since
    field: str | None  # None if fields are not tested
    request: str  # the id of one that shows it

    @property
    def begin(self) -> str:
        time = format_time(self.onset)
        return f"{time} or earlier" if self.began_earlier else f"about {time}"


class Metric:
    """A metric of the target, and what it has seen since it was attached.

    What is known is the calibration of the artifact that it was uploaded with, or of the one at
    hand. The detector is the artifact at hand, if it has the metric's threshold.

    `requests` holds the newest, and those that a change refers to, by position in the stream. That
    begins with the first request that the metric has checked, or with the first if there is none.
    """

    LACK = "{:,} of {:,} checks are missing since {begin}"
    ALERT = "MonitoringChecksMissing"  # as what Alertmanager is told of a lack
    error = ""  # why the target failed last
    is_waiting = False  # whether requests are held back until it is clear why no metric checked

    def __init__(
        self,
        name: str,
        threshold: float,
        known: dict[str, Any],
        detector: PortableKNN | None = None,
        remarks: Sequence[str] = (),
    ) -> None:
        self.name, self.threshold = name, threshold
        self.is_tested = "fields" in known
        self.calibration = known if self.is_tested else UNTESTED
        is_own = detector is not None and detector.calibration_ == self.calibration
        self._detector = detector if is_own else None
        self._limit = "" if is_own else NOT_AT_HAND if self.is_tested else OLD if known else UNKNOWN
        self._remarks = remarks  # what else is to be known of it
        alarms, rows = (self.calibration.get(key) for key in ("alarms", "rows"))
        # The proportion of healthy requests that raise an alarm.
        self.expected_rate: float | None = None if alarms is None else alarms / rows
        self._compared = self._others = 0
        self._unread: Counter[str] = Counter()
        self._begin()

    def add(self, requests: Sequence[Request]) -> None:
        """Take new requests in their order; one in which the target failed has no check to miss."""
        self._unread.update(one.unread[self.name] for one in requests if self.name in one.unread)
        new = [self._read(request) for request in requests if not request.error]
        scored = [place for place, one in enumerate(new) if not math.isnan(one.score)]
        if scored and not self.verdict.checked:  # what came before it was attached says nothing
            self._begin()
            new = new[scored[0] :]
        if self._detector is not None and new:
            compared, others = count_others(self._detector, *_stack(new))
            self._compared, self._others = self._compared + compared, self._others + others
        if self._others:
            was_believed = not self._limit
            self._limit = OTHER.format(self._others, self._compared)
            if was_believed:  # that artifact's fields are none of the metric's
                new = [*self.requests.values(), *new]
                self._begin()
        self._feed(new)

    @property
    def notes(self) -> list[str]:
        """What is to be known of it; each begins with words of its own before a colon."""
        unread = ", ".join(f"{count:,} of {what}" for what, count in self._unread.items())
        said = unread and f"checks that cannot be read, in place of the score: {unread}"
        return [one for one in (self._limit, *self._remarks, said) if one]

    @property
    def change(self) -> Told | None:
        """The last change of the traffic, unless it is over and that was told."""
        told = self._tell(self.verdict.changes)
        return told._replace(goes_on=None) if told and told.goes_on and self.is_waiting else told

    @property
    def lack(self) -> Told | None:
        """The last lack of checks, unless it is over and that was told."""
        return self._tell(self.verdict.missing)

    @property
    def outage(self) -> str:
        """Say how many checks are missing, if that goes on."""
        return self.describe(self.lack) if self.lack and self.lack.goes_on else ""

    @property
    def is_alert(self) -> bool:
        return bool(self.change or self.outage)

    def describe(self, lack: Told) -> str:
        onset = self.verdict.missing[-1].onset
        since = [one for place, one in self.requests.items() if place >= onset]
        counts = sum(math.isnan(one.score) for one in since), len(since)
        return self.LACK.format(*counts, begin=lack.begin, error=show(self.error))

    def forget(self) -> None:
        """Tell no more of what is over."""
        last = [*self.verdict.changes[-1:], *self.verdict.missing[-1:]]
        self._forgotten |= {one.detected for one in last if not self.verdict.goes_on(one)}

    def _tell(self, changes: Sequence[Change]) -> Told | None:
        if not changes or changes[-1].detected in self._forgotten:
            return None
        last = changes[-1]
        oldest = next(iter(self.requests.values()))  # in place of one that is not kept
        at = [self.requests.get(place, oldest) for place in (*last[:3], last.example)]
        onset, detected, seen_last = (one.second for one in at[:3])
        field = last.field or (None if self._limit else "no single field")
        goes_on = self.verdict.goes_on(last)
        return Told(onset, last.began_earlier, detected, seen_last, goes_on, field, at[3].id)

    def _begin(self) -> None:
        surprise = None
        if not self._limit and self._detector is not None:
            from knn_metric.detection.surprise import FieldSurprise  # numba, not always needed

            surprise = FieldSurprise.of(self._detector)
        self._forgotten: set[int] = set()  # changes that are over, by where they were detected
        self.requests: dict[int, Seen] = {}
        self.since: int | None = None  # the second of the first request
        self._stream = Stream(self.calibration, self.threshold, surprise)
        self.verdict: Verdict = self._stream.verdict()

    def _feed(self, new: Sequence[Seen]) -> None:
        if not new:
            return
        if not self.requests:
            self.since = new[0].second
        evidence = self._stream.feed(*_stack(new)).tolist()
        places = range(self.verdict.requests, self.verdict.requests + len(new))
        for place, one, reached in zip(places, new, evidence, strict=True):
            self.requests[place] = one._replace(evidence=reached)
        self.verdict = self._stream.verdict()
        if len(self.requests) > 2 * KEPT:
            last = [*self.verdict.changes[-1:], *self.verdict.missing[-1:]]
            needed = {place for one in last for place in one if isinstance(place, int)}
            first = self.verdict.requests - KEPT
            kept = self.requests.items()
            self.requests = {at: one for at, one in kept if at >= first or at in needed}

    def _read(self, request: Request) -> Seen:
        """Take the artifact's fields; NaN throughout where one of them cannot be read."""
        names = list(self.calibration["fields"])
        try:
            if self._detector is not None:
                from portable_knn.messages import read  # compiles, which is not always needed

                row = read(request.inputs, names)
            else:
                row = [float(request.inputs[name]) for name in names]
        except (KeyError, OverflowError, TypeError, ValueError):
            row = [math.nan] * len(names)
        check = request.checks.get(self.name)
        score = check.value if check else math.nan
        return Seen(request.id, request.second, score, np.array(row, dtype=np.float64))


def _stack(requests: Sequence[Seen]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([one.row for one in requests]), np.array([one.score for one in requests])


class Failures(Metric):
    """The target itself: the requests in which it failed are tested as checks that are missing."""

    LACK = "the target failed in {:,} of {:,} requests since {begin}: {error}"
    ALERT = "MonitoredModelFails"

    def __init__(self, rejected: list[int]) -> None:
        super().__init__("the target", math.inf, {**UNTESTED, "rejected": rejected})
        self.is_tested, self._limit = False, ""

    def add(self, requests: Sequence[Request]) -> None:
        self.error = next((one.error for one in requests[::-1] if one.error), self.error)
        self._feed([self._read(request) for request in requests])

    def _read(self, request: Request) -> Seen:
        return Seen(request.id, request.second, math.nan if request.error else 0.0, np.array([]))
