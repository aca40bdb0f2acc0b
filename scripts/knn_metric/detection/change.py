"""Whether traffic has changed: an e-detector, which may be looked at any time.

Each request bets against the hypothesis that traffic is healthy. Shin, J., Ramdas, A. & Rinaldo, A.
(2024), E-detectors: a nonparametric framework for sequential change detection, New England Journal
of Statistics in Data Science 2, 229-260; the sum of the bets is Shiryaev's (1963) and Roberts's
(1966).
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import beta

PROPORTIONS = (0.01, 0.05, 0.2, 0.5)  # a level is what so many of the known rows exceed
STAKES = (0.03, 0.1, 0.3)
RISK = 0.001  # that any bound is exceeded by its true proportion
ALERT = 100_000  # evidence; so many healthy requests pass on average between two false alerts
PASSED_OVER = 0.02  # the proportion of healthy requests that makes no bet since it repeats another
REPEATED = 0.95  # the proportion of healthy requests that equal the one before, at most
REPEATS = "repeated requests"  # what a change of these is named after
PATIENCE = 100  # requests without an alert after which a change is over, at least


def bound_proportion(above: float, rows: float, confidence: float, copies: float = 1.0) -> float:
    """Return Clopper and Pearson's upper bound of the proportion behind `above` of `rows`.

    Rows that stand there several times, `copies` on average, say as much as so many fewer.
    """
    if above >= rows:
        return 1.0
    return float(beta.ppf(confidence, above / copies + 1, (rows - above) / copies))


class Levels(NamedTuple):
    """Levels of a score or of a field's surprise, and how many held-out rows exceed each."""

    levels: list[float]  # the lowest first
    above: list[float]  # held-out rows above each
    rows: list[float]  # of so many: of all, or of that group of them in which most are above it

    def bounds(self, confidence: float, copies: float) -> list[float]:
        """Return of each level the proportion of healthy requests that exceed it, at most.

        What is passed over as a repetition comes mostly from below a level, for which the bounds
        are divided by ``1 - PASSED_OVER``.
        """
        pairs = zip(self.above, self.rows, strict=True)
        return [bound_proportion(*pair, confidence, copies) / (1 - PASSED_OVER) for pair in pairs]


def make_factors(bounds: Sequence[float]) -> np.ndarray:
    """Return by the number of exceeded levels the factor of each bet, a level's stakes together.

    A request multiplies the bet of a level and a stake a by ``1 - a + a / bound`` if it exceeds the
    level, else by ``1 - a``. While no more than `bound` of the requests exceed the level, the mean
    of this factor is at most 1.
    """
    stakes, n_levels = np.array(STAKES), len(bounds)
    exceeded = np.tri(n_levels + 1, n_levels, -1)[..., None]
    won = stakes / np.minimum(bounds, 1.0)[:, None]
    return (1 - stakes + exceeded * won).reshape(n_levels + 1, -1)


