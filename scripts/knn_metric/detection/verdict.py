"""What a stream of requests says: whether its traffic has changed, since when, in which field."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from knn_metric.cli import UserError
from knn_metric.detection.change import ALERT, PATIENCE, REPEATS, Bets, Evidence, bound_proportion

if TYPE_CHECKING:
    from knn_metric.detection.surprise import FieldSurprise

LEAST_MISSING = 0.01  # of the checks: so many may be missing in healthy traffic
REMEMBERED = 10_000  # requests, the newest, that a change is looked into by


class Change(NamedTuple):
    """A change of the traffic: alerts that follow each other closely."""

    onset: int  # about where in the stream it began
    detected: int  # where the first alert was
    last: int  # and where the last one
    slowest: int  # the most requests that an alert took
    evidence: float  # the highest since the onset
    field: str = ""  # '' if only the score was tested, or no field bets better than before
    example: int = -1  # where a request since the onset is that shows it

    @property
    def patience(self) -> int:
        """How many requests after an alert the next one is due, if the change goes on."""
        return max(PATIENCE, 3 * self.slowest)

    @property
    def began_earlier(self) -> bool:
        """Whether too few requests precede the onset to say that the change began there."""
        return self.onset <= self.detected - self.onset

    def goes_on(self, requests: int) -> bool:
        """Tell whether it has not ended after so many requests: its next alert is not overdue."""
        return requests - 1 - self.last <= self.patience


class Verdict(NamedTuple):
    """What a stream of requests says."""

    requests: int
    checked: int  # that have a score
    alarms: int  # scores above the threshold
    evidence: float  # the highest since the onset of a change that goes on, else since an alert
    changes: tuple[Change, ...]
    missing: tuple[Change, ...]  # changes of the proportion of requests that have no score

    def goes_on(self, change: Change) -> bool:
        """Tell whether a change has not ended."""
        return change.goes_on(self.requests)


class Stream:
    """Tests a stream of requests, which may be fed in parts of any size.

    Calibration and surprise are the artifact's; without surprise the score alone is tested, and no
    field is named.
    """

    def __init__(
        self,
        calibration: Mapping[str, Any],
        threshold: float,
        surprise: FieldSurprise | None = None,
    ) -> None:
        self._threshold = threshold
        self._surprise = surprise
        self._bets = Bets.of(calibration, with_fields=surprise is not None)
        window = calibration["window"]
        self._evidence = Evidence(self._bets, window)
        misses = Bets.of_proportion(bound_missing(calibration))
        self._missing_evidence = Evidence(misses, window)
        # Of requests that made their bets where each stands, what it exceeded, and by which values.
        self._remembered: deque[tuple[int, np.ndarray, np.ndarray]] = deque(maxlen=REMEMBERED)
        self._changes: list[Change] = []
        self._missing: list[Change] = []
        self._requests = self._checked = self._alarms = 0

    def feed(
        self, rows: np.ndarray, scores: np.ndarray, surprises: np.ndarray | None = None
    ) -> np.ndarray:
        """Take the next n requests of m fields; return the evidence with each, (n,).

        `rows`, (n, m), are NaN throughout where they are not known, `scores`, (n,), where the check
        is missing; `surprises`, (n, m), are given if they are measured already. The evidence of an
        alert is that before it starts again from 0.
        """
        rows = np.asarray(rows, dtype=np.float64) + 0.0  # one zero, not two
        is_scored: np.ndarray = np.isfinite(scores)
        values = np.full((len(rows), len(self._bets.names)), -np.inf)
        values[:, 0] = scores
        known = is_scored & ~np.isnan(rows).any(axis=1)
        if surprises is not None:
            values[:, 1:] = surprises
        elif self._surprise is not None and known.any():
            values[known, 1:] = self._surprise.surprise(rows[known])
        exceeded = self._bets.exceeded(values)
        reached = np.empty(len(rows))
        for place, row in enumerate(rows):
            key = None if np.isnan(row).all() else row.tobytes()
            self._take_missing(not is_scored[place], key)
            reached[place] = self._take(exceeded[place], values[place], key, is_scored[place])
            self._requests += 1
        self._checked += int(is_scored.sum())
        self._alarms += int(np.sum(scores[is_scored] > self._threshold))
        return reached

    def _take_missing(self, is_missing: bool, key: bytes | None) -> None:
        # A request that is repeated bets once more where its check is missing for the first time:
        # else a metric that died would not be noticed among clients that poll.
        own = None if key is None else (key, is_missing)
        exceeded = np.array([[int(is_missing)]])
        _, (alerted,), (onset,) = self._missing_evidence.add(exceeded, [own])
        if alerted:
            reached = float(self._missing_evidence.evidence[0])
            add_alert(self._missing, int(onset), self._requests, reached)

    def _take(
        self, exceeded: np.ndarray, values: np.ndarray, key: bytes | None, is_scored: bool
    ) -> float:
        added = self._evidence.add(exceeded[None], [key], is_scored)
        (betting,), (alerted,), (onset,) = added
        if betting:
            self._remembered.append((self._requests, exceeded, values))
        reached = float(self._evidence.evidence[0])
        if alerted and add_alert(self._changes, int(onset), self._requests, reached):
            self._changes[-1] = self._look_into(self._changes[-1])
        return reached

    def _look_into(self, change: Change) -> Change:
        """Name the field of a change, and the request since its onset that shows it best."""
        end = self._requests if change.goes_on(self._requests) else change.last
        since = [one for one in self._remembered if change.onset <= one[0] <= end]
        in_a_row = self._evidence.repeats[0].equal_in_a_row
        field = self._bets.strongest(np.array([exceeded for _, exceeded, _ in since]), in_a_row)
        if field == REPEATS or not since:
            return change._replace(field=field, example=change.last)
        place = self._bets.names.index(field)
        example, _, _ = max(since, key=lambda one: one[2][place])
        return change._replace(field=field, example=example)

    def verdict(self) -> Verdict:
        changes, evidence = list(self._changes), float(self._evidence.evidence[0])
        evidence = evidence if evidence < ALERT else 0.0
        if changes:
            # More requests than at its first alert say more of its field, and nothing of repeats.
            if changes[-1].field != REPEATS:
                changes[-1] = self._look_into(changes[-1])
            if changes[-1].goes_on(self._requests):
                evidence = max(evidence, changes[-1].evidence)
        counts = self._requests, self._checked, self._alarms
        return Verdict(*counts, evidence, tuple(changes), tuple(self._missing))


def add_alert(changes: list[Change], onset: int, position: int, evidence: float) -> bool:
    """Take an alert for one of the last change or for a new one; tell whether it is new."""
    if changes and position - changes[-1].last <= changes[-1].patience:
        old = changes[-1]
        slowest, highest = max(old.slowest, position - old.last), max(old.evidence, evidence)
        changes[-1] = old._replace(last=position, slowest=slowest, evidence=highest)
        return False
    changes.append(Change(onset, position, position, position - onset + 1, evidence))
    return True


def bound_missing(calibration: Mapping[str, Any]) -> float:
    """Return the proportion of checks that may be missing: as many as training rejected rows."""
    rejected, rows = calibration["rejected"]
    return max(bound_proportion(rejected, rows, calibration["confidence"]), LEAST_MISSING)


def parse_calibration(text: str) -> dict[str, Any]:
    """Read the calibration that a metric was uploaded with, and try it."""
    try:
        known = json.loads(text)
        if not isinstance(known, dict):
            raise ValueError(f"expected an object, got {text[:20]}")
        if "fields" in known:  # an earlier release had none
            _try(known)
    except Exception as e:  # what a text may hold ends in any
        problem = " ".join(f"{type(e).__name__}: {e}".split())[:100]
        what = "artifact.calibration of the metric's version cannot be read"
        raise UserError(f"{what}, {problem}: upload it again") from e
    return known


def _try(known: dict[str, Any]) -> None:
    """Raise an error, of whatever kind, where a calibration is none to test by."""
    for what, levels in {"score": known["score"], **known["fields"]}.items():
        values, above, rows = levels
        counts = list(zip(above, rows, strict=True))
        is_sound = len(values) == len(counts) and sorted(values) == values
        if not is_sound or not all(0 <= one <= most for one, most in counts):
            raise ValueError(f"levels of {what!r} that are not in order")
    if not (0 <= known["alarms"] <= known["rows"] and 0 <= known["window"] < np.inf):
        raise ValueError("alarms, rows or window out of range")
    bets, misses = Bets.of(known), Bets.of_proportion(bound_missing(known))
    levels = [level for one in bets.levels for level in one]
    rate = known["alarms"] / known["rows"]
    if not np.isfinite([*bets.factors.flat, *misses.factors.flat, *levels, rate]).all():
        raise ValueError("expected finite numbers")
    Stream(known, 0.0).feed(np.zeros((2, len(known["fields"]))), np.array([0.0, np.nan]))
