"""Look at files of rows, and divide them into blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import BinaryIO, NamedTuple

import pyarrow as pa
from pyarrow import parquet
from tqdm import tqdm

from knn_metric.cli import UserError, show
from knn_metric.data.columns import find_type
from knn_metric.data.discovery import find_files
from knn_metric.data.lines import (
    Cut,
    cut_csv,
    cut_json,
    read_csv,
    read_csv_header,
    sample_csv,
    to_text,
    try_json_line,
)
from knn_metric.data.readers import (
    ERROR,
    TIME,
    Block,
    Piece,
    Wanted,
    count_rows,
    kind_of,
    opening,
    partitions_of,
    shorten_url,
)
from knn_metric.data.times import is_time, looks_like_time

KEPT = ("_hs_request_id", "_hs_timestamp")  # wherever they are
# Beside what is kept.
WRITTEN = ("file", "row", "value", "alarm", "p_value", "top_feature", "line", "reason")
SAMPLE = 1000  # rows of a text file, to learn which columns JSON has and which hold times
SLICES = 16  # of a row group at most
AT_A_TIME = 16  # files to look at, which over a network is waiting


class Header(NamedTuple):
    """A file's columns with their types, its parts with their rows, and which columns hold times.

    The columns of JSON lines are open: more may follow, and failed requests lack their fields.
    """

    url: str
    columns: dict[str, pa.DataType]
    parts: list[tuple[int, Piece]]
    times: list[str]
    is_open: bool = False


def plan(
    inputs: Sequence[str],
    kinds: Mapping[str, str],
    keep: Sequence[str],
    rows: int,
    time: str | None = None,
) -> tuple[Wanted, list[Block]]:
    """Look at every file, and divide them into blocks.

    Parameters
    ----------
    inputs : sequence of str
        Files, folders and globs, of this machine or as URLs.
    kinds : mapping of str to str
        The columns of numbers, which every file must have, with numpy's name of each one's type.
    keep : sequence of str
        Columns to keep beside those of `KEPT` that are there; every file must have them.
    rows : int
        In a block.
    time : str or None
        The column that days come from; None for the platform's, else for the one that holds times.

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
    taken = ", ".join(name for name in keep if name in WRITTEN)
    if taken:
        raise UserError(f"{taken} cannot be kept: a column of that name is written")
    headers = []
    for header in look_at_all(find_files(inputs), rows):
        require_columns(header, kinds, [*keep, *([time] if time else [])])
        headers.append(header)
    usual = [name for name in KEPT if any(_may_have(header, name) for header in headers)]
    names = dict.fromkeys([*usual, *keep])
    kept = pa.schema([(name, find_type(name, list_kinds(name, headers))) for name in names])
    parts = [part for header in headers for part in header.parts]
    wanted = Wanted(list(kinds), dict(kinds), kept, time or find_time(headers))
    return wanted, list(divide(parts, rows))


def _may_have(header: Header, name: str) -> bool:
    return header.is_open or name in header.columns


def look_at_all(urls: Sequence[str], rows: int) -> Iterator[Header]:
    """Yield the header of each file, in order."""
    pool = ThreadPoolExecutor(AT_A_TIME)
    try:
        found = pool.map(lambda url: look_at(url, rows), urls)
        yield from tqdm(found, "looking", len(urls), unit="file", disable=None, leave=False)
    finally:
        pool.shutdown(cancel_futures=True)


def look_at(url: str, rows: int) -> Header:
    """Read a file's header, and divide the file."""
    look = {"parquet": _look_at_parquet, "csv": _look_at_csv, "json": _look_at_json}
    with opening(url) as file:
        header = look[str(kind_of(url))](file, url, rows)
    partitions = dict.fromkeys(partitions_of(url), pa.string())
    return header._replace(columns={**partitions, **header.columns})


