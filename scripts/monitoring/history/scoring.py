"""Score one block of a history: rows in, the Parquet of scores and of rejected rows out.

Runs on Dask workers too, which have what requirements.txt pins but not all that a command needs.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from monitoring.data.readers import TIME, Block, Wanted
from monitoring.data.validation import read_rows
from monitoring.detection.attribution import Attribution
from monitoring.detection.change_detection import PROPORTIONS, Bets, require_calibration

if TYPE_CHECKING:
    from portable_knn import PortableKNN

DAY = 86_400  # seconds
N_COUNTS = len(PROPORTIONS) + 1
LAST_DAY = 2_932_896  # 9999-12-31, counted from 1970


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
    seconds, search_seconds : float
        That a thread took for all, and for the search in it.
    """

    exceeded: np.ndarray = field(default_factory=lambda: np.zeros(N_COUNTS, int))
    alarms: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    features: Counter[str] = field(default_factory=Counter)
    days: dict[str, np.ndarray] = field(default_factory=dict)
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
        Of `history_files.plan`.
    rows : int

    Raises
    ------
    UserError
        Names the file that cannot be read.
    """
    began = time.perf_counter()
    loaded = load_once(artifact)
    tally, scores, rejects = Tally(), ParquetBytes(), ParquetBytes()
    for kept, values, rejected in read_rows(wanted, block, rows):
        rejects.write(rejected)
        tally.rejected.update(rejected.column("reason").to_pylist())
        if len(values):
            scores.write(score_rows(loaded, kept, values, tally))
    tally.seconds = time.perf_counter() - began
    return Scored(tally, scores.close(), rejects.close())


@cache
def load_once(artifact: str) -> tuple[PortableKNN, Attribution, Bets]:
    from portable_knn import load

    detector = load(artifact)
    return detector, Attribution(detector), Bets.of(require_calibration(detector))


def score_rows(
    loaded: tuple[PortableKNN, Attribution, Bets], kept: pa.Table, values: np.ndarray, tally: Tally
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
    days = count_days(kept, alarms, levels)
    counts = np.bincount(levels, minlength=N_COUNTS)
    tally.add(Tally(counts, int(alarms.sum()), features=Counter(tops[alarms]), days=days))
    columns = {name: kept.column(name) for name in kept.column_names}
    columns |= {"value": scores, "alarm": alarms, "p_value": detector.p_value(scores)}
    return pa.table({**columns, "top_feature": pa.array(tops, pa.string())})


def count_days(kept: pa.Table, alarms: np.ndarray, levels: np.ndarray) -> dict[str, np.ndarray]:
    """Count alarms and rows by day, of the platform's time or the first column that has days."""
    for name in sorted(kept.column_names, key=lambda name: name != TIME):
        days = read_days(name, kept.column(name))
        dated = (days >= 0) & (days <= LAST_DAY)
        if dated.any():
            found, places = np.unique(days[dated], return_inverse=True)
            counts = np.zeros((len(found), 1 + N_COUNTS), int)
            counts[:, 0] = np.bincount(places, alarms[dated])
            np.add.at(counts, (places, 1 + levels[dated]), 1)
            names = found.astype("datetime64[D]").astype(str)
            return dict(zip(names.tolist(), counts, strict=True))
    return {}


def read_days(name: str, column: pa.ChunkedArray) -> np.ndarray:
    """Return the day of each time, counted from 1970 and in UTC; -1 where there is none."""
    kind = column.type
    if name == TIME and pa.types.is_integer(kind):
        seconds = pc.divide(column, 1000)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = pc.utf8_slice_codeunits(column, 0, len("2020-12-31"))
        seconds = pc.strptime(text, "%Y-%m-%d", "s", error_is_null=True).cast(pa.int64())
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        seconds = column.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
    else:
        return np.full(len(column), -1)
    return seconds.fill_null(-1).to_numpy() // DAY


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
