"""Score one block of a history: rows in, the Parquet of scores and rejected rows and counts out.

Runs on Dask workers too, which have what requirements.txt pins but not all that a command needs.
"""

import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from knn_metric.data.cells import DAY, EPOCH, NO_TIME
from knn_metric.data.validation import NO_ROW, Part
from knn_metric.detection.calibration import rank_fields
from knn_metric.detection.surprise import FieldSurprise
from portable_knn import PortableKNN, load

AT_ONCE = 100_000  # rows of a block, after which an interrupted run ends
SAMPLE = 1_000  # rows of a period that are tested, at most
NO_DAY = NO_TIME // DAY
# The first few multiples of it, modulo 1, are evenly spread however few they are: Knuth, D. E.
# (1998), The Art of Computer Programming 3, section 6.4.
GOLDEN = (5**0.5 - 1) / 2
Loaded = tuple[PortableKNN, FieldSurprise]


class Period(NamedTuple):
    """The scored rows of a day or of a block."""

    scored: int
    alarms: int
    sample: np.ndarray  # (k, 2 + n_features): turn, score and fields of the rows that are tested

    def join(self, later: "Period") -> "Period":
        """Return the period of these and of later rows."""
        rows = np.concatenate([self.sample, later.sample])
        return Period(self.scored + later.scored, self.alarms + later.alarms, _take_sample(rows))


def _take_sample(rows: np.ndarray) -> np.ndarray:
    """Take the rows with the lowest turns, which stand in the first column."""
    return rows[np.sort(np.argsort(rows[:, 0], kind="stable")[:SAMPLE])]


@dataclass
class Tally:
    """What became of rows, counted."""

    rejected: Counter[str] = field(default_factory=Counter)  # could not be scored: by reason
    refused: dict[str, str] = field(default_factory=dict)  # files that are damaged: why
    features: Counter[str] = field(default_factory=Counter)  # alarms: by their top feature
    days: dict[int, Period] = field(default_factory=dict)  # scored: by the day since 1970
    undated: list[Period] = field(default_factory=list)  # of each block, scored rows without a day
    copies: int = 0  # of requests that stand in an earlier row, and are scored there
    seconds: float = 0.0  # that a thread took for all
    search_seconds: float = 0.0  # and for the search in it

    @property
    def scored(self) -> int:
        return sum(one.scored for one in (*self.days.values(), *self.undated))

    @property
    def alarms(self) -> int:
        return self.features.total()

    @property
    def rows(self) -> int:
        return self.scored + self.rejected.total() + self.copies

    def add(self, later: "Tally") -> None:
        self.rejected += later.rejected
        self.refused |= later.refused
        self.features += later.features
        for day, period in later.days.items():
            self.days[day] = self.days[day].join(period) if day in self.days else period
        self.undated += later.undated
        self.copies += later.copies
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


# A block's tally, and the Parquet of scores and of rejected rows, ``b""`` for one without rows.
Scored = tuple[Tally, bytes, bytes]


def score_block(
    loaded: Loaded, parts: Iterable[Part], is_over: Callable[[], bool] = lambda: False
) -> Scored:
    """Score what is read of a block; stop in the middle of it once nobody wants the scores."""
    began = time.perf_counter()
    tally, scores = Tally(), []
    rejects: list[pa.Table] = []
    for part in parts:
        is_row = pc.not_equal(part.rejected["row"], NO_ROW)
        tally.rejected.update(part.rejected["reason"].filter(is_row).to_pylist())
        tally.refused |= part.refused
        tally.copies += part.copies
        rejects.append(part.rejected)
        if len(part.values):
            scores.append(_score_rows(loaded, part, tally))
        if is_over():
            break
    if NO_DAY in tally.days:
        tally.undated.append(tally.days.pop(NO_DAY))
    tally.seconds = time.perf_counter() - began
    return tally, _to_parquet(scores), _to_parquet(rejects)


def prepare(detector: PortableKNN) -> Loaded:
    return detector, FieldSurprise.of(detector)


@cache
def load_once(artifact: str) -> Loaded:
    return prepare(load(artifact))


def _score_rows(loaded: Loaded, part: Part, tally: Tally) -> pa.Table:
    """Return the kept columns with the scores beside them, and count the rows."""
    detector, surprise = loaded
    began = time.perf_counter()
    scores = detector.decision_function(part.values)
    tally.search_seconds += time.perf_counter() - began
    alarms = scores > detector.threshold_
    tops = np.full(len(scores), None)
    if alarms.any():
        surprises = surprise.surprise(part.values[alarms], n_jobs=1)
        ranks = rank_fields(detector.calibration_, surprises)
        tops[alarms] = detector.feature_names_in_[ranks.argmax(axis=1)]
    turns = give_turns(part.kept.column("file"), part.kept.column("row"))
    days = part_by_day(part.times, alarms, np.column_stack([turns, scores, part.values]))
    tally.add(Tally(features=Counter(tops[alarms]), days=days))
    columns = dict(zip(part.kept.column_names, part.kept.columns, strict=True))
    columns |= {"value": scores, "alarm": alarms, "p_value": detector.p_value(scores)}
    return pa.table({**columns, "top_feature": pa.array(tops, pa.string())})


def give_turns(files: pa.ChunkedArray, rows: pa.ChunkedArray) -> np.ndarray:
    """Return each row's turn to be in a sample, below 1; any lowest ones are evenly spread.

    Nothing but a row's place in its file counts, so that samples are the same however a history is
    divided. Files begin with different turns, since each may hold but one row.
    """
    encoded = files.combine_chunks().dictionary_encode()
    begins = [zlib.crc32(name.encode()) / 2**32 for name in encoded.dictionary.to_pylist()]
    turns: np.ndarray = (np.array(begins)[encoded.indices] + rows.to_numpy() * GOLDEN) % 1
    return turns


def part_by_day(times: np.ndarray, alarms: np.ndarray, rows: np.ndarray) -> dict[int, Period]:
    """Return the period of each day since 1970, that of rows without a time as `NO_DAY`."""
    days = times // DAY
    order = np.argsort(days, kind="stable")
    found, firsts = np.unique(days[order], return_index=True)
    parts = zip(found.tolist(), np.split(order, firsts[1:]), strict=True)
    return {
        day: Period(len(own), int(alarms[own].sum()), _take_sample(rows[own])) for day, own in parts
    }


def _to_parquet(tables: list[pa.Table]) -> bytes:
    sink = pa.BufferOutputStream()
    if any(map(len, tables)):
        parquet.write_table(pa.concat_tables(tables), sink, compression="zstd")
    return bytes(sink.getvalue())
