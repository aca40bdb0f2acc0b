"""Score one block of a history: rows in, the Parquet of scores and of rejected rows out.

Runs on Dask workers too, which have what requirements.txt pins but not all that a command needs.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from lib.detector import count_reasons, reasons
from lib.history import TIME, Block, Columns
from lib.history_rows import read_rows

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

if TYPE_CHECKING:
    from portable_knn import PortableKNN

DAY = 86_400  # seconds
LAST_DAY = 2_932_896  # 9999-12-31, counted from 1970


@dataclass
class Tally:
    """What became of rows, counted.

    Attributes
    ----------
    scored, alarms : int
    rejected : Counter
        Rows that could not be scored, by reason.
    features : Counter
        Alarms, by the feature that they are mostly because of.
    days : dict
        Of each day how many rows were scored, and how many of them raised an alarm.
    seconds, search_seconds : float
        That a thread took for all, and for the search in it.
    """

    scored: int = 0
    alarms: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    features: Counter[str] = field(default_factory=Counter)
    days: dict[str, np.ndarray] = field(default_factory=dict)
    seconds: float = 0.0
    search_seconds: float = 0.0

    def add(self, other: Tally) -> None:
        self.scored += other.scored
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


def score_block(artifact: str, wanted: Columns, block: Block, rows: int) -> Scored:
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
    detector = load_once(artifact)
    tally, scores, rejects = Tally(), ParquetBytes(), ParquetBytes()
    for kept, values, rejected in read_rows(wanted, block, rows):
        rejects.write(rejected)
        tally.rejected.update(rejected.column("reason").to_pylist())
        if len(values):
            scores.write(score_rows(detector, kept, values, tally))
    tally.seconds = time.perf_counter() - began
    return Scored(tally, scores.close(), rejects.close())


@cache
def load_once(artifact: str) -> PortableKNN:
    from portable_knn import load

    return load(artifact)


def score_rows(detector: PortableKNN, kept: pa.Table, values: np.ndarray, tally: Tally) -> pa.Table:
    """Return the kept columns with the scores beside them, and count the rows."""
    began = time.perf_counter()
    scores = detector.decision_function(values)
    tally.search_seconds += time.perf_counter() - began
    alarms = scores > detector.threshold_
    because = np.full(len(scores), None)
    if alarms.any():
        because[alarms] = reasons(detector, values[alarms])
    tally.add(Tally(len(scores), int(alarms.sum()), features=count_reasons(because[alarms])))
    tally.add(Tally(days=count_days(kept, alarms)))
    columns = {name: kept.column(name) for name in kept.column_names}
    columns |= {"value": scores, "alarm": alarms, "p_value": detector.p_value(scores)}
    return pa.table({**columns, "because": pa.array(because, pa.string())})


def count_days(kept: pa.Table, alarms: np.ndarray) -> dict[str, np.ndarray]:
    """Count rows and alarms by day, of the platform's time or the first column that has days."""
    for name in sorted(kept.column_names, key=lambda name: name != TIME):
        days = read_days(name, kept.column(name))
        dated = (days >= 0) & (days <= LAST_DAY)
        if dated.any():
            found, places = np.unique(days[dated], return_inverse=True)
            counts = np.bincount(places), np.bincount(places, alarms[dated]).astype(int)
            names = found.astype("datetime64[D]").astype(str)
            return dict(zip(names.tolist(), np.transpose(counts), strict=True))
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
