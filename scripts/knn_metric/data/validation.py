"""Blocks of rows: read, and parted into those that can be scored, as numbers, and the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from knn_metric.data.cells import MISSING, PROBLEMS, read_numbers, read_times
from knn_metric.data.parquet import read_parquet
from knn_metric.data.sources import kind_of, name_of, partitions_of
from knn_metric.data.text import Malformed, Read, read_text

ERROR = "_hs_error"
FAILED = "the target failed"
NO_ROWS = np.arange(0)


class Piece(NamedTuple):
    """Of Parquet the rows from `first` to before `last`; a text file, with its rows if counted."""

    url: str
    first: int = 0
    last: int = 0
    copies: np.ndarray = NO_ROWS  # rows of requests that were read before

    @property
    def size(self) -> int:
        return self.last - self.first


@dataclass(frozen=True)
class Lines:
    """Rows that were read: their file, a table, the number of each row, lines that are no rows.

    The table is as it is in Parquet; text from CSV and JSON lines, null where there is none.
    """

    url: str
    table: pa.Table
    rows: np.ndarray
    malformed: Sequence[Malformed] = ()
    copies: int = 0  # rows that are not in the table, since they were read before

    def __len__(self) -> int:
        return len(self.rows) + len(self.malformed) + self.copies


Block = tuple[Piece | Lines, ...]  # that is scored together


class Wanted(NamedTuple):
    """What to read of every file."""

    kinds: dict[str, str]  # by column of numbers, numpy's name of its type in the contract
    kept: pa.Schema  # to keep beside them, with the type that each has in all files
    time: str | None  # the column that days come from

    @property
    def names(self) -> list[str]:
        times = [self.time] if self.time else []
        return list(dict.fromkeys([*self.kept.names, *self.kinds, *times, ERROR]))

    @property
    def beside(self) -> list[str]:
        """What is read and not kept of rows that can be used."""
        return [name for name in self.names if name not in self.kept.names]

    @property
    def scored(self) -> pa.Schema:
        return pa.schema([*self.kept, ("file", pa.string()), ("row", pa.int64())])

    @property
    def rejected(self) -> pa.Schema:
        own = ("file", "row", "line", "reason")
        inputs = [f"{name} (input)" if name in own else name for name in self.beside]
        return pa.schema(
            [*self.scored, *((name, pa.string()) for name in (*inputs, "line", "reason"))]
        )


class Part(NamedTuple):
    """Some rows that were read: n that can be used, and others."""

    kept: pa.Table  # of the n rows what is to keep, and where each stands: `file` and `row`
    values: np.ndarray  # their features: (n, n_features), float64
    times: np.ndarray  # of each its epoch second, or `NO_TIME`: (n,), int64
    rejected: pa.Table  # the other rows, all that was read of them as text, and the reason
    copies: int  # rows of requests that were read before

    def __len__(self) -> int:
        return len(self.values) + len(self.rejected) + self.copies

    @staticmethod
    def join(parts: Iterable[Part]) -> Part:
        kept, values, times, rejected, copies = zip(*parts, strict=True)
        numbers = np.concatenate(values), np.concatenate(times)
        return Part(pa.concat_tables(kept), *numbers, pa.concat_tables(rejected), sum(copies))


Some = TypeVar("Some", bound=Sized)


def gather(some: Iterable[Some], rows: int) -> Iterator[tuple[Some, ...]]:
    """Put what holds rows together as soon as there are so many."""
    waiting: list[Some] = []
    for one in some:
        waiting.append(one)
        if sum(map(len, waiting)) >= rows:
            yield tuple(waiting)
            waiting = []
    if any(map(len, waiting)):
        yield tuple(waiting)


def read_piece(piece: Piece, names: Sequence[str] | None, rows: int) -> Iterator[Lines]:
    """Read the columns that are there, all if none is named, at most so many rows at a time.

    A UserError names the file, if it is damaged or cannot be read.
    """
    url, first, last, copies = piece
    read: Iterable[Read] = read_text(url, names, rows)
    if kind_of(url) == "parquet":
        read = read_parquet(url, names, rows, first, last)
    for table, numbers, malformed in read:
        for name, value in partitions_of(url).items():
            if (names is None or name in names) and name not in table.column_names:
                column = pa.repeat(pa.scalar(value, pa.string()), len(table))
                table = table.append_column(name, column)
        new = ~np.isin(numbers, copies)
        if not new.all():
            table = table.filter(pa.array(new))
        yield Lines(url, table, numbers[new], malformed, int(np.sum(~new)))


def read_rows(wanted: Wanted, block: Block, rows: int) -> Iterator[Part]:
    """Read a block, about so many rows at a time.

    A UserError names a file that is damaged.
    """
    lines = chain.from_iterable(
        [one] if isinstance(one, Lines) else read_piece(one, wanted.names, rows) for one in block
    )
    return map(Part.join, gather((_check(wanted, one) for one in lines), rows))


def _check(wanted: Wanted, lines: Lines) -> Part:
    """Part a table into rows to score and rejected rows, the lines that are none among these."""
    file = name_of(lines.url)
    plain = [(field.name, plain_type(field.type)) for field in lines.table.schema]
    table = lines.table.cast(pa.schema(plain))
    values = np.empty((len(table), len(wanted.kinds)))
    problems = np.zeros(values.shape, np.int8)
    for place, (name, kind) in enumerate(wanted.kinds.items()):
        values[:, place], problems[:, place] = read_numbers(_column(table, name), np.dtype(kind))
    error = pc.utf8_lower(pc.utf8_trim_whitespace(to_text(_column(table, ERROR))))
    failed = pc.invert(pc.is_in(error.fill_null(""), pa.array(MISSING))).to_numpy()
    times = read_times(_column(table, wanted.time or ""))
    fields = zip(wanted.kept.names, wanted.kept.types, strict=True)
    columns = [_cast(_column(table, name), kind) for name, kind in fields]
    places = [pa.repeat(file, len(table)), pa.array(lines.rows, pa.int64())]
    kept = pa.table([*columns, *places], wanted.scored)
    malformed = [{"file": file, **one._asdict()} for one in lines.malformed]
    rejected = pa.Table.from_pylist(malformed, wanted.rejected)
    bad = problems.any(axis=1) | failed
    if bad.any():
        mask = pa.array(bad)
        odd = table.filter(mask)
        texts = [to_text(_column(odd, name)) for name in wanted.beside]
        reasons = _describe_problems([*wanted.kinds], problems[bad], failed[bad])
        columns = [*kept.filter(mask).columns, *texts, pa.nulls(len(odd), pa.string()), reasons]
        rejected = pa.concat_tables([pa.table(columns, wanted.rejected), rejected])
        kept, values, times = kept.filter(pa.array(~bad)), values[~bad], times[~bad]
    return Part(kept, values, times, rejected, lines.copies)


def _describe_problems(
    features: Sequence[str], problems: np.ndarray, failed: np.ndarray
) -> pa.Array:
    """Return what is wrong with each row; of a request whose target failed nothing else."""
    found, places = np.unique(problems, axis=0, return_inverse=True)
    named = [
        [f"{name}: {PROBLEMS[code]}" for name, code in zip(features, row, strict=True) if code]
        for row in found.tolist()
    ]
    reasons = np.array(["; ".join(words) for words in named], object)
    return pa.array(np.where(failed, FAILED, reasons[places.ravel()]), pa.string())


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that is computed with in place of a dictionary's or another one of text."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_text = pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return pa.string() if is_text else kind


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    is_there = name in table.column_names
    return table.column(name) if is_there else pa.chunked_array([pa.nulls(len(table))])


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    return to_text(column) if pa.types.is_string(kind) else column.cast(kind)


def to_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.string())
    except pa.ArrowException:
        text = [None if value is None else str(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(text, pa.string())])
