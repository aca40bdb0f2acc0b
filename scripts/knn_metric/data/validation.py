"""Tell the rows of a block that can be scored, as numbers, from those that cannot, with reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from knn_metric.cli import UserError
from knn_metric.data.readers import ERROR, Block, Lines, Malformed, read_piece
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
    """What to read of every file.

    Attributes
    ----------
    features : list of str
        The columns of numbers.
    kinds : dict of str to str
        By feature, numpy's name of its type in the contract; float64 where there is none.
    kept : pyarrow.Schema
        To keep beside them, with the type that each has in all files.
    time : str or None
        The column that days come from.
    """

    features: list[str]
    kinds: dict[str, str]
    kept: pa.Schema
    time: str | None = None

    def kind(self, feature: str) -> np.dtype:
        return np.dtype(self.kinds.get(feature, "float64"))

    @property
    def names(self) -> list[str]:
        times = [self.time] if self.time else []
        return list(dict.fromkeys([*self.kept.names, *self.features, *times, ERROR]))


class Part(NamedTuple):
    """Some rows that were read.

    Attributes
    ----------
    kept : pyarrow.Table, length n
        Columns to keep of the rows that can be used, and where each stands: `file` and `row`.
    values : ndarray, shape (n, n_features), dtype float64
        Their features.
    times : ndarray, shape (n,), dtype int64
        Of each its epoch second, or `NO_TIME`.
    rejected : pyarrow.Table
        The other rows, with all that was read of them as text, and the reason.
    """

    kept: pa.Table
    values: np.ndarray
    times: np.ndarray
    rejected: pa.Table

    def __len__(self) -> int:
        return len(self.values) + len(self.rejected)


def read_rows(wanted: Wanted, block: Block, rows: int) -> Iterator[Part]:
    """Read a block, about so many rows at a time.

    Raises
    ------
    UserError
        Names the file that is damaged, or has a column of another type than the others.
    """
    waiting: list[Part] = []
    for one in block:
        for lines in [one] if isinstance(one, Lines) else read_piece(one, wanted.names, rows):
            waiting.append(_check(wanted, lines))
            if sum(map(len, waiting)) >= rows:
                yield _join(waiting)
                waiting = []
    if waiting:
        yield _join(waiting)


def _join(parts: Sequence[Part]) -> Part:
    kept, values, times, rejected = zip(*parts, strict=True)
    numbers = np.concatenate(values), np.concatenate(times)
    return Part(pa.concat_tables(kept), *numbers, pa.concat_tables(rejected))


def _check(wanted: Wanted, lines: Lines) -> Part:
    """Part a table into rows to score and rejected rows, the lines that are none among these."""
    file = shorten_url(lines.url)
    table = _simplify(lines.table)
    values = np.empty((len(table), len(wanted.features)))
    problems = np.zeros(values.shape, np.int8)
    for place, name in enumerate(wanted.features):
        values[:, place], problems[:, place] = read_numbers(_column(table, name), wanted.kind(name))
    error = pc.utf8_lower(pc.utf8_trim_whitespace(_to_text(_column(table, ERROR))))
    failed = pc.invert(pc.is_in(error.fill_null(""), NO_ERROR)).to_numpy()
    times = read_times(_column(table, wanted.time or ""))
    kept = _keep(wanted, file, table, lines.rows)
    rejected = _reject_lines(wanted, file, lines.malformed)
    bad = problems.any(axis=1) | failed
    if bad.any():
        mask = pa.array(bad)
        reasons = _describe_problems(wanted.features, problems[bad], failed[bad])
        found = _reject(wanted, kept.filter(mask), table.filter(mask), reasons)
        rejected = pa.concat_tables([found, rejected])
        kept, values, times = kept.filter(pa.array(~bad)), values[~bad], times[~bad]
    return Part(kept, values, times, rejected)


def _simplify(table: pa.Table) -> pa.Table:
    """Return a table without the types that pyarrow cannot filter."""
    for place, field in enumerate(table.schema):
        if pa.types.is_string_view(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(pa.string()))
    return table


def read_numbers(column: pa.ChunkedArray, kind: np.dtype = DOUBLE) -> tuple[np.ndarray, np.ndarray]:
    """Return a column as a contract's type has it, in float64.

    Text counts as the number that it spells.

    Returns
    -------
    values : ndarray, shape (n,), dtype float64
    problems : ndarray, shape (n,), dtype int8
        What is wrong with each number, as a place in `PROBLEMS`.
    """
    numbers = _to_float(_spell_bools(column) if kind.kind == "b" else column)
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
    low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, int(np.iinfo(kind).max))
    with np.errstate(invalid="ignore"):
        # float(high + 1) is exact where float(high) is not: the largest int64 is no double.
        beyond = (values < low) | (values >= float(high + 1))
        wrong = problems > 0, values != np.rint(values), beyond
    return values, np.select(wrong, (problems, FRACTION, BEYOND)).astype(np.int8)


def _spell_bools(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write ``true`` and ``false`` as the numbers 1 and 0."""
    if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
        return column
    text = pc.utf8_lower(pc.utf8_trim_whitespace(column))
    is_bool = pc.is_in(text, pa.array(["true", "false"], text.type))
    spelled = pc.cast(pc.cast(pc.equal(text, "true"), pa.int8()), text.type)
    return pc.if_else(is_bool, spelled, column)


