"""Find files of rows, look at each, and divide them into blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, NamedTuple

import fsspec
import pyarrow as pa
from fsspec.utils import read_block
from pyarrow import parquet
from tqdm import tqdm

from monitoring.cli import UserError
from monitoring.data.readers import (
    ERROR,
    TIME,
    Block,
    Piece,
    Wanted,
    count_rows,
    kind_of,
    opening,
    parse_json_line,
    partitions_of,
    read_csv_header,
    shorten_url,
)

KEPT = ("_hs_request_id", "_hs_timestamp")  # if they are there and nothing else is asked for
WRITTEN = (
    "value",
    "alarm",
    "p_value",
    "top_feature",
    "file",
    "line",
    "reason",
)  # beside what is kept
SAMPLE = 65_536  # bytes of a text file, to learn its columns and the length of a row
SLICES = 16  # of a row group at most
AT_A_TIME = 16  # files to look at, which over a network is waiting


class Header(NamedTuple):
    """A file's columns with their types, and its parts, each with its number of rows.

    Those of a file that begins with failed requests are open: the platform leaves out their fields.
    """

    url: str
    columns: dict[str, pa.DataType]
    parts: list[tuple[int, Piece]]
    is_open: bool


def plan(
    inputs: Sequence[str],
    kinds: Mapping[str, str],
    keep: Sequence[str] | None,
    rows: int,
) -> tuple[Wanted, list[Block]]:
    """Look at every file, and divide them into blocks.

    Parameters
    ----------
    inputs : sequence of str
        Files, folders and globs, of this machine or as URLs.
    kinds : mapping of str to str
        The columns of numbers, which every file must have, with numpy's name of each one's type.
    keep : sequence of str or None
        Columns to keep, which every file must have; None for those of `KEPT` that are there.
    rows : int
        In a block.

    Returns
    -------
    wanted : Wanted
    blocks : list of Block
        All files in order, each block of about so many rows; of more only where row groups are
        very long.

    Raises
    ------
    UserError
        Names the file that is not there, is damaged, or lacks columns.
    """
    taken = ", ".join(name for name in keep or () if name in WRITTEN)
    if taken:
        raise UserError(f"{taken} cannot be kept: a column of that name is written")
    urls = find_files(inputs)
    types: dict[str, pa.DataType] = {}
    parts: list[tuple[int, Piece]] = []
    pool = ThreadPoolExecutor(AT_A_TIME)
    try:
        found = pool.map(lambda url: look_at(url, rows), urls)
        for header in tqdm(found, "looking", len(urls), unit="file", disable=None, leave=False):
            require_columns(header, [*kinds, *(keep or ())])
            add_types(types, header)
            parts += header.parts
    finally:
        pool.shutdown(cancel_futures=True)
    names = KEPT if keep is None else dict.fromkeys(keep)
    kept = pa.schema([(name, types[name]) for name in names if name in types])
    return Wanted(list(kinds), dict(kinds), kept), list(divide(parts, rows))


def find_files(inputs: Iterable[str]) -> list[str]:
    """Return the URLs of the files that are meant, those of a folder or glob in order of name."""
    urls: list[str] = []
    for name in inputs:
        try:
            filesystem, path = fsspec.url_to_fs(name)
            found = _find(filesystem, path)
        except Exception as error:  # a driver's own may be anything, a missing one an ImportError
            raise UserError(f"{name}: {error}") from error
        if not found:
            raise UserError(f"{name}: no Parquet, CSV or JSON lines file")
        urls += map(filesystem.unstrip_protocol, found)
    return list(dict.fromkeys(urls))


def _find(filesystem: fsspec.AbstractFileSystem, path: str) -> list[str]:
    if filesystem.isfile(path):
        if not kind_of(path):
            raise ValueError("expected a name that ends in .parquet, .csv, .json or .jsonl")
        return [path]
    if filesystem.isdir(path):
        below = len(path.rstrip("/")) + 1
        return [name for name in sorted(filesystem.find(path)) if _is_data(name[below:])]
    if not fsspec.core.has_magic(path):
        raise FileNotFoundError("No such file or directory")
    return [name for one in sorted(filesystem.glob(path)) for name in _find(filesystem, one)]


def _is_data(path: str) -> bool:
    """Say whether a file in a folder holds rows; `_hs_year=2020` does, `_SUCCESS` does not."""
    hidden = (part[0] in "._" and "=" not in part for part in path.split("/"))
    return kind_of(path) is not None and not any(hidden)


def look_at(url: str, rows: int) -> Header:
    """Read a file's header, and divide the file."""
    look = _look_at_parquet if kind_of(url) == "parquet" else _look_at_text
    with opening(url) as file:
        schema, parts, is_open = look(file, url, rows)
    for name in schema.names:
        if schema.names.count(name) > 1:
            raise UserError(f"{shorten_url(url)}: two columns are named {name}")
    partitions = dict.fromkeys(partitions_of(url), pa.string())
    columns = {**partitions, **dict(zip(schema.names, schema.types, strict=True))}
    return Header(url, columns, parts, is_open)


