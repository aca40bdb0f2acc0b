"""Score one block of a history: rows in, the Parquet of scores and of rejected rows out.

Runs on Dask workers too, which have what requirements.txt pins but not all that a command needs.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from knn_metric.data.cells import EPOCH
from knn_metric.data.validation import Block, Wanted, read_rows
from knn_metric.detection.calibration import rank_fields
from knn_metric.detection.surprise import FieldSurprise
from knn_metric.history.periods import NO_DAY, Period, give_turns, part_by_day

if TYPE_CHECKING:
    from portable_knn import PortableKNN

    Loaded = tuple[PortableKNN, FieldSurprise]


@dataclass
class Tally:
    """What became of rows, counted."""

    rejected: Counter[str] = field(default_factory=Counter)  # could not be scored: by reason
    features: Counter[str] = field(default_factory=Counter)  # alarms: by their top feature
    days: dict[int, Period] = field(default_factory=dict)  # scored: by the day since 1970
    copies: int = 0  # of requests that stand in an earlier row, and are scored there
    undated: list[Period] = field(default_factory=list)  # of each block, scored rows without a day
    seconds: float = 0.0  # that a thread took for all
    search_seconds: float = 0.0  # and for the search in it

    @property
    def scored(self) -> int:
        return sum(one.scored for one in (*self.days.values(), *self.undated))

    @property
    def alarms(self) -> int:
        return sum(one.alarms for one in (*self.days.values(), *self.undated))

    def add(self, later: Tally) -> None:
        self.rejected += later.rejected
        self.features += later.features
        for day, period in later.days.items():
            self.days[day] = self.days[day].join(period) if day in self.days else period
        self.copies += later.copies
        self.undated += later.undated
        self.seconds += later.seconds
        self.search_seconds += later.search_seconds

    def periods(self) -> dict[str, Period]:
        """Return each day; where no row has one, each block."""
        if self.days:
            days = sorted(self.days.items())
            return {date.fromordinal(EPOCH + day).isoformat(): one for day, one in days}
        ends = accumulate(one.scored for one in self.undated)
        return {
            f"rows {end - one.scored:,} to {end - 1:,}": one
            for end, one in zip(ends, self.undated, strict=True)
        }


class Scored(NamedTuple):
    """A block's tally and its two Parquet files, ``b""`` for one without rows."""

    tally: Tally
    scores: bytes
    rejects: bytes


def score_block(loaded: Loaded, wanted: Wanted, rows: int, block: Block) -> Scored:
    """Score a block of a history, about so many rows at a time."""
    began = time.perf_counter()
    tally, scores, rejects = Tally(), ParquetBytes(), ParquetBytes()
    for kept, values, times, rejected, copies in read_rows(wanted, block, rows):
        tally.copies += copies
        rejects.write(rejected)
        tally.rejected.update(rejected.column("reason").to_pylist())
        if len(values):
            scores.write(score_rows(loaded, kept, values, times, tally))
    if NO_DAY in tally.days:
        tally.undated.append(tally.days.pop(NO_DAY))
    tally.seconds = time.perf_counter() - began
    return Scored(tally, scores.close(), rejects.close())


@cache
def load_once(artifact: str) -> Loaded:
    from portable_knn import load

    detector = load(artifact)
    return detector, FieldSurprise.of(detector)


def score_rows(
    loaded: Loaded, kept: pa.Table, values: np.ndarray, times: np.ndarray, tally: Tally
) -> pa.Table:
    """Return the kept columns with the scores beside them, and count the rows."""
    detector, surprise = loaded
    began = time.perf_counter()
    scores = detector.decision_function(values)
    tally.search_seconds += time.perf_counter() - began
    alarms = scores > detector.threshold_
    tops = np.full(len(scores), None)
    if alarms.any():
        surprises = surprise.surprise(values[alarms], n_jobs=1)
        ranks = rank_fields(detector.calibration_, surprises)
        tops[alarms] = detector.feature_names_in_[ranks.argmax(axis=1)]
    turns = give_turns(kept.column("file"), kept.column("row"))
    days = part_by_day(times, alarms, np.column_stack([turns, scores, values]))
    tally.add(Tally(features=Counter(tops[alarms]), days=days))
    columns = dict(zip(kept.column_names, kept.columns, strict=True))
    columns |= {"value": scores, "alarm": alarms, "p_value": detector.p_value(scores)}
    return pa.table({**columns, "top_feature": pa.array(tops, pa.string())})


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
        if self.writer:
            self.writer.close()
        return bytes(self.sink.getvalue())