def _to_float(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = pc.utf8_trim_whitespace(column)
        try:
            return text.cast(pa.float64())
        except pa.ArrowInvalid:
            spelled = pc.match_substring_regex(text, SPELLED)
            return pc.if_else(spelled, text, None).cast(pa.float64())
    try:
        if pa.types.is_decimal(kind):  # whose own cast is off in the last digit
            return column.cast(pa.string()).cast(pa.float64())
        return column.cast(pa.float64(), safe=False)
    except pa.ArrowException:
        return pa.chunked_array([pa.nulls(len(column), pa.float64())])


def _keep(wanted: Wanted, file: str, table: pa.Table, rows: np.ndarray) -> pa.Table:
    """Return the columns to keep, and where each row stands."""
    columns = []
    for name, kind in zip(wanted.kept.names, wanted.kept.types, strict=True):
        column = _column(table, name)
        try:
            columns.append(column.cast(kind))
        except pa.ArrowException as error:
            problem = f"{name} is {kind} elsewhere: {error}"
            raise UserError(f"{file}: {' '.join(problem.split())}") from error
    places = [pa.repeat(file, len(table)), pa.array(rows, pa.int64())]
    return pa.table([*columns, *places], _kept_schema(wanted))


def _kept_schema(wanted: Wanted) -> pa.Schema:
    return pa.schema([*wanted.kept, ("file", pa.string()), ("row", pa.int64())])


def _describe_problems(
    features: Sequence[str], problems: np.ndarray, failed: np.ndarray
) -> list[str]:
    """Return what is wrong with each row, given a place in `PROBLEMS` for each feature.

    Of a request whose target failed nothing else is said.
    """
    found, places = np.unique(problems, axis=0, return_inverse=True)
    reasons = [
        "; ".join(
            f"{name}: {PROBLEMS[code]}" for name, code in zip(features, row, strict=True) if code
        )
        for row in found.tolist()
    ]
    said = zip(places.ravel(), failed, strict=True)
    return [FAILED if is_failed else reasons[place] for place, is_failed in said]


def _reject(wanted: Wanted, kept: pa.Table, table: pa.Table, reasons: Sequence[str]) -> pa.Table:
    texts = [_to_text(_column(table, name)) for name in _rejected_names(wanted)]
    columns = [*kept.columns, *texts, pa.nulls(len(table), pa.string())]
    return pa.table([*columns, pa.array(reasons, pa.string())], _rejected_schema(wanted))


def _reject_lines(wanted: Wanted, file: str, malformed: Sequence[Malformed]) -> pa.Table:
    lines = [
        {"file": file, "row": row, "line": line, "reason": reason}
        for row, line, reason in malformed
    ]
    return pa.Table.from_pylist(lines, _rejected_schema(wanted))


def _rejected_names(wanted: Wanted) -> list[str]:
    return [name for name in wanted.names if name not in wanted.kept.names]


def _rejected_schema(wanted: Wanted) -> pa.Schema:
    own = ("file", "row", "line", "reason")
    inputs = [f"{name} (input)" if name in own else name for name in _rejected_names(wanted)]
    texts = [(name, pa.string()) for name in (*inputs, "line", "reason")]
    return pa.schema([*_kept_schema(wanted), *texts])


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name in table.column_names:
        column = table.column(name)
        kind = column.type
        return column.cast(kind.value_type) if pa.types.is_dictionary(kind) else column
    return pa.chunked_array([pa.nulls(len(table))])


def _to_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.string())
    except pa.ArrowException:
        values = column.to_pylist()
        text = [None if value is None else str(value) for value in values]
        return pa.chunked_array([pa.array(text, pa.string())])
