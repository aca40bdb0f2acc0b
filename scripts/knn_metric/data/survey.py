"""The first look at files of rows: which columns they have, and blocks to score them in."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from knn_metric.cli import UserError, show
from knn_metric.data.readers import (
    ERROR,
    Block,
    Lines,
    Piece,
    count_rows,
    open_parquet,
    read_piece,
)
from knn_metric.data.sources import find_files, kind_of, opening, partitions_of, shorten_url
from knn_metric.data.times import is_time, looks_like_time
from knn_metric.data.validation import Wanted

TIME = "_hs_timestamp"
KEPT = ("_hs_request_id", TIME)  # wherever they are
SCORES = ["value", "alarm", "p_value", "top_feature"]  # the last columns that `score` writes
REJECTED = ["line", "reason"]  # and the last ones of rejected rows
WRITTEN = ("file", "row", *SCORES, *REJECTED)  # beside what is kept
SAMPLE = 1000  # rows of a text file, to learn which columns JSON has and which hold times
SLICES = 16  # of a row group at most
AT_A_TIME = 16  # files to look at, which over a network is waiting


class Header(NamedTuple):
    """A file's columns with their types, its parts with their rows, and which columns hold times.

    A part has None in place of rows where they are not counted, in a long text file. The columns
    of JSON lines are open: more may follow, and failed requests lack their fields.
    """

    url: str
    columns: dict[str, pa.DataType]
    parts: list[tuple[int | None, Piece]]
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
        very long, or of a text file, which `stream` divides.

    Raises
    ------
    UserError
        Names the file that is not there, is damaged, or lacks columns.
    """
    taken = ", ".join(name for name in keep if name in WRITTEN)
    if taken:
        raise UserError(f"{taken} cannot be kept: a column of that name is written")
    headers = _leave_out_scores(list(_look_at_all(find_files(inputs), rows)))
    for header in headers:
        _require_columns(header, kinds, [*keep, *([time] if time else [])])
    usual = [name for name in KEPT if any(one.is_open or name in one.columns for one in headers)]
    kept = pa.schema((name, _find_type(name, headers)) for name in dict.fromkeys([*usual, *keep]))
    parts = [part for header in headers for part in header.parts]
    wanted = Wanted(list(kinds), dict(kinds), kept, time or _find_time(headers))
    return wanted, list(_divide(parts, rows))


def _look_at_all(urls: Sequence[str], rows: int) -> Iterator[Header]:
    """Yield the header of each file, in order."""
    pool = ThreadPoolExecutor(AT_A_TIME)
    try:
        found = pool.map(lambda url: _look_at(url, rows), urls)
        yield from tqdm(found, "looking", len(urls), unit="file", disable=None, leave=False)
    finally:
        pool.shutdown(cancel_futures=True)


def _look_at(url: str, rows: int) -> Header:
    header = (_look_at_parquet if kind_of(url) == "parquet" else _look_at_text)(url, rows)
    partitions = dict.fromkeys(partitions_of(url), pa.string())
    return header._replace(columns={**partitions, **header.columns})


