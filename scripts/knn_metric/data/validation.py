"""Tell the rows of a block that can be scored, as numbers, from those that cannot, with reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from knn_metric.cli import UserError
from knn_metric.data.readers import ERROR, Block, Lines, gather, plain_type, read_piece
from knn_metric.data.sources import shorten_url
from knn_metric.data.times import read_times

INT64_LIMIT = 2.0**63  # as `portable_knn.messages` has it, which takes seconds to import
# What may be wrong with a number: first in the words in which `messages.read` refuses a request.
PROBLEMS = (
    "",
    "missing",
    "not numeric",
    "expected a finite number, got NaN",
    "expected a finite number, got infinity or a number beyond int64",
    "expected a whole number, got a fraction",
    "expected a number within the contract's type",
)
FRACTION, BEYOND = 5, 6
DOUBLE = np.dtype(np.float64)
FAILED = "the target failed"
SPELLED = r"(?i)^[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf(inity)?)$"
# How files spell that there is no error.
NO_ERROR = pa.array(["", "na", "n/a", "nan", "null", "none", r"\n"])


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
        texts = [(name, pa.string()) for name in (*inputs, "line", "reason")]
        return pa.schema([*self.scored, *texts])


class Part(NamedTuple):
    """Some rows that were read: n that can be used, and others."""

    kept: pa.Table  # of the n rows what is to keep, and where each stands: `file` and `row`
    values: np.ndarray  # their features: (n, n_features), float64
    times: np.ndarray  # of each its epoch second, or `NO_TIME`: (n,), int64
    rejected: pa.Table  # the other rows, all that was read of them as text, and the reason

    def __len__(self) -> int:
        return len(self.values) + len(self.rejected)


def read_rows(wanted: Wanted, block: Block, rows: int) -> Iterator[Part]:
    """Read a block, about so many rows at a time.

    A UserError names a file that is damaged, or has a column of another type than the others.
    """
    lines = chain.from_iterable(
        [one] if isinstance(one, Lines) else read_piece(one, wanted.names, rows) for one in block
    )
    return map(_join, gather((_check(wanted, one) for one in lines), rows))


def _join(parts: Sequence[Part]) -> Part:
    kept, values, times, rejected = zip(*parts, strict=True)
    numbers = np.concatenate(values), np.concatenate(times)
    return Part(pa.concat_tables(kept), *numbers, pa.concat_tables(rejected))


def _check(wanted: Wanted, lines: Lines) -> Part:
    """Part a table into rows to score and rejected rows, the lines that are none among these."""
    file = shorten_url(lines.url)
    plain = [(field.name, plain_type(field.type)) for field in lines.table.schema]
    table = lines.table.cast(pa.schema(plain))
    values = np.empty((len(table), len(wanted.kinds)))
    problems = np.zeros(values.shape, np.int8)
    for place, (name, kind) in enumerate(wanted.kinds.items()):
        values[:, place], problems[:, place] = read_numbers(_column(table, name), np.dtype(kind))
    error = pc.utf8_lower(pc.utf8_trim_whitespace(_to_text(_column(table, ERROR))))
    failed = pc.invert(pc.is_in(error.fill_null(""), NO_ERROR)).to_numpy()
    times = read_times(_column(table, wanted.time or ""))
    kept = _keep(wanted, file, table, lines.rows)
    malformed = [{"file": file, **one._asdict()} for one in lines.malformed]
    rejected = pa.Table.from_pylist(malformed, wanted.rejected)
    bad = problems.any(axis=1) | failed
    if bad.any():
        mask = pa.array(bad)
        odd = table.filter(mask)
        texts = [_to_text(_column(odd, name)) for name in wanted.beside]
        reasons = _describe_problems([*wanted.kinds], problems[bad], failed[bad])
        columns = [*kept.filter(mask).columns, *texts, pa.nulls(len(odd), pa.string()), reasons]
        rejected = pa.concat_tables([pa.table(columns, wanted.rejected), rejected])
        kept, values, times = kept.filter(pa.array(~bad)), values[~bad], times[~bad]
    return Part(kept, values, times, rejected)


def read_numbers(column: pa.ChunkedArray, kind: np.dtype = DOUBLE) -> tuple[np.ndarray, np.ndarray]:
    """Return a column as a contract's type has it, in float64; text counts as what it spells.

    Beside each number stands what is wrong with it, as a place in `PROBLEMS`.
    """
    is_bool = kind.kind == "b"
    numbers = _to_float(
        _spell_bools(column) if is_bool and pa.types.is_string(column.type) else column
    )
    values = numbers.fill_null(np.nan).to_numpy()
    problems = np.zeros(len(values), np.int8)
    fits = np.abs(values) <= INT64_LIMIT
    if not fits.all():
        kinds = column.is_null().to_numpy(), numbers.is_null().to_numpy(), np.isnan(values), ~fits
        problems = np.select(kinds, range(1, 1 + len(kinds))).astype(np.int8)
    if kind == DOUBLE:
        return values, problems
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            return values.astype(kind).astype(np.float64), problems
    low, high = (0, 1) if is_bool else (np.iinfo(kind).min, int(np.iinfo(kind).max))
    with np.errstate(invalid="ignore"):
        # float(high + 1) is exact where float(high) is not: the largest int64 is no double.
        beyond = (values < low) | (values >= float(high + 1))
        wrong = problems > 0, values != np.rint(values), beyond
    return values, np.select(wrong, (problems, FRACTION, BEYOND)).astype(np.int8)


def _spell_bools(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write ``true`` and ``false`` as the numbers 1 and 0."""
    text = pc.utf8_lower(pc.utf8_trim_whitespace(column))
    spelled = pc.equal(text, "true").cast(pa.int8()).cast(pa.string())
    return pc.if_else(pc.is_in(text, pa.array(["true", "false"])), spelled, column)