class Bets:
    """What each request is bet on: its score, and the surprise of each of its fields."""

    def __init__(
        self,
        names: Sequence[str],  # of the s things to bet on: '' for the score, then the fields
        levels: Sequence[Sequence[float]],  # of each, the lowest first
        bounds: Sequence[Sequence[float]],  # the proportions that exceed these at most
        shares: Sequence[float],  # of each in the evidence
        repeated: float = 0.0,  # the share of the bet that a request equals the one before it
    ) -> None:
        self.names, self.levels, self.repeated = tuple(names), levels, repeated
        most = max(map(len, bounds))
        # Of each by the number of levels that a request exceeds; 1 where one has fewer bets.
        self.factors = np.ones((len(bounds), most + 1, most * len(STAKES)))
        self.weights = np.zeros((len(bounds), most * len(STAKES)))
        for place, (one, share) in enumerate(zip(bounds, shares, strict=True)):
            factors = make_factors(one)
            n_levels, n_bets = factors.shape
            self.factors[place, :n_levels, :n_bets] = factors
            self.weights[place, :n_bets] = share / n_bets

    @classmethod
    def of(cls, calibration: Mapping[str, Any], with_fields: bool = True) -> "Bets":
        """Return the bets of an artifact's calibration, half of them on the score."""
        fields = {name: Levels(*one) for name, one in calibration["fields"].items()}
        one_field = 0.5 / (1 + len(fields))
        known = {"": Levels(*calibration["score"]), **(fields if with_fields else {})}
        levels = [one.levels for one in known.values()]
        confidence, copies = calibration["confidence"], calibration["copies"]
        bounds = [one.bounds(confidence, copies) for one in known.values()]
        shares = [0.5, *[one_field] * (len(known) - 1)]
        return cls(list(known), levels, bounds, shares, one_field)

    @classmethod
    def of_proportion(cls, bound: float) -> "Bets":
        """Return the bets on something that no more than a proportion of healthy requests has."""
        return cls([""], [[0.5]], [[bound / (1 - PASSED_OVER)]], [1.0])

    def exceeded(self, values: np.ndarray) -> np.ndarray:
        """Return how many levels each score and surprise exceeds, shape (n, s), dtype int8."""
        pairs = zip(self.levels, values.T, strict=True)
        columns = [np.searchsorted(levels, column) for levels, column in pairs]
        return np.array(columns, dtype=np.int8).T.reshape(values.shape)

    def strongest(self, exceeded: np.ndarray, equal_in_a_row: int = 0) -> str:
        """Return the field whose bets have won most over some requests, of `exceeded`.

        It is `REPEATS` if that bet has won most, and '' if none has won anything. The score names
        no field, however much its own bets have won.
        """
        gains = {"": 0.0, REPEATS: -equal_in_a_row * np.log(REPEATED)}
        columns = zip(self.names, self.factors, self.weights, exceeded.T, strict=True)
        for name, factors, weights, column in columns if len(exceeded) else ():
            logs = np.bincount(column, minlength=len(factors)) @ np.log(factors[:, weights > 0])
            if name:
                gains[name] = np.logaddexp.reduce(logs) - np.log(len(logs))
        return max(gains, key=lambda name: gains[name])


