"""Rows in Parquet, CSV or JSON lines, read a piece at a time.

What a text file holds is read as text, so that one odd cell spoils no other.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

import fsspec
import numpy as np
import pyarrow as pa
from fsspec.compression import compr
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import infer_compression
from pyarrow import parquet

from knn_metric.cli import UserError
from knn_metric.data.lines import Lines, Malformed, read_csv, read_csv_header, read_json

KINDS = {".parquet": "parquet", ".parq": "parquet", ".pq": "parquet", ".csv": "csv"}
KINDS |= dict.fromkeys((".json", ".jsonl", ".ndjson"), "json")
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
LOCAL = "file://"
TIME = "_hs_timestamp"
ERROR = "_hs_error"
DAMAGED = (zlib.error, lzma.LZMAError)  # what decompression raises beside OSError and EOFError
READ_AT_ONCE = 2**20  # bytes of a Parquet column


Block = tuple["Piece", ...]


class Piece(NamedTuple):
    """A part of a file, from `first` to before `last`: rows of Parquet, bytes of text.

    `row` is the number of its first row in the file, from 0.
    """

    url: str
    first: int
    last: int
    row: int


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


def kind_of(url: str) -> str | None:
    """Return the format that a file's name tells, compressed or not; None for any other."""
    name = PurePosixPath(url).name.lower()
    stem, dot, ending = name.rpartition(".")
    if f".{ending}" in COMPRESSED and infer_compression(name) in compr:
        _, dot, ending = stem.rpartition(".")
    return KINDS.get(f"{dot}{ending}")


def shorten_url(url: str) -> str:
    return url.removeprefix(LOCAL)


def partitions_of(url: str) -> dict[str, str]:
    """Return the columns that a file's folders name, as in ``_hs_year=2020/_hs_month=5``."""
    return dict(part.split("=", 1) for part in url.split("/")[:-1] if "=" in part)


@contextmanager
def opening(url: str) -> Iterator[BinaryIO]:
    """Open a file for reading; whatever is wrong with it ends as a UserError that names it."""
    compression = infer_compression(url) if url.lower().endswith(COMPRESSED) else None
    # Of a name on this machine `::` is a part, not one of fsspec's chains.
    local = {"fs": LocalFileSystem(), "path": shorten_url(url)}
    try:
        opened = (
            fsspec.core.OpenFile(**local, compression=compression)
            if url.startswith(LOCAL)
            else fsspec.open(url, "rb", compression=compression)
        )
        with opened as file:
            yield file
    except (*DAMAGED, OSError, EOFError, ValueError, pa.ArrowException) as error:
        problem = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise UserError(f"{shorten_url(url)}: {' '.join(problem.split())}") from error


def read_piece(piece: Piece, names: Sequence[str], rows: int) -> Iterator[Lines]:
    """Read the columns that are there, at most so many rows at a time where the format can.

    Yields
    ------
    Lines
        The table is as it is in Parquet; text from CSV and JSON lines, null where there is none.

    Raises
    ------
    UserError
        Names the file, if it is damaged or cannot be read.
    """
    read = {"parquet": _read_parquet, "csv": _read_csv, "json": _read_json}[str(kind_of(piece.url))]
    with opening(piece.url) as file:
        for table, numbers, malformed in read(file, piece, names, rows):
            yield Lines(_add_partitions(table, piece.url, names), numbers, malformed)


def _add_partitions(table: pa.Table, url: str, names: Sequence[str]) -> pa.Table:
    for name, value in partitions_of(url).items():
        if name in names and name not in table.column_names:
            table = table.append_column(name, pa.repeat(pa.scalar(value), len(table)))
    return table


def _read_parquet(file: BinaryIO, piece: Piece, names: Sequence[str], rows: int) -> Iterator[Lines]:
    content = parquet.ParquetFile(file, buffer_size=READ_AT_ONCE)
    present = [name for name in names if name in content.schema_arrow.names]
    ends = np.cumsum(count_rows(content))
    groups = np.searchsorted(ends, [piece.first, piece.last - 1], side="right")
    before = piece.first - (ends[groups[0] - 1] if groups[0] else 0)  # rows of its first group
    row = piece.first
    wanted = range(groups[0], groups[1] + 1)
    for batch in content.iter_batches(rows, wanted, present, use_threads=False):
        part = batch.slice(before, piece.last - row)
        before = max(before - len(batch), 0)
        if len(part):
            numbers = list(range(row, row + len(part)))
            yield Lines(pa.Table.from_batches([part]), numbers, NO_LINES)
            row += len(part)
        if row == piece.last:
            break


NO_LINES: list[Malformed] = []


def count_rows(content: parquet.ParquetFile) -> list[int]:
    """Return the number of rows of each row group."""
    return [content.metadata.row_group(group).num_rows for group in range(content.num_row_groups)]


def _read_csv(file: BinaryIO, piece: Piece, names: Sequence[str], rows: int) -> Iterator[Lines]:
    header = read_csv_header(file)
    yield read_csv(_read_bytes(file, piece), piece.row, header, names)


def _read_json(file: BinaryIO, piece: Piece, names: Sequence[str], rows: int) -> Iterator[Lines]:
    yield read_json(_read_bytes(file, piece), piece.row, names)


def _read_bytes(file: BinaryIO, piece: Piece) -> bytes:
    file.seek(piece.first)
    return file.read(piece.last - piece.first)
