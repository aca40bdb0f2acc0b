"""A metric of a watched target: what it said of the requests, tested as one stream."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from knn_metric.cli import clean
from knn_metric.detection.detectors import count_others
from knn_metric.detection.verdict import Change, Stream, Verdict
from knn_metric.platform.sonar import Request, format_time

if TYPE_CHECKING:
    from portable_knn import PortableKNN

KEPT = 10_000  # requests, the newest, as many as a stream looks into a change by
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
    """What is kept of a request; the score is NaN where its check is missing."""

    id: str
    second: int
    score: float
    row: np.ndarray
    evidence: float = 0.0


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
    requests : dict of int to Seen
        By position in the stream: the newest, and those that a change refers to. The stream begins
        with the first request that the metric has checked, or with the first if there is none.
    verdict : Verdict
    note : str
        What is tested, and why, if not all is; else ''.
    remarks : list of str
        What else is to be known of it.
    """

    verdict: Verdict

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
        self.rejected: list[int] = self._calibration["rejected"]
        is_own = detector is not None and detector.calibration_ == self._calibration
        self._detector = detector if is_own else None
        self.note = "" if is_own else NOT_AT_HAND if self.is_tested else OLD
        if calibration is None:
            self.note = UNKNOWN
        self.remarks: list[str] = []
        self._compared = self._others = 0
        self._unread: Counter[str] = Counter()
        self._told: set[int] = set()  # the changes that are over, and of which that was said
        self._begin()

    def add(self, requests: Sequence[Request]) -> None:
        """Take new requests in their order; one in which the target failed has no check to miss."""
        self._unread.update(one.unread[self.name] for one in requests if self.name in one.unread)
        new = [self._read(request) for request in requests if not request.error]
        if not self.verdict.checked:
            scored = (place for place, one in enumerate(new) if not math.isnan(one.score))
            first = next(scored, None)
            if first is not None:  # what came before it was attached says nothing
                self._begin()
                new = new[first:]
        if not new:
            return
        self._compare(new)
        if self._others:
            was_believed = not self.note
            self.note = (
                f"the score alone is tested: {self._others:,} of {self._compared:,} requests have"
                " another value here: the cluster serves another artifact than the one at hand"
            )
            if was_believed:  # that artifact's fields are none of the metric's
                new = [*self.requests.values(), *new]
                self._begin()
        self._feed(new)

    @property
    def seconds(self) -> tuple[int, int] | None:
        """When the first and the last request were checked, if there is any."""
        seconds = [one.second for one in self.requests.values()]
        return (self._since, max(seconds)) if seconds else None

    @property
    def expected_rate(self) -> float | None:
        """The proportion of healthy requests that raise an alarm, if it is known."""
        known = self._calibration
        return known["alarms"] / known["rows"] if known.get("alarms") is not None else None

    @property
    def notes(self) -> list[str]:
        """What is to be known of it; each begins with words of its own before a colon."""
        unread = [f"{count:,} of {what}" for what, count in self._unread.items()]
        said = f"checks that cannot be read, in place of the score: {', '.join(unread)}"
        return [one for one in (self.note, *self.remarks, unread and said) if one]

    @property
    def change(self) -> Change | None:
        """The last change of the traffic, unless it is over and that was told."""
        return self._last(self.verdict.changes)

    @property
    def lack(self) -> Change | None:
        """The last lack of checks, unless it is over and that was told."""
        return self._last(self.verdict.missing)

    @property
    def outage(self) -> Change | None:
        """The lack of checks that goes on."""
        return self.lack if self.lack and self.verdict.goes_on(self.lack) else None

    def tell(self) -> None:
        """Take what is over as told."""
        last = (self.change, self.lack)
        self._told |= {one.detected for one in last if one and not self.verdict.goes_on(one)}

    @property
    def is_alert(self) -> bool:
        return bool(self.change or self.outage)

    def at(self, position: int) -> Seen:
        """Return a request by its position; the oldest that is kept in place of an older one."""
        return self.requests.get(position) or next(iter(self.requests.values()))

    def name_field(self, change: Change) -> str:
        """Return the field of a change; '' if fields were not tested."""
        return change.field or ("" if self.note else "no single field")

    def describe_begin(self, change: Change) -> str:
        """Say when a change began: about then, or earlier than what was read can tell."""
        time = format_time(self.at(change.onset).second)
        return f"{time} or earlier" if change.began_earlier else f"about {time}"

    def describe_missing(self, lack: Change) -> str:
        """Say how many checks are missing since that began."""
        missing, requests, begin = self._count(lack)
        return f"{missing:,} of {requests:,} checks are missing since {begin}"

    def _count(self, lack: Change) -> tuple[int, int, str]:
        """Return how many of how many requests are without a score, and since when."""
        since = [one for position, one in self.requests.items() if position >= lack.onset]
        missing = sum(math.isnan(one.score) for one in since)
        return missing, len(since), self.describe_begin(lack)

    def _last(self, changes: Sequence[Change]) -> Change | None:
        return changes[-1] if changes and changes[-1].detected not in self._told else None

    def _begin(self) -> None:
        surprise = None
        if not self.note and self._detector is not None:
            from knn_metric.detection.surprise import FieldSurprise  # numba, not always needed

            surprise = FieldSurprise.of(self._detector)
        self.requests: dict[int, Seen] = {}
        self._stream = Stream(self._calibration, self.threshold, surprise)
        self.verdict = self._stream.verdict()

    def _feed(self, new: Sequence[Seen]) -> None:
        rows, scores = np.array([one.row for one in new]), np.array([one.score for one in new])
        evidence = self._stream.feed(rows, scores).tolist()
        places = range(self.verdict.requests, self.verdict.requests + len(new))
        if not self.requests:
            self._since = new[0].second
        for place, one, reached in zip(places, new, evidence, strict=True):
            self.requests[place] = one._replace(evidence=reached)
        self.verdict = self._stream.verdict()
        if len(self.requests) > 2 * KEPT:
            last = [*self.verdict.changes[-1:], *self.verdict.missing[-1:]]
            needed = {place for one in last for place in one if isinstance(place, int)}
            first = self.verdict.requests - KEPT
            kept = self.requests.items()
            self.requests = {at: one for at, one in kept if at >= first or at in needed}

    def _compare(self, new: Sequence[Seen]) -> None:
        """Count the checks that are not what the artifact at hand says."""
        if self._detector is not None:
            rows, scores = np.array([one.row for one in new]), np.array([one.score for one in new])
            compared, others = count_others(self._detector, rows, scores)
            self._compared += compared
            self._others += others

    def _read(self, request: Request) -> Seen:
        check = request.checks.get(self.name)
        score = check.value if check else math.nan
        row = np.array(self._read_row(request.inputs), dtype=np.float64)
        return Seen(request.id, request.second, score, row)

    def _read_row(self, inputs: dict[str, Any]) -> list[float]:
        """Return the artifact's fields; NaN throughout where one of them cannot be read."""
        names = list(self._calibration["fields"])
        try:
            if self._detector is not None:
                from portable_knn.messages import read  # compiles, which is not always needed

                return read(inputs, names)
            return [float(inputs[name]) for name in names]
        except (KeyError, OverflowError, TypeError, ValueError):
            return [math.nan] * len(names)


class Failures(Metric):
    """The target itself: the requests in which it failed are tested as checks that are missing."""

    def __init__(self, rejected: list[int]) -> None:
        super().__init__("the target", math.inf, {**UNTESTED, "rejected": rejected})
        self.note = self.error = ""

    def add(self, requests: Sequence[Request]) -> None:
        self.error = next((one.error for one in requests[::-1] if one.error), self.error)
        if requests:
            self._feed([self._read(request) for request in requests])

    def describe_missing(self, lack: Change) -> str:
        failed, requests, begin = self._count(lack)
        what = f"{failed:,} of {requests:,} requests since {begin}"
        return f"the target failed in {what}: {clean(self.error)}"

    def _read(self, request: Request) -> Seen:
        return Seen(request.id, request.second, math.nan if request.error else 0.0, np.array([]))
