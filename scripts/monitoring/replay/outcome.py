"""What became of the requests of a replay: the record, and its CSV file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from monitoring.detection.attribution import Attribution
from monitoring.files import replacing_file

if TYPE_CHECKING:
    from portable_knn import PortableKNN

PASSED, ALARM, REJECTED, FAILED = "passed", "alarm", "rejected", "failed"


@dataclass(frozen=True)
class Outcome:
    """What became of one request.

    Attributes
    ----------
    row : int
        Position in the replay, from 0.
    corruption : str
        Name of the corruption that the row was sent with, or ''.
    sent : tuple of float
        The metric's inputs in the contract's order, the target's answers last; without the answers
        if there were none.
    value : float
        The score, 0.0 if the metric returned none in `double_val`, as sonar reads it; NaN if the
        metric was not reached.
    result : str
        ``'passed'``, ``'alarm'``, ``'rejected'`` by the contract, or ``'failed'`` in a function.
    reason : str
        Why it was rejected or failed, or ''.
    target_ms, metric_ms : float
        Latency of each hop in milliseconds, NaN for a hop that was not taken.
    """

    row: int
    corruption: str
    sent: tuple[float, ...]
    value: float
    result: str
    reason: str
    target_ms: float
    metric_ms: float

    @property
    def is_scored(self) -> bool:
        return self.result in (PASSED, ALARM)


@dataclass(frozen=True)
class Replay:
    """A replay, and what the artifact at hand knows of its scores.

    Attributes
    ----------
    names : tuple of str
        Of the metric's inputs, in the contract's order.
    source : str
        Where the rows are from.
    threshold : float
    outcomes : list of Outcome, length n
        In the order in which they were sent.
    p_values : ndarray, shape (n,), dtype float64
        Empirical: the proportion of training rows with such a score or a higher one; NaN if there
        is none.
    top_features : list of str, length n
        The feature that each score comes from, '' if there is none.
    """

    names: tuple[str, ...]
    source: str
    threshold: float
    outcomes: list[Outcome]
    p_values: np.ndarray
    top_features: list[str]

    @property
    def scored(self) -> list[int]:
        """The positions of the requests that were scored."""
        return [place for place, one in enumerate(self.outcomes) if one.is_scored]


def attribute_replay(
    outcomes: Sequence[Outcome],
    names: tuple[str, ...],
    source: str,
    threshold: float,
    detector: PortableKNN,
) -> tuple[Replay, int]:
    """Attribute the scores of a replay, where they are the detector's own.

    Returns
    -------
    Replay
    int
        How many scores are not the detector's: another artifact is served.
    """
    ordered = sorted(outcomes, key=lambda outcome: outcome.row)
    p_values, top_features = np.full(len(ordered), np.nan), [""] * len(ordered)
    scored = [place for place, outcome in enumerate(ordered) if outcome.is_scored]
    n_others = 0
    if scored:
        rows = np.array([ordered[place].sent for place in scored])
        values = np.array([ordered[place].value for place in scored])
        own = detector.decision_function(rows)
        n_others = int(np.sum(own != values))
        p_values[scored] = np.where(own == values, detector.p_value(own), np.nan)
        tops = Attribution(detector).top_features(rows) if not n_others else [""] * len(rows)
        for place, top in zip(scored, tops, strict=True):
            top_features[place] = top
    return Replay(names, source, threshold, ordered, p_values, top_features), n_others


def write_csv(replay: Replay, path: Path) -> None:
    """Write a line for each request, each input in a column of its own."""
    head = ["row", "source", "corruption", *replay.names, "value", "result", "reason"]
    with replacing_file(path) as new, new.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*head, "p_value", "top_feature", "target_ms", "metric_ms"])
        known = zip(replay.outcomes, replay.p_values.tolist(), replay.top_features, strict=True)
        for one, p_value, top_feature in known:
            sent = [f"{number:.17g}" for number in one.sent]
            sent += [""] * (len(replay.names) - len(sent))
            cells = [one.row, replay.source, one.corruption, *sent, one.value, one.result]
            cells += [one.reason, p_value, top_feature, one.target_ms, one.metric_ms]
            writer.writerow(cells)
