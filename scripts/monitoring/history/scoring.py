"""Score one block of a history: rows in, the Parquet of scores and of rejected rows out.

Runs on Dask workers too, which have what requirements.txt pins but not all that a command needs.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from monitoring.data.readers import Block, Wanted
from monitoring.data.times import EPOCH, NO_DAY
from monitoring.data.validation import read_rows
from monitoring.detection.attribution import Attribution
from monitoring.detection.change_detection import PROPORTIONS, Bets, require_calibration

if TYPE_CHECKING:
    from portable_knn import PortableKNN

PIECES = 30  # of a picture, where there are no days
N_COUNTS = len(PROPORTIONS) + 1


@dataclass
class Tally:
    """What became of rows, counted.

    Attributes
    ----------
    exceeded : ndarray of int
        Scored rows by the number of levels of the calibration that they exceed.
    alarms : int
    rejected : Counter
        Rows that could not be scored, by reason.
    features : Counter
        Alarms, by their top feature.
    days : dict
        Of each day its alarms, and then its rows as `exceeded` counts them.
    series : list
        The same of rows that follow each other, `PIECES` of each part that was scored.
    seconds, search_seconds : float
        That a thread took for all, and for the search in it.
    """

    exceeded: np.ndarray = field(default_factory=lambda: np.zeros(N_COUNTS, int))
    alarms: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    features: Counter[str] = field(default_factory=Counter)
    days: dict[str, np.ndarray] = field(default_factory=dict)
    series: list[np.ndarray] = field(default_factory=list)
    seconds: float = 0.0
    search_seconds: float = 0.0

    @property
    def scored(self) -> int:
        return int(self.exceeded.sum())

    def add(self, other: Tally) -> None:
        self.exceeded = self.exceeded + other.exceeded
        self.alarms += other.alarms
        self.rejected += other.rejected
        self.features += other.features
        for day, counts in other.days.items():
            self.days[day] = self.days.get(day, 0) + counts
        self.series += other.series
        self.seconds += other.seconds
        self.search_seconds += other.search_seconds


class Scored(NamedTuple):
    """A block's tally and its two Parquet files, ``b""`` for one without rows."""

    tally: Tally
    scores: bytes
    rejects: bytes


def score_block(artifact: str, wanted: Wanted, block: Block, rows: int) -> Scored:
    """Score a block of a history, about so many rows at a time.

    Parameters
    ----------
    artifact : str
        Its path.
    wanted, block
        Of `plan`.
    rows : int

    Raises
    ------
    UserError
        Names the file that cannot be read.
    """
    began = time.perf_counter()
    loaded = load_once(artifact)
    tally, scores, rejects = Tally(), ParquetBytes(), ParquetBytes()
    for kept, values, days, rejected in read_rows(wanted, block, rows):
        rejects.write(rejected)
        tally.rejected.update(rejected.column("reason").to_pylist())
        if len(values):
            scores.write(score_rows(loaded, kept, values, days, tally))
    tally.seconds = time.perf_counter() - began
    return Scored(tally, scores.close(), rejects.close())


@cache
def load_once(artifact: str) -> tuple[PortableKNN, Attribution, Bets]:
    from portable_knn import load

    detector = load(artifact)
    return detector, Attribution(detector), Bets.of(require_calibration(detector))


def score_rows(
    loaded: tuple[PortableKNN, Attribution, Bets],
    kept: pa.Table,
    values: np.ndarray,
    days: np.ndarray,
    tally: Tally,
) -> pa.Table:
    """Return the kept columns with the scores beside them, and count the rows."""
    detector, attribution, bets = loaded
    began = time.perf_counter()
    scores = detector.decision_function(values)
    tally.search_seconds += time.perf_counter() - began
    alarms = scores > detector.threshold_
    tops = np.full(len(scores), None)
    if alarms.any():
        tops[alarms] = attribution.top_features(values[alarms])
    levels = np.searchsorted(bets.levels, scores)
    by_day = count_days(days, alarms, levels)
    counts = np.bincount(levels, minlength=N_COUNTS)
    series = count_series(alarms, levels)
    n_alarms, features = int(alarms.sum()), Counter(tops[alarms])
    tally.add(Tally(counts, n_alarms, features=features, days=by_day, series=series))
    columns = {name: kept.column(name) for name in kept.column_names}
    columns |= {"value": scores, "alarm": alarms, "p_value": detector.p_value(scores)}
    return pa.table({**columns, "top_feature": pa.array(tops, pa.string())})


def count_series(alarms: np.ndarray, levels: np.ndarray) -> list[np.ndarray]:
    """Count alarms and rows by piece, in order."""
    pieces = np.array_split(np.arange(len(alarms)), min(PIECES, len(alarms)))
    return [
        np.array([alarms[one].sum(), *np.bincount(levels[one], minlength=N_COUNTS)])
        for one in pieces
    ]


def count_days(days: np.ndarray, alarms: np.ndarray, levels: np.ndarray) -> dict[str, np.ndarray]:
    """Count alarms and rows by day."""
    dated = days != NO_DAY
    found, places = np.unique(days[dated], return_inverse=True)
    counts = np.zeros((len(found), 1 + N_COUNTS), int)
    counts[:, 0] = np.bincount(places, alarms[dated], len(found))
    np.add.at(counts, (places, 1 + levels[dated]), 1)
    names = [date.fromordinal(EPOCH + day).isoformat() for day in found.tolist()]
    return dict(zip(names, counts, strict=True))


class ParquetBytes:
    """A Parquet file in memory, which has no bytes if it gets no rows."""

    def __init__(self) -> None:
        self.sink = pa.BufferOutputStream()
        self.writer: parquet.ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        if len(table):
            if self.writer is None:
                self.writer = parquet.ParquetWriter(self.sink, table.schema, compression="zstd")
            self.writer.write_table(table)

    def close(self) -> bytes:
        if self.writer is None:
            return b""
        self.writer.close()
        return self.sink.getvalue().to_pybytes()