def _look_at_parquet(url: str, rows: int) -> Header:
    with opening(url) as file:
        content = open_parquet(file)
        schema, counts = content.schema_arrow, count_rows(content)
    if len(set(schema.names)) < len(schema.names):
        twice = next(name for name in schema.names if schema.names.count(name) > 1)
        raise UserError(f"{shorten_url(url)}: two columns are named {twice}")
    parts: list[tuple[int | None, Piece]] = []
    end = 0
    for count in counts:
        start, end = end, end + count
        # A slice is read from its group's beginning on.
        length = max(rows, -(-count // SLICES))
        bounds = [*range(start, end, length), end]
        parts += [(last - first, Piece(url, first, last)) for first, last in pairwise(bounds)]
    times = [field.name for field in schema if is_time(field.type)]
    return Header(url, dict(zip(schema.names, schema.types, strict=True)), parts, times)


def _look_at_text(url: str, rows: int) -> Header:
    """Read the first rows; a file that ends with them has so many."""
    sample: list[Lines] = []
    count, is_whole = 0, True
    for lines in read_piece(Piece(url), None, SAMPLE):
        sample.append(lines)
        count += lines.size
        if count > SAMPLE:
            is_whole = False
            break
    cells: dict[str, list[str]] = {}
    for lines in sample:
        for name in lines.table.column_names:
            found = lines.table.column(name).drop_null().to_pylist()
            cells.setdefault(name, []).extend(filter(None, found))
    times = [name for name, there in cells.items() if there and all(map(looks_like_time, there))]
    # Where all lines were looked at and none is a failed request, no more columns follow.
    is_open = kind_of(url) == "json" and (not is_whole or bool(cells.get(ERROR)))
    parts = [(count if is_whole and count <= rows else None, Piece(url))] if count else []
    return Header(url, dict.fromkeys(cells, pa.string()), parts, times, is_open)


def _leave_out_scores(headers: list[Header]) -> list[Header]:
    """Leave out what `score` wrote, where other files are read."""
    others = [
        one
        for one in headers
        if list(one.columns)[-len(SCORES) :] != SCORES and list(one.columns)[-2:] != REJECTED
    ]
    if not others or len(others) == len(headers):
        return headers
    print(f"{len(headers) - len(others):,} files of scores are not read", file=sys.stderr)
    return others


def _require_columns(header: Header, features: Iterable[str], others: Iterable[str]) -> None:
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


def _find_time(headers: Sequence[Header]) -> str | None:
    """Return the column that days come from: the platform's, or the only one that holds times."""
    if any(TIME in header.columns for header in headers):
        return TIME
    names = {name for header in headers for name in header.times}
    return names.pop() if len(names) == 1 else None


def _find_type(name: str, headers: Iterable[Header]) -> pa.DataType:
    """Return the type that holds a column of all files without loss, or name two that have none."""
    kind, first = pa.null(), ""
    for header in headers:
        here = header.columns.get(name, pa.string() if header.is_open else pa.null())
        if pa.types.is_dictionary(here):
            here = here.value_type
        if pa.types.is_large_string(here) or pa.types.is_string_view(here):
            here = pa.string()
        wider, file = _widen(kind, here), shorten_url(header.url)
        if wider is None:
            raise UserError(f"{name} cannot be kept: it is {kind} in {first} and {here} in {file}")
        first = first if pa.types.is_null(here) else first or file
        kind = wider
    return kind


def _widen(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return a type that holds every value of both, None if there is none."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    both = (one, other)
    if all(map(pa.types.is_integer, both)) or all(map(pa.types.is_floating, both)):
        wider = pa.from_numpy_dtype(np.promote_types(*(kind.to_pandas_dtype() for kind in both)))
        return wider if pa.types.is_integer(one) == pa.types.is_integer(wider) else None
    is_spelled = all(pa.types.is_string(kind) or pa.types.is_integer(kind) for kind in both)
    return pa.string() if is_spelled else None


def _divide(parts: Iterable[tuple[int | None, Piece]], rows: int) -> Iterator[Block]:
    """Put parts together until they have so many rows; what lies side by side becomes one piece.

    A text file whose rows are not counted is a block of its own.
    """
    block: list[Piece] = []
    count = 0
    for size, piece in parts:
        if block and (size is None or count + size > rows):
            yield tuple(block)
            block, count = [], 0
        if size is None:
            yield (piece,)
            continue
        if block and piece.first and (block[-1].url, block[-1].last) == (piece.url, piece.first):
            piece = piece._replace(first=block.pop().first)
        block.append(piece)
        count += size
    if block:
        yield tuple(block)


def stream(blocks: Iterable[Block], wanted: Wanted, rows: int) -> Iterator[Block]:
    """Yield blocks of Parquet as they are, of text the rows themselves, so many in a block."""
    for block in blocks:
        waiting: list[Lines] = []
        pieces = [piece for piece in block if isinstance(piece, Piece)]
        if len(block) > 1 or any(kind_of(piece.url) == "parquet" for piece in pieces):
            yield block
            continue
        for lines in read_piece(pieces[0], wanted.names, rows):
            waiting.append(lines)
            if sum(one.size for one in waiting) >= rows:
                yield tuple(waiting)
                waiting = []
        if any(one.size for one in waiting):
            yield tuple(waiting)
