"""The first look at files of rows: which columns they have, and blocks to score them in."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, repeat
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from knn_metric.cli import UserError, show
from knn_metric.data.readers import (
    ERROR,
    Block,
    Piece,
    gather,
    group_bounds,
    open_parquet,
    plain_type,
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
    """A file's columns with their types, its pieces, and which columns hold times."""

    url: str
    columns: dict[str, pa.DataType]
    pieces: list[Piece]
    times: list[str]
    is_open: bool = False  # of JSON lines: more columns may follow, as failed requests lack fields


def plan(
    inputs: Sequence[str],
    kinds: Mapping[str, str],
    keep: Sequence[str],
    rows: int,
    time: str | None = None,
) -> tuple[Wanted, list[Block]]:
    """Look at every file, and divide them into blocks of about so many rows.

    `kinds` are the columns of numbers, which every file must have, with numpy's name of each one's
    type; `keep` are columns to keep beside those of `KEPT` that are there; `time` is the one that
    days come from, None for the platform's, else for the one that holds times. A block has more
    rows only where row groups are very long, or in a text file, which `stream` divides.

    A UserError names the file that is not there, is damaged, or lacks columns.
    """
    taken = ", ".join(name for name in keep if name in WRITTEN)
    if taken:
        raise UserError(f"{taken} cannot be kept: a column of that name is written")
    headers = _leave_out_scores(_look_at_all(find_files(inputs), rows))
    for header in headers:
        if header.pieces and not header.is_open:
            _require_columns(header, list(kinds), [*keep, *([time] if time else [])])
    usual = [name for name in KEPT if any(one.is_open or name in one.columns for one in headers)]
    kept = pa.schema((name, _find_type(name, headers)) for name in dict.fromkeys([*usual, *keep]))
    pieces = [piece for header in headers for piece in header.pieces]
    wanted = Wanted(dict(kinds), kept, time or _find_time(headers))
    return wanted, list(_divide(pieces, rows))


def _look_at_all(urls: Sequence[str], rows: int) -> list[Header]:
    pool = ThreadPoolExecutor(AT_A_TIME)
    try:
        found = pool.map(_look_at, urls, repeat(rows))
        return [*tqdm(found, "looking", len(urls), unit="file", disable=None, leave=False)]
    finally:
        pool.shutdown(cancel_futures=True)


def _look_at(url: str, rows: int) -> Header:
    header = (_look_at_parquet if kind_of(url) == "parquet" else _look_at_text)(url, rows)
    return header._replace(columns=dict.fromkeys(partitions_of(url), pa.string()) | header.columns)


def _look_at_parquet(url: str, rows: int) -> Header:
    with opening(url) as file:
        content = open_parquet(file)
        schema, groups = content.schema_arrow, group_bounds(content)
    if len(set(schema.names)) < len(schema.names):
        twice = next(name for name in schema.names if schema.names.count(name) > 1)
        raise UserError(f"{shorten_url(url)}: two columns are named {twice}")
    pieces: list[Piece] = []
    for start, end in pairwise(groups):
        # A slice is read from its group's beginning on.
        bounds = [*range(start, end, max(rows, -((start - end) // SLICES))), end]
        pieces += [Piece(url, first, last) for first, last in pairwise(bounds)]
    times = [field.name for field in schema if is_time(field.type)]
    return Header(url, dict(zip(schema.names, schema.types, strict=True)), pieces, times)


def _look_at_text(url: str, rows: int) -> Header:
    """Read the first rows; a file that ends with them has so many."""
    cells: dict[str, list[str]] = {}
    count = 0
    for lines in read_piece(Piece(url), None, SAMPLE):
        for name, column in zip(lines.table.column_names, lines.table.columns, strict=True):
            cells.setdefault(name, []).extend(filter(None, column.to_pylist()))
        count += len(lines)
        if count > SAMPLE:
            break
    times = [name for name, there in cells.items() if there and all(map(looks_like_time, there))]
    # Where all lines were looked at and none is a failed request, no more columns follow.
    is_open = kind_of(url) == "json" and (count > SAMPLE or bool(cells.get(ERROR)))
    pieces = [Piece(url, 0, count if count <= min(rows, SAMPLE) else 0)] if count else []
    return Header(url, dict.fromkeys(cells, pa.string()), pieces, times, is_open)


def _leave_out_scores(headers: list[Header]) -> list[Header]:
    """Leave out what `score` wrote, where other files are read."""
    others = [
        one for one in headers if [*one.columns][-4:] != SCORES and [*one.columns][-2:] != REJECTED
    ]
    if not others or len(others) == len(headers):
        return headers
    print(f"{len(headers) - len(others):,} files of scores are not read", file=sys.stderr)
    return others


def _require_columns(header: Header, features: Sequence[str], others: Sequence[str]) -> None:
    missing = [name for name in (*features, *others) if name not in header.columns]
    what = ", ".join(missing)
    if len(missing) >= len(features) > 1:
        there = ", ".join(show(name) for name in list(header.columns)[:5])
        what += f": the file's columns are {there}{', ...' if len(header.columns) > 5 else ''}"
    if missing:
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
        missing = pa.string() if header.is_open else pa.null()
        here = plain_type(header.columns.get(name, missing))
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


def _divide(pieces: Iterable[Piece], rows: int) -> Iterator[Block]:
    """Put pieces together until they have so many rows; what lies side by side becomes one.

    A text file whose rows are not counted is a block of its own.
    """
    block: list[Piece] = []
    count = 0
    for piece in pieces:
        size = piece.size or rows
        if block and count + size > rows:
            yield tuple(block)
            block, count = [], 0
        if block and piece.first and (block[-1].url, block[-1].last) == (piece.url, piece.first):
            piece = piece._replace(first=block.pop().first)
        block.append(piece)
        count += size
    if block:
        yield tuple(block)


def stream(blocks: Iterable[Block], wanted: Wanted, rows: int) -> Iterator[Block]:
    """Yield blocks of Parquet as they are, of text the rows themselves, so many in a block."""
    for block in blocks:
        first = block[0]
        if len(block) > 1 or not isinstance(first, Piece) or kind_of(first.url) == "parquet":
            yield block
        else:
            yield from gather(read_piece(first, wanted.names, rows), rows)