class Repeats:
    """Finds the requests of a stream that equal one of the last `window` ones."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._last: dict[Hashable, int] = {}  # by what equal requests have alike
        self._position = 0
        self.equal_in_a_row = 0  # the last requests that equal the one before each of them

    def add(self, key: Hashable) -> bool:
        """Take the next request; tell whether it equals one of the window. None equals nothing."""
        before = self._last.get(key, -np.inf) if key is not None else -np.inf
        gap = self._position - before
        self.equal_in_a_row = self.equal_in_a_row + 1 if gap == 1 else 0
        if key is not None:
            self._last[key] = self._position
        self._position += 1
        if len(self._last) > 2 * self._window + 2:
            begin = self._position - max(self._window, 1)
            self._last = {one: last for one, last in self._last.items() if last >= begin}
        return gap <= self._window


class Evidence:
    """The evidence of a change in some streams of requests, fed side by side.

    A request that equals one of the last few in every field makes no bet: clients retry and poll.
    """

    def __init__(self, bets: Bets, window: int, n_streams: int = 1) -> None:
        self.bets = bets
        self._logs = np.log(bets.factors)
        self._sources = np.arange(len(bets.names))
        self._sums = np.zeros((n_streams, *bets.weights.shape))
        self._log_sums = np.zeros_like(self._sums)  # never below 0
        self._onsets = np.zeros(self._sums.shape, np.int64)  # where they last left 0
        self._repeated = np.zeros(n_streams)
        self.position = 0  # how many requests each stream has had
        self.repeats = [Repeats(window) for _ in range(n_streams)]
        self.evidence = np.zeros(n_streams)  # the weighted mean of bets' sums since the last alert

    def add(
        self, exceeded: np.ndarray, keys: Sequence[Hashable], is_scored: np.ndarray | bool = True
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Take the next request of each stream: how many levels of each of the s it `exceeded`.

        `keys` are what equal requests have alike, None what equals nothing; `is_scored` is whether
        there is anything to bet on. Return of each stream whether the request made its bets (where
        not, every sum stayed as it was), whether the evidence has reached `ALERT`, after which it
        starts again from 0, and about which request, from 0, a change began with.
        """
        pairs = zip(self.repeats, keys, strict=True)
        betting = ~np.array([repeats.add(key) for repeats, key in pairs]) & is_scored
        in_a_row = np.array([repeats.equal_in_a_row for repeats in self.repeats])
        self._bet(exceeded, betting[:, None, None])
        self._repeated = np.where(in_a_row > 0, (self._repeated + 1) / REPEATED, 0)
        self.position += 1
        own = (self._sums * self.bets.weights).sum(axis=(1, 2))
        self.evidence = own + self.bets.repeated * self._repeated
        alerted = self.evidence >= ALERT
        onsets = self._find_onsets(in_a_row)
        for state in (self._sums, self._log_sums, self._repeated):
            state[alerted] = 0  # without which they would overflow
        return betting, alerted, onsets

    def _bet(self, exceeded: np.ndarray, betting: np.ndarray) -> None:
        factors = self.bets.factors[self._sources, exceeded]
        self._sums = np.where(betting, (self._sums + 1) * factors, self._sums)
        self._onsets = np.where(self._log_sums == 0, self.position, self._onsets)
        moved = np.maximum(self._log_sums + self._logs[self._sources, exceeded], 0)
        self._log_sums = np.where(betting, moved, self._log_sums)

    def _find_onsets(self, in_a_row: np.ndarray) -> np.ndarray:
        """Return where the strongest bet last left 0."""
        logs = self._log_sums.reshape(len(in_a_row), -1)
        best = logs.argmax(axis=1)
        onsets = self._onsets.reshape(len(in_a_row), -1)[np.arange(len(in_a_row)), best]
        is_repeated = in_a_row * -np.log(REPEATED) > logs.max(axis=1)
        return np.where(is_repeated, self.position - in_a_row, onsets)


def find_alerts(
    evidence: Evidence,
    exceeded: np.ndarray,
    keys: Sequence[Hashable],
    turns: Iterable[np.ndarray],
    to_the_end: bool = False,
) -> dict[int, tuple[int, str]]:
    """Feed streams side by side until each has raised an alert.

    `exceeded`, (n, s), and `keys` are of the n rows that the streams are made of; `turns` the row
    that comes next in each stream, -1 where it has ended. With `to_the_end` all requests since the
    onset tell the field, not only those up to the alert. Return by stream the number of the request
    that raised its first alert, from 0, and the field.
    """
    begun, n_streams = evidence.position, len(evidence.repeats)
    bet: list[np.ndarray] = []
    alerts: dict[int, tuple[int, int, int]] = {}
    for number, places in enumerate(turns):
        own = [keys[place] if place >= 0 else None for place in places.tolist()]
        betting, alerted, onsets = evidence.add(exceeded[places], own, places >= 0)
        bet.append(np.where(betting, places, -1))
        for stream in np.flatnonzero(alerted).tolist():
            in_a_row = evidence.repeats[stream].equal_in_a_row
            alerts.setdefault(stream, (number, max(onsets[stream] - begun, 0), in_a_row))
        if len(alerts) == n_streams and not to_the_end:
            break
    rows, found = np.array(bet), {}
    for stream, (number, onset, in_a_row) in alerts.items():
        since = rows[onset : None if to_the_end else number + 1, stream]
        found[stream] = number, evidence.bets.strongest(exceeded[since[since >= 0]], in_a_row)
    return found
