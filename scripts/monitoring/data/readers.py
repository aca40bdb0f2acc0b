"""Rows in Parquet, CSV or JSON lines, read a piece at a time.

What a text file holds is read as text, so that one odd cell spoils no other.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

import fsspec
import numpy as np
import pyarrow as pa
from fsspec.utils import read_block
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from monitoring.cli import UserError
from monitoring.data.extended_json import read_number

KINDS = {".parquet": "parquet", ".parq": "parquet", ".pq": "parquet", ".csv": "csv"}
KINDS |= dict.fromkeys((".json", ".jsonl", ".ndjson"), "json")
TIME = "_hs_timestamp"  # milliseconds
ERROR = "_hs_error"
READ_AT_ONCE = 2**20  # bytes of a Parquet column


Block = tuple["Piece", ...]


class Piece(NamedTuple):
    """A part of a file, from `first` to before `last`: rows of Parquet, bytes of text."""

    url: str
    first: int
    last: int


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
    """

    features: list[str]
    kinds: dict[str, str]
    kept: pa.Schema

    def kind(self, feature: str) -> np.dtype:
        return np.dtype(self.kinds.get(feature, "float64"))

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys([*self.kept.names, *self.features, ERROR]))


def kind_of(url: str) -> str | None:
    return KINDS.get(PurePosixPath(url).suffix.lower())


def shorten_url(url: str) -> str:
    return url.removeprefix("file://")


def partitions_of(url: str) -> dict[str, str]:
    """Return the columns that a file's folders name, as in ``_hs_year=2020/_hs_month=5``."""
    return dict(part.split("=", 1) for part in url.split("/")[:-1] if "=" in part)


@contextmanager
def opening(url: str) -> Iterator[BinaryIO]:
    """Open a file for reading; whatever is wrong with it ends as a UserError that names it."""
    try:
        with fsspec.open(url, "rb") as file:
            yield file
    except (OSError, ValueError, pa.ArrowException) as error:
        problem = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise UserError(f"{shorten_url(url)}: {' '.join(problem.split())}") from error


def read_piece(piece: Piece, names: Sequence[str], rows: int) -> Iterator[tuple[pa.Table, list]]:
    """Read the columns that are there, at most so many rows at a time where the format can.

    Yields
    ------
    table : pyarrow.Table
        As it is in Parquet; text from CSV and JSON lines, null where there is none.
    malformed : list of (str, str)
        Lines that are no rows, and what is wrong with each.

    Raises
    ------
    UserError
        Names the file, if it is damaged or cannot be read.
    """
    read = {"parquet": _read_parquet, "csv": _read_csv, "json": _read_json}[str(kind_of(piece.url))]
    with opening(piece.url) as file:
        for table, malformed in read(file, piece, names, rows):
            yield _add_partitions(table, piece.url, names), malformed


def _add_partitions(table: pa.Table, url: str, names: Sequence[str]) -> pa.Table:
    for name, value in partitions_of(url).items():
        if name in names and name not in table.column_names:
            table = table.append_column(name, pa.repeat(pa.scalar(value), len(table)))
    return table


def _read_parquet(
    file: BinaryIO, piece: Piece, names: Sequence[str], rows: int
) -> Iterator[tuple[pa.Table, list]]:
    content = parquet.ParquetFile(file, buffer_size=READ_AT_ONCE)
    present = [name for name in names if name in content.schema_arrow.names]
    ends = np.cumsum(count_rows(content))
    groups = np.searchsorted(ends, [piece.first, piece.last - 1], side="right")
    before = piece.first - (ends[groups[0] - 1] if groups[0] else 0)  # rows of its first group
    left = piece.last - piece.first
    wanted = range(groups[0], groups[1] + 1)
    for batch in content.iter_batches(rows, wanted, present, use_threads=False):
        part = batch.slice(before, left)
        before, left = max(before - len(batch), 0), left - len(part)
        if len(part):
            yield pa.Table.from_batches([part]), []
        if not left:
            break


def count_rows(content: parquet.ParquetFile) -> list[int]:
    """Return the number of rows of each row group."""
    return [content.metadata.row_group(group).num_rows for group in range(content.num_row_groups)]


def read_csv_header(file: BinaryIO) -> list[str]:
    return next(csv.reader([file.readline().decode("utf-8-sig")]), [])


def _read_csv(
    file: BinaryIO, piece: Piece, names: Sequence[str], rows: int
) -> Iterator[tuple[pa.Table, list]]:
    header = read_csv_header(file)
    content = _read_lines(file, piece)
    # Pieces are cut at line breaks: the first cut within a cell leaves a quote open before it.
    if content.count(b'"') % 2:
        raise ValueError("a line break within quotes lies where blocks part: more --rows-per-block")
    malformed = []

    def keep(row: arrow_csv.InvalidRow) -> str:
        problem = f"expected {row.expected_columns} cells, got {row.actual_columns}"
        malformed.append((row.text, problem))
        return "skip"

    present = [name for name in names if name in header]
    if not content.strip():
        return
    table = arrow_csv.read_csv(
        pa.BufferReader(content),
        arrow_csv.ReadOptions(
            use_threads=False, column_names=header, skip_rows=0 if piece.first else 1
        ),
        arrow_csv.ParseOptions(invalid_row_handler=keep),
        arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(present, pa.string()),
            include_columns=present,
            null_values=[""],
            strings_can_be_null=True,
        ),
    )
    yield table, malformed


def _read_json(
    file: BinaryIO, piece: Piece, names: Sequence[str], rows: int
) -> Iterator[tuple[pa.Table, list]]:
    records, malformed = [], []
    for line in _read_lines(file, piece).split(b"\n"):
        if line.strip():
            try:
                records += parse_json_line(line)
            except ValueError as error:
                malformed.append((line.decode("utf-8", "replace"), f"no JSON object: {error}"))
    cells = {name: [_to_text(record.get(name)) for record in records] for name in names}
    yield pa.table(cells, pa.schema([(name, pa.string()) for name in names])), malformed


def _read_lines(file: BinaryIO, piece: Piece) -> bytes:
    """Return the lines that begin in a range of bytes; the first one's end lies before it."""
    return read_block(file, piece.first, piece.last - piece.first, b"\n")


def parse_json_line(line: bytes) -> list[dict]:
    """Return the records of a line: an object, or a list of them as the platform answers.

    Raises
    ------
    ValueError
        If it is neither.
    """
    try:
        content = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    records = content if isinstance(content, list) else [content]
    if not all(isinstance(record, dict) for record in records):
        raise ValueError("neither an object nor a list of objects")
    return records


def _to_text(value: object) -> str | None:
    value = read_number(value)
    if value is None or type(value) is str:
        return value
    return str(int(value)) if isinstance(value, int) else json.dumps(value)