def _to_float(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        if pa.types.is_string(column.type):
            text = pc.utf8_trim_whitespace(column)
            try:
                return text.cast(pa.float64())
            except pa.ArrowInvalid:
                text = pc.if_else(pc.match_substring_regex(text, SPELLED), text, None)
                return text.cast(pa.float64())
        if pa.types.is_decimal(column.type):  # whose own cast is off in the last digit
            column = column.cast(pa.string())
        return column.cast(pa.float64(), safe=False)
    except pa.ArrowException:
        return pa.chunked_array([pa.nulls(len(column), pa.float64())])


def _keep(wanted: Wanted, file: str, table: pa.Table, rows: np.ndarray) -> pa.Table:
    columns = []
    for name, kind in zip(wanted.kept.names, wanted.kept.types, strict=True):
        column = _column(table, name)
        try:
            columns.append(column.cast(kind))
        except pa.ArrowException as error:
            problem = f"{name} is {kind} elsewhere: {error}"
            raise UserError(f"{file}: {' '.join(problem.split())}") from error
    places = [pa.repeat(file, len(table)), pa.array(rows, pa.int64())]
    return pa.table([*columns, *places], wanted.scored)


def _describe_problems(
    features: Sequence[str], problems: np.ndarray, failed: np.ndarray
) -> pa.Array:
    """Return what is wrong with each row; of a request whose target failed nothing else."""
    found, places = np.unique(problems, axis=0, return_inverse=True)
    reasons = [
        "; ".join(
            f"{name}: {PROBLEMS[code]}" for name, code in zip(features, row, strict=True) if code
        )
        for row in found.tolist()
    ]
    said = np.where(failed, FAILED, np.array(reasons, object)[places.ravel()])
    return pa.array(said, pa.string())


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    is_there = name in table.column_names
    return table.column(name) if is_there else pa.chunked_array([pa.nulls(len(table))])


def _to_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.string())
    except pa.ArrowException:
        text = [None if value is None else str(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(text, pa.string())])
