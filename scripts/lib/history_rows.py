"""Tell the rows of a block that can be scored, as numbers, from those that cannot, with reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lib.command import UserError
from lib.history import ERROR, Block, Columns, read_piece, shorten_url

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from messages import INT64_LIMIT

# What may be wrong with a number, in the words in which `messages.read` refuses a request.
PROBLEMS = (
    "",
    "missing",
    "not numeric",
    "expected a finite number, got NaN",
    "expected a finite number, got infinity or a number beyond int64",
)
FAILED = "the target failed"
SPELLED = r"(?i)^[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf(inity)?)$"


class Rows(NamedTuple):
    """Some rows of a history.

    Attributes
    ----------
    kept : pyarrow.Table, length n
        Of the rows to score.
    values : ndarray, shape (n, n_features), dtype float64
        Their features.
    rejected : pyarrow.Table
        The other rows, with all that was read of them as text, and the reason.
    """

    kept: pa.Table
    values: np.ndarray
    rejected: pa.Table

    def __len__(self) -> int:
        return len(self.values) + len(self.rejected)


def read_rows(wanted: Columns, block: Block, rows: int) -> Iterator[Rows]:
    """Read a block, about so many rows at a time.

    Raises
    ------
    UserError
        Names the file that is damaged, or has a column of another type than the others.
    """
    waiting: list[Rows] = []
    for piece in block:
        for table, malformed in read_piece(piece, wanted.names, rows):
            waiting.append(check(wanted, shorten_url(piece.url), table, malformed))
            if sum(map(len, waiting)) >= rows:
                yield _join(waiting)
                waiting = []
    if waiting:
        yield _join(waiting)


def _join(parts: Sequence[Rows]) -> Rows:
    kept, values, rejected = zip(*parts, strict=True)
    return Rows(pa.concat_tables(kept), np.concatenate(values), pa.concat_tables(rejected))


def check(
    wanted: Columns, file: str, table: pa.Table, malformed: Sequence[tuple[str, str]]
) -> Rows:
    """Part a table into rows to score and rejected rows, the lines that are none among these."""
    values = np.empty((len(table), len(wanted.features)))
    problems = np.zeros((len(table), len(wanted.features) + 1), np.int8)
    for place, name in enumerate(wanted.features):
        values[:, place], problems[:, place] = read_numbers(_column(table, name))
    problems[:, -1] = pc.not_equal(_to_text(_column(table, ERROR)), "").fill_null(False)
    kept = keep(wanted, file, table)
    rejected = _reject_lines(wanted, file, malformed)
    bad = problems.any(axis=1)
    if bad.any():
        mask = pa.array(bad)
        reasons = describe_problems(wanted.features, problems[bad])
        found = _reject(wanted, file, kept.filter(mask), table.filter(mask), reasons)
        rejected = pa.concat_tables([found, rejected])
        kept, values = kept.filter(pa.array(~bad)), values[~bad]
    return Rows(kept, values, rejected)


def read_numbers(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Return a column as float64, and what is wrong with each number as a place in `PROBLEMS`.

    Text counts as the number that it spells.
    """
    numbers = _to_float(column)
    values = numbers.fill_null(np.nan).to_numpy()
    fits = np.abs(values) <= INT64_LIMIT
    if fits.all():
        return values, np.zeros(len(values), np.int8)
    wrong = column.is_null().to_numpy(), numbers.is_null().to_numpy(), np.isnan(values), ~fits
    return values, np.select(wrong, range(1, len(PROBLEMS))).astype(np.int8)


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
        return column.cast(pa.float64(), safe=False)
    except pa.ArrowException:
        return pa.chunked_array([pa.nulls(len(column), pa.float64())])


def keep(wanted: Columns, file: str, table: pa.Table) -> pa.Table:
    columns = []
    for name, kind in zip(wanted.kept.names, wanted.kept.types, strict=True):
        column = _column(table, name)
        try:
            kinds = {column.type, kind}
            if any(map(pa.types.is_integer, kinds)) and any(map(pa.types.is_temporal, kinds)):
                raise pa.ArrowInvalid(f"{column.type} here, and no unit says how they compare")
            columns.append(column.cast(kind))
        except pa.ArrowException as error:
            problem = f"{name} is {kind} elsewhere: {error}"
            raise UserError(f"{file}: {' '.join(problem.split())}") from error
    # A table of no columns would forget how many rows it has.
    return pa.table(columns, wanted.kept) if columns else table.select([])


def describe_problems(features: Sequence[str], problems: np.ndarray) -> list[str]:
    """Return what is wrong with each row, given a place in `PROBLEMS` for each feature.

    The last column says whether the row has an error of the target's.
    """
    found, places = np.unique(problems, axis=0, return_inverse=True)
    reasons = [
        "; ".join(
            [FAILED] * int(row[-1])
            + [
                f"{name}: {PROBLEMS[code]}"
                for name, code in zip(features, row[:-1], strict=True)
                if code
            ]
        )
        for row in found.tolist()
    ]
    return [reasons[place] for place in places.ravel()]


def _reject(
    wanted: Columns, file: str, kept: pa.Table, table: pa.Table, reasons: Sequence[str]
) -> pa.Table:
    texts = [_to_text(_column(table, name)) for name in _rejected_names(wanted)]
    files, lines = pa.repeat(file, len(table)), pa.nulls(len(table), pa.string())
    columns = [*kept.columns, *texts, files, lines, pa.array(reasons, pa.string())]
    return pa.table(columns, _rejected_schema(wanted))


def _reject_lines(wanted: Columns, file: str, malformed: Sequence[tuple[str, str]]) -> pa.Table:
    lines = [{"file": file, "line": line, "reason": reason} for line, reason in malformed]
    return pa.Table.from_pylist(lines, _rejected_schema(wanted))


def _rejected_names(wanted: Columns) -> list[str]:
    return [name for name in wanted.names if name not in wanted.kept.names]


def _rejected_schema(wanted: Columns) -> pa.Schema:
    names = [*_rejected_names(wanted), "file", "line", "reason"]
    return pa.schema([*wanted.kept, *((name, pa.string()) for name in names)])


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