def _look_at_parquet(
    file: BinaryIO, url: str, rows: int
) -> tuple[pa.Schema, list[tuple[int, Piece]], bool]:
    content = parquet.ParquetFile(file)
    pieces, end = [], 0
    for count in count_rows(content):
        start, end = end, end + count
        # A slice is read from its group's beginning on.
        pieces += _cut(url, start, end, max(rows, -(-count // SLICES)))
    return content.schema_arrow, [(piece.last - piece.first, piece) for piece in pieces], False


def _cut(url: str, start: int, end: int, length: int) -> list[Piece]:
    firsts = range(start, end, length)
    return [Piece(url, first, min(first + length, end)) for first in firsts]


def _look_at_text(
    file: BinaryIO, url: str, rows: int
) -> tuple[pa.Schema, list[tuple[int, Piece]], bool]:
    file.seek(0, 2)
    size = file.tell()
    sample = read_block(file, 0, min(SAMPLE, size), b"\n")
    file.seek(0)
    is_open = False
    if kind_of(url) == "csv":
        names, n_rows = read_csv_header(file), sample.count(b"\n")
    else:
        records = [record for line in sample.split(b"\n") for record in _try_json_line(line)]
        names = list(dict.fromkeys(name for record in records for name in record))
        n_rows = len(records)
        is_open = bool(records) and all(record.get(ERROR) for record in records)
    row_length = max(len(sample), 1) / max(n_rows, 1)
    pieces = _cut(url, 0, size, max(int(rows * row_length), 1))
    schema = pa.schema([(name, pa.int64() if name == TIME else pa.string()) for name in names])
    parts = [(int((piece.last - piece.first) / row_length), piece) for piece in pieces]
    return schema, parts, is_open


def _try_json_line(line: bytes) -> list[dict]:
    try:
        return parse_json_line(line)
    except ValueError:
        return []


def require_columns(header: Header, names: Iterable[str]) -> None:
    missing = [name for name in names if name not in header.columns]
    if missing and header.parts and not header.is_open:
        raise UserError(f"{shorten_url(header.url)}: no column {', '.join(missing)}")


def add_types(types: dict[str, pa.DataType], header: Header) -> None:
    """Note the types of a file's columns that are new, or had none so far."""
    for name, kind in header.columns.items():
        if pa.types.is_null(types.get(name, pa.null())):
            types[name] = kind.value_type if pa.types.is_dictionary(kind) else kind


def divide(parts: Iterable[tuple[int, Piece]], rows: int) -> Iterator[Block]:
    """Put parts together until they have so many rows; what lies side by side becomes one piece."""
    block: list[Piece] = []
    count = 0
    for size, piece in parts:
        if block and count + size > rows:
            yield tuple(block)
            block, count = [], 0
        if block and (block[-1].url, block[-1].last) == (piece.url, piece.first):
            piece = Piece(piece.url, block.pop().first, piece.last)
        block.append(piece)
        count += size
    if block:
        yield tuple(block)
