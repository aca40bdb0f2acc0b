"""Blocks of rows: read, and parted into those that can be scored, as numbers, and the others."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from knn_metric.cli import UserError
from knn_metric.data.cells import MISSING, PROBLEMS, read_numbers, read_times
from knn_metric.data.parquet import read_parquet
from knn_metric.data.sources import kind_of, name_of, partitions_of
from knn_metric.data.text import Malformed, read_text

ERROR = "_hs_error"
FAILED = "the target failed"
NO_ROWS = np.arange(0)
NO_ROW = -1  # the number of what stands for a file, or the end of one, that cannot be read


class Piece(NamedTuple):
    """Of Parquet the rows from `first` to before `last`; a text file, with its rows if counted."""

    url: str
    first: int = 0
    last: int = 0
    copies: np.ndarray = NO_ROWS  # rows of requests that are read elsewhere
    problem: str = ""  # why the file cannot be read

    @property
    def size(self) -> int:
        return self.last - self.first

    def without(self, copies: np.ndarray) -> "Piece":
        """Return what is left of it without some rows of its file."""
        if self.size:
            copies = copies[(copies >= self.first) & (copies < self.last)]
        return self._replace(copies=copies)


class Wanted(NamedTuple):
    """What to read of every file."""

    kinds: dict[str, str]  # by column of numbers, numpy's name of its type in the contract
    kept: pa.Schema  # to keep beside them, with the type that each has in all files
    time: str | None  # the column that days come from
    leaves_out: bool = False  # what cannot be read of files, as a rejected line `NO_ROW`

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
        kept = (one.with_name(_name_input(one.name)) for one in self.kept)
        return pa.schema([*kept, ("file", pa.string()), ("row", pa.int64())])

    @property
    def rejected(self) -> pa.Schema:
        inputs = map(_name_input, self.beside)
        texts = [(name, pa.string()) for name in (*inputs, "line", "reason")]
        return pa.schema([*self.scored, *texts])


def _name_input(name: str) -> str:
    """Return what a column of the data is called beside those that say where a row stands."""
    return f"{name} (input)" if name in ("file", "row", "line", "reason") else name


class Part(NamedTuple):
    """Some rows that were read: n that can be used, and others."""

    kept: pa.Table  # of the n rows what is to keep, and where each stands: `file` and `row`
    values: np.ndarray  # their features: (n, n_features), float64
    times: np.ndarray  # of each its epoch second, or `NO_TIME`: (n,), int64
    rejected: pa.Table  # the other rows, all that was read of them as text, and the reason
    copies: int  # rows of requests that are read elsewhere

    def __len__(self) -> int:
        return len(self.values) + len(self.rejected) + self.copies

    @staticmethod
    def join(parts: Iterable["Part"]) -> "Part":
        kept, values, times, rejected, copies = zip(*parts, strict=True)
        numbers = np.concatenate(values), np.concatenate(times)
        return Part(pa.concat_tables(kept), *numbers, pa.concat_tables(rejected), sum(copies))


Block = tuple[Piece | Part, ...]  # that is scored together


def read_rows(wanted: Wanted, block: Block, rows: int) -> Iterator[Part]:
    """Read a block, about so many rows at a time.

    A UserError names a file that is damaged, unless such are left out.
    """
    parts = ([one] if isinstance(one, Part) else _read_parts(wanted, one, rows) for one in block)
    waiting: list[Part] = []
    count = 0
    for part in chain.from_iterable(parts):
        waiting.append(part)
        count += len(part)
        if count >= rows:
            yield Part.join(waiting)
            waiting, count = [], 0
    if any(map(len, waiting)):
        yield Part.join(waiting)


def _read_parts(wanted: Wanted, piece: Piece, rows: int) -> Iterator[Part]:
    file = name_of(piece.url)
    try:
        if piece.problem:
            raise UserError(piece.problem)
        for table, numbers, malformed in read_piece(piece, wanted.names, rows):
            new = ~np.isin(numbers, piece.copies)
            some = table if new.all() else table.filter(pa.array(new))
            checked = _check(wanted, file, some, numbers[new], malformed)
            yield Part(*checked, copies=int(np.sum(~new)))
    except UserError as error:
        if not wanted.leaves_out:
            raise
        line = Malformed(NO_ROW, "", str(error))
        yield Part(*_check(wanted, file, pa.table({}), NO_ROWS, [line]), copies=0)


def read_piece(
    piece: Piece, names: Sequence[str] | None, rows: int
) -> Iterator[tuple[pa.Table, np.ndarray, Sequence[Malformed]]]:
    """Read the columns that are there, all if none is named, at most so many rows at a time.

    Beside a table, of Parquet as it is there, else of text, are the numbers of its rows, and lines
    that are no rows. A UserError names the file, if it is damaged or cannot be read.
    """
    url = piece.url
    read = read_text(url, names, rows)
    if kind_of(url) == "parquet":
        read = read_parquet(url, names, rows, piece.first, piece.last)
    for table, *others in read:
        for name, value in partitions_of(url).items():
            if (names is None or name in names) and name not in table.column_names:
                column = pa.repeat(pa.scalar(value, pa.string()), len(table))
                table = table.append_column(name, column)
        yield table, *others


def _check(
    wanted: Wanted, file: str, table: pa.Table, rows: np.ndarray, lines: Sequence[Malformed]
) -> tuple[pa.Table, np.ndarray, np.ndarray, pa.Table]:
    """Part a table into rows to score and rejected rows, the lines that are none among these."""
    table = table.cast(pa.schema((one.name, plain_type(one.type)) for one in table.schema))
    values = np.empty((len(table), len(wanted.kinds)))
    problems = np.zeros(values.shape, np.int8)
    for place, (name, kind) in enumerate(wanted.kinds.items()):
        values[:, place], problems[:, place] = read_numbers(_column(table, name), np.dtype(kind))
    error = pc.utf8_lower(pc.utf8_trim_whitespace(to_text(_column(table, ERROR))))
    failed = pc.invert(pc.is_in(error.fill_null(""), pa.array(MISSING))).to_numpy()
    times = read_times(_column(table, wanted.time or ""))
    kept = pa.table(
        [
            *(_cast(_column(table, one.name), one.type) for one in wanted.kept),
            pa.repeat(file, len(table)),
            pa.array(rows, pa.int64()),
        ],
        wanted.scored,
    )
    malformed = [{"file": file, **line._asdict()} for line in lines]
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
    return kept, values, times, rejected


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