def _look_at_parquet(file: BinaryIO, url: str, rows: int) -> Header:
    content = parquet.ParquetFile(file)
    pieces: list[Piece] = []
    end = 0
    for count in count_rows(content):
        start, end = end, end + count
        # A slice is read from its group's beginning on.
        length = max(rows, -(-count // SLICES))
        firsts = range(start, end, length)
        pieces += [Piece(url, first, min(first + length, end), first) for first in firsts]
    schema = content.schema_arrow
    _require_distinct(schema.names, url)
    columns = dict(zip(schema.names, schema.types, strict=True))
    times = [name for name, kind in columns.items() if is_time(kind)]
    return Header(url, columns, [(piece.last - piece.first, piece) for piece in pieces], times)


def _look_at_csv(file: BinaryIO, url: str, rows: int) -> Header:
    names = read_csv_header(file)
    _require_distinct(names, url)
    start = file.tell()
    cuts, n_rows = cut_csv(file, rows)
    times: list[str] = []
    if cuts:
        content = sample_csv(_at(file, start), SAMPLE)
        sample = read_csv(content, 0, names, names).table.to_pydict()
        times = [name for name, cells in sample.items() if _hold_times(cells)]
    return Header(url, dict.fromkeys(names, pa.string()), _parts(url, cuts, n_rows), times)


def _look_at_json(file: BinaryIO, url: str, rows: int) -> Header:
    cuts, n_rows = cut_json(file, rows)
    records = [record for line in islice(_at(file, 0), SAMPLE) for record in try_json_line(line)]
    names = dict.fromkeys(name for record in records for name in record)
    times = [name for name in names if _hold_times([to_text(one.get(name)) for one in records])]
    # Where all lines were looked at and none is a failed request, no more columns follow.
    is_open = len(records) < n_rows or any(record.get(ERROR) for record in records)
    return Header(url, dict.fromkeys(names, pa.string()), _parts(url, cuts, n_rows), times, is_open)


def _hold_times(cells: Iterable[str | None]) -> bool:
    """Tell whether the cells of a column that are not empty are times."""
    there = [cell for cell in cells if cell]
    return bool(there) and all(map(looks_like_time, there))


def _at(file: BinaryIO, position: int) -> BinaryIO:
    file.seek(position)
    return file


def _parts(url: str, cuts: Sequence[Cut], n_rows: int) -> list[tuple[int, Piece]]:
    ends = [*(cut.row for cut in cuts[1:]), n_rows][: len(cuts)]
    pieces = [Piece(url, *cut) for cut in cuts]
    return [(end - piece.row, piece) for piece, end in zip(pieces, ends, strict=True)]


def _require_distinct(names: Sequence[str], url: str) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise UserError(f"{shorten_url(url)}: two columns are named {name}")


def require_columns(header: Header, features: Iterable[str], others: Iterable[str]) -> None:
    """Raise UserError if a file that has rows lacks columns."""
    if header.is_open or not header.parts:
        return
    features = list(features)
    missing = [name for name in (*features, *others) if name not in header.columns]
    if not missing:
        return
    what = ", ".join(missing)
    if len(missing) >= len(features) > 1:
        there = ", ".join(show(name) for name in list(header.columns)[:5])
        what = f"{what}: the file's columns are {there}{', ...' if len(header.columns) > 5 else ''}"
    raise UserError(f"{shorten_url(header.url)}: no column {what}")


def list_kinds(name: str, headers: Sequence[Header]) -> Iterator[tuple[str, pa.DataType]]:
    """Yield each file with a column's type in it; null where it has none."""
    for header in headers:
        missing = pa.string() if header.is_open else pa.null()
        yield shorten_url(header.url), header.columns.get(name, missing)


def find_time(headers: Sequence[Header]) -> str | None:
    """Return the column that days come from: the platform's, or the only one that holds times."""
    if any(TIME in header.columns for header in headers):
        return TIME
    names = {name for header in headers for name in header.times}
    return names.pop() if len(names) == 1 else None


def divide(parts: Iterable[tuple[int, Piece]], rows: int) -> Iterator[Block]:
    """Put parts together until they have so many rows; what lies side by side becomes one piece."""
    block: list[Piece] = []
    count = 0
    for size, piece in parts:
        if block and count + size > rows:
            yield tuple(block)
            block, count = [], 0
        if block and (block[-1].url, block[-1].last) == (piece.url, piece.first):
            before = block.pop()
            piece = Piece(piece.url, before.first, piece.last, before.row)
        block.append(piece)
        count += size
    if block:
        yield tuple(block)
