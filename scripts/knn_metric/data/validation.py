"""Blocks of rows: read, and parted into those that can be scored, as numbers, and the others."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from knn_metric.cli import UserError, complain
from knn_metric.data.cells import MISSING, NO_TIME, PROBLEMS, read_numbers, read_times
from knn_metric.data.parquet import read_parquet
from knn_metric.data.sources import kind_of, name_of, partitions_of
from knn_metric.data.text import Read, read_csv, read_json

TEXT = pa.string()
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


Block = Sequence[Piece]  # whose rows are scored together


class Wanted(NamedTuple):
    """What to read of every file."""

    kinds: dict[str, str]  # by column of numbers, numpy's name of its type in the contract
    kept: pa.Schema  # to keep beside them, with the type that each has in all files
    time: str | None  # the column that days come from

    @property
    def names(self) -> list[str]:
        times = [self.time] if self.time else []
        return list(dict.fromkeys([*self.kept.names, *self.kinds, *times, ERROR]))

    def require_times(self, n_timed: int, asked: str | None) -> None:
        """Say if no row has a time in the column of times; raise UserError if it was asked for."""
        if self.time and not n_timed:
            problem = f"{self.time}: no cell of that column is a time"
            if asked:
                raise UserError(f"--time {problem}")
            complain(problem)


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

    @property
    def refused(self) -> dict[str, str]:
        """Why files cannot be read, or not to their end, by their names."""
        files = self.rejected.filter(pc.equal(self.rejected["row"], NO_ROW))
        return dict(zip(files["file"].to_pylist(), files["reason"].to_pylist(), strict=True))


def read_rows(wanted: Wanted, block: Block, rows: int) -> Iterator[Part]:
    """Read a block, about so many rows at a time.

    What cannot be read of a file is a rejected line, `NO_ROW`.
    """
    waiting: list[Part] = []
    count = 0
    for piece in block:
        for part in _read_parts(wanted, piece, rows):
            waiting.append(part)
            count += len(part)
            if count >= rows:
                yield Part.join(waiting)
                waiting, count = [], 0
    if any(map(len, waiting)):
        yield Part.join(waiting)


def _read_parts(wanted: Wanted, piece: Piece, rows: int) -> Iterator[Part]:
    try:
        if piece.problem:
            raise UserError(piece.problem)
        for read in read_piece(piece, wanted.names, rows):
            yield _check(wanted, piece, *read)
    except UserError as error:
        line = {"row": NO_ROW, "line": "", "reason": str(error)}
        nothing = pa.table({name: pa.nulls(0) for name in wanted.names})
        yield _check(wanted, piece, nothing, NO_ROWS, [line])


def read_all(wanted: Wanted, blocks: Sequence[Block], rows: int) -> Part:
    """Read blocks as one part; a UserError names a file that cannot be read."""
    parts = []
    for block in blocks if not blocks[-1][0].problem else blocks[-1:]:
        for part in read_rows(wanted, block, rows):
            for problem in part.refused.values():
                raise UserError(problem)
            parts.append(part)
    return Part.join(parts)


def require_enough(data: Iterable[str], rejected: Counter[str], n_usable: int, most: float) -> None:
    """Raise UserError if more than a proportion of the rows cannot be used."""
    n_rejected = rejected.total()
    n_rows = n_usable + n_rejected
    if n_rejected > most * n_rows:
        reasons = "; ".join(f"{reason} ({count:,})" for reason, count in rejected.most_common(3))
        share = math.ceil(100 * n_rejected / n_rows) / 100
        advice = f"; --most-rejected {share:g} allows as many" if n_usable else ""
        raise UserError(
            f"{n_rejected:,} of {n_rows:,} rows of {', '.join(data)} cannot be used:"
            f" {reasons}{advice}"
        )


def read_piece(piece: Piece, names: Sequence[str] | None, rows: int) -> Iterator[Read]:
    """Read columns, all if none is named, at most so many rows at a time.

    Beside a table, of Parquet as it is there, else of text, are the numbers of its rows, and lines
    that are no rows. A UserError names the file, if it is damaged or cannot be read.
    """
    url, kind = piece.url, kind_of(piece.url)
    read = read_json(url, names, rows) if kind == "json" else read_csv(url)
    if kind == "parquet":
        read = read_parquet(url, names, rows, piece.first, piece.last)
    for table, numbers, malformed in read:
        for name, value in (dict.fromkeys(names or ()) | partitions_of(url)).items():
            if name not in table.column_names:
                column = pa.nulls(len(table)) if value is None else pa.repeat(value, len(table))
                table = table.append_column(name, column)
        table = table.select(names or table.column_names)
        for first in range(0, max(len(table), 1), rows):
            part = slice(first, first + rows)
            yield table[part], numbers[part], () if first else malformed


def _check(
    wanted: Wanted, piece: Piece, table: pa.Table, rows: np.ndarray, lines: Sequence[dict[str, Any]]
) -> Part:
    """Part a table into rows to score and rejected rows, the lines that are none among these."""
    file, new = name_of(piece.url), ~np.isin(rows, piece.copies)
    if not new.all():
        table, rows = table.filter(pa.array(new)), rows[new]
    table = table.cast(pa.schema((one.name, plain_type(one.type)) for one in table.schema))
    values = np.empty((len(table), len(wanted.kinds)))
    problems = np.zeros(values.shape, np.int8)
    for place, (name, kind) in enumerate(wanted.kinds.items()):
        values[:, place], problems[:, place] = read_numbers(table[name], np.dtype(kind))
    error = pc.utf8_lower(pc.utf8_trim_whitespace(to_type(table[ERROR])))
    failed = pc.invert(pc.is_in(error.fill_null(""), pa.array(MISSING))).to_numpy()
    times = read_times(table[wanted.time]) if wanted.time else np.full(len(table), NO_TIME)
    # What a column of the data is called beside those that say where a row stands.
    taken = ("file", "row", "line", "reason")
    names = {name: f"{name} (input)" if name in taken else name for name in wanted.names}
    kept = pa.table(
        {names[one.name]: to_type(table[one.name], one.type) for one in wanted.kept}
        | {"file": pa.repeat(file, len(table)), "row": pa.array(rows, pa.int64())}
    )
    beside = [name for name in names if name not in wanted.kept.names]
    texts = [(name, TEXT) for name in (*map(names.get, beside), "line", "reason")]
    schema = pa.schema([*kept.schema, *texts])
    rejected = pa.Table.from_pylist([{"file": file, **line} for line in lines], schema)
    bad = problems.any(axis=1) | failed
    if bad.any():
        mask = pa.array(bad)
        reasons = np.array(describe_problems([*wanted.kinds], problems[bad]), object)
        # Of a request whose target failed nothing else is said.
        reasons = pa.array(np.where(failed[bad], FAILED, reasons), TEXT)
        cells = map(to_type, table.select(beside).filter(mask).columns)
        columns = [*kept.filter(mask).columns, *cells, pa.nulls(len(reasons), TEXT), reasons]
        rejected = pa.concat_tables([pa.table(columns, schema), rejected])
        kept, values, times = kept.filter(pa.array(~bad)), values[~bad], times[~bad]
    return Part(kept, values, times, rejected, int(np.sum(~new)))


def describe_problems(names: Sequence[str], problems: np.ndarray) -> list[str]:
    """Return what is wrong with each row, given places in `PROBLEMS` of its columns."""
    found, places = np.unique(problems, axis=0, return_inverse=True)
    named = [
        [f"{name}: {PROBLEMS[code]}" for name, code in zip(names, row, strict=True) if code]
        for row in found.tolist()
    ]
    return ["; ".join(named[place]) for place in places.ravel().tolist()]


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that is computed with in place of a dictionary's or another one of text."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_text = pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return TEXT if is_text else kind


def to_type(column: pa.ChunkedArray, kind: pa.DataType = TEXT) -> pa.ChunkedArray:
    """Return a column in another type, that of text if none is named, which all can be made."""
    try:
        return column.cast(kind)
    except pa.ArrowException:
        text = [None if value is None else str(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(text, TEXT)])
