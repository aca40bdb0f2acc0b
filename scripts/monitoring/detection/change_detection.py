"""Whether scores have changed: an e-detector, which may be looked at any time.

Each score bets against the hypothesis that traffic is healthy. Shin, J., Ramdas, A. & Rinaldo, A.
(2024), E-detectors: a nonparametric framework for sequential change detection, New England Journal
of Statistics in Data Science 2, 229-260; the sum of the bets is Shiryaev's (1963) and Roberts's
(1966).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.stats import beta

from monitoring.cli import UserError

if TYPE_CHECKING:
    from portable_knn import PortableKNN

# The levels are the scores that these proportions of the training rows exceed; the second is the
# threshold of a detector that is trained with a contamination of 5%.
PROPORTIONS = (0.01, 0.05, 0.2, 0.5)
STAKES = (0.03, 0.1, 0.3)
CONFIDENCE = 0.999  # of the bound of healthy rows above a level
ALERT = 100_000  # evidence; so many healthy requests pass on average between two false alerts
BLOCK_ALERT = 1_000  # a healthy block reaches this product of bets once in so many at most
FEW_ROWS = 1_000  # fewer held-out rows make wide bounds: still valid, and slow to detect


def measure_levels(training_scores: np.ndarray, held_out_scores: np.ndarray) -> dict[str, Any]:
    """Count held-out rows above each level, for an artifact to keep as its calibration.

    Parameters
    ----------
    training_scores, held_out_scores : ndarray, shape (n,)

    Returns
    -------
    dict
        `levels`, a list of scores; `above`, how many held-out rows exceed each; `rows`.
    """
    percentiles = [100 * (1 - proportion) for proportion in PROPORTIONS]
    levels = np.percentile(training_scores, percentiles)
    above = [int(np.sum(held_out_scores > level)) for level in levels]
    return {"levels": levels.tolist(), "above": above, "rows": len(held_out_scores)}


def require_calibration(detector: PortableKNN) -> dict[str, Any]:
    """Return an artifact's calibration.

    Raises
    ------
    UserError
        If the artifact has none, as it was trained before there was one.
    """
    if not detector.calibration_:
        raise UserError("the artifact has no calibration to detect changes by: `make train` again")
    return detector.calibration_


@dataclass(frozen=True)
class Bets:
    """What a score multiplies each bet by: a bet for each level and stake.

    Attributes
    ----------
    levels : tuple of float
        Scores, the lowest first.
    factors : tuple of tuple of float
        By the number of levels that a score exceeds, the factor of each bet.
    rows : int
        Held-out rows that the bounds come from.
    """

    levels: tuple[float, ...]
    factors: tuple[tuple[float, ...], ...]
    rows: int

    @classmethod
    def of(cls, calibration: Mapping[str, Any]) -> Bets:
        """Make bets on which healthy traffic wins nothing on average.

        A request multiplies the bet of a level and a stake a by ``1 - a + a / bound`` if its score
        exceeds the level, else by ``1 - a``. While no more than `bound` of the requests exceed the
        level, the mean of this factor is at most 1.
        """
        rows = calibration["rows"]
        pairs = sorted(zip(calibration["levels"], calibration["above"], strict=True))
        bounds = [bound_proportion(above, rows) for _, above in pairs]
        factors = [
            tuple(
                1 - stake + (stake / bound if place < exceeded else 0)
                for place, bound in enumerate(bounds)
                for stake in STAKES
            )
            for exceeded in range(len(pairs) + 1)
        ]
        return cls(tuple(level for level, _ in pairs), tuple(factors), rows)


def bound_proportion(above: int, rows: int) -> float:
    """Return Clopper and Pearson's upper bound of the proportion behind `above` of `rows`."""
    return 1.0 if above == rows else float(beta.ppf(CONFIDENCE, above + 1, rows - above))


class Alert(NamedTuple):
    """A detection.

    Attributes
    ----------
    position : int
        Of the score, from 0, with which the evidence reached `ALERT`.
    onset : int
        About the position of the score with which the change began.
    """

    position: int
    onset: int


class Change(NamedTuple):
    """A change that was detected.

    Attributes
    ----------
    onset, detected, last : int
        Positions among the scores: about where it began, the first alert and the last one.
    """

    onset: int
    detected: int
    last: int

    @property
    def patience(self) -> int:
        """How many scores after an alert the next one is due, if the change goes on."""
        return 3 * (self.detected - self.onset + 1)


class ChangeDetector:
    """Collects evidence against healthy traffic, score by score.

    Parameters
    ----------
    bets : Bets

    Attributes
    ----------
    evidence : float
        The mean of all bets' sums since the last alert.
    position : int
        How many scores it has seen.
    alerts : list of Alert
    """

    def __init__(self, bets: Bets) -> None:
        self._bets = bets
        self._logs = [[math.log(factor) for factor in factors] for factors in bets.factors]
        self.position = 0
        self.alerts: list[Alert] = []
        self._begin()

    def _begin(self) -> None:
        n_bets = len(self._bets.factors[0])
        self._sums = [0.0] * n_bets
        self._log_sums = [0.0] * n_bets  # never below 0
        self._onsets = [self.position] * n_bets  # where they last left 0
        self.evidence = 0.0

    def add(self, score: float) -> float:
        """Take the next score; return the evidence, after which an alert starts it again from 0."""
        exceeded = bisect_left(self._bets.levels, score)
        factors = self._bets.factors[exceeded]
        self._sums = [
            (total + 1) * factor for total, factor in zip(self._sums, factors, strict=True)
        ]
        self._follow(self._logs[exceeded])
        self.position += 1
        self.evidence = reached = sum(self._sums) / len(self._sums)
        if reached >= ALERT:
            best = max(range(len(self._log_sums)), key=self._log_sums.__getitem__)
            self.alerts.append(Alert(self.position - 1, self._onsets[best]))
            self._begin()  # without which the sums would overflow
        return reached

    def _follow(self, logs: Sequence[float]) -> None:
        for bet, log in enumerate(logs):
            before = self._log_sums[bet]
            self._log_sums[bet] = max(before + log, 0.0)
            if before == 0:
                self._onsets[bet] = self.position

    @property
    def changes(self) -> list[Change]:
        """The changes that were detected: alerts that follow each other closely are of one."""
        changes: list[Change] = []
        for alert in self.alerts:
            if changes and alert.position - changes[-1].last <= changes[-1].patience:
                changes[-1] = changes[-1]._replace(last=alert.position)
            else:
                changes.append(Change(alert.onset, alert.position, alert.position))
        return changes

    def goes_on(self, change: Change) -> bool:
        """Tell whether a change has not ended: its next alert is not overdue."""
        return self.position - 1 - change.last <= change.patience


def detect(scores: Iterable[float], bets: Bets) -> ChangeDetector:
    """Return a detector that has seen all scores, in their order."""
    detector = ChangeDetector(bets)
    for score in scores:
        detector.add(score)
    return detector


def product_of_counts(exceeded: np.ndarray, bets: Bets) -> float:
    """Return the mean over all bets of the product of a block's factors, infinite if it is huge.

    Parameters
    ----------
    exceeded : ndarray of int, shape (n_levels + 1,)
        How many scores of the block exceed so many levels. A block of healthy requests reaches
        `BLOCK_ALERT` once in so many blocks at most.
    bets : Bets
    """
    with np.errstate(over="ignore"):
        return float(np.mean(np.exp(exceeded @ np.log(bets.factors))))
