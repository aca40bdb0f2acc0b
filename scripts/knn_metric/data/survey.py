"""The first look at files of rows: which columns they have, and blocks to read them in."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise, repeat
from threading import Event

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from knn_metric.cli import UserError, show
from knn_metric.data.cells import is_time, look_like_times
from knn_metric.data.parquet import group_bounds, open_parquet
from knn_metric.data.sources import find_files, kind_of, name_of, opening, partitions_of
from knn_metric.data.validation import (
    ERROR,
    NO_ROWS,
    Block,
    Piece,
    Wanted,
    plain_type,
    read_piece,
    to_type,
)

TIME, REQUEST = "_hs_timestamp", "_hs_request_id"
KEPT = (REQUEST, TIME)  # wherever they are
SCORES = ["value", "alarm", "p_value", "top_feature"]  # the last columns that `score` writes
REJECTED = ["line", "reason"]  # and the last ones of rejected rows
WRITTEN = ("file", "row", *SCORES, *REJECTED)  # beside what is kept
SAMPLE = 1000  # rows of a text file, to learn which columns JSON has and which hold times
SLICES = 16  # of a row group at most, each of which is read from its beginning on
AT_A_TIME = 16  # files to look at, which over a network is waiting
BLOCK = 100_000  # rows


@dataclass
class Header:
    """What a first look at a file tells."""

    url: str
    columns: dict[str, pa.DataType] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)  # of the pieces to read: rows, the first one 0
    times: list[str] = field(default_factory=list)  # columns that hold times
    is_open: bool = False  # of JSON lines: more columns may follow, as failed requests lack fields
    rows: np.ndarray = field(default_factory=lambda: NO_ROWS)  # of requests that have an id
    ids: np.ndarray = field(default_factory=lambda: NO_ROWS)  # hashes of these
    copies: np.ndarray = field(default_factory=lambda: NO_ROWS)  # rows that are in earlier ones too
    problem: str = ""  # why it cannot be read

    def divide(self) -> Iterator[Piece]:
        for first, last in pairwise(self.ends):
            is_own = (self.copies >= first) & (self.copies < (last or np.inf))
            yield Piece(self.url, first, last, self.copies[is_own])


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
    rows only where row groups are very long, or in a text file whose rows are not counted. Requests
    that stand there twice are read once. Files that are damaged or lack columns are the last block.
    If there is no row in any, that is a UserError.
    """
    headers = _leave_out_scores(_look_at_all(find_files(inputs), rows))
    for header in headers:
        if header.ends and not header.is_open:
            header.problem = _find_lacking(header, list(kinds), [*keep, *([time] if time else [])])
    refused = [Piece(one.url, problem=one.problem) for one in headers if one.problem]
    headers = [one for one in headers if not one.problem]
    usual = [name for name in KEPT if any(one.is_open or name in one.columns for one in headers)]
    kept = pa.schema((name, _find_type(name, headers)) for name in dict.fromkeys([*usual, *keep]))
    _mark_copies(headers)
    blocks: list[list[Piece]] = []
    room = 0
    for piece in (piece for header in headers for piece in header.divide()):
        size = piece.last - piece.first or rows  # of text whose rows are not counted
        if size > room:
            blocks.append([])
            room = rows
        blocks[-1].append(piece)
        room -= size
    blocks += [refused] if refused else []
    if not blocks:
        raise UserError(f"{', '.join(inputs)}: no rows")
    return Wanted(dict(kinds), kept, time or _find_time(headers)), [*blocks]


def _look_at_all(urls: Sequence[str], rows: int) -> list[Header]:
    pool, is_over = ThreadPoolExecutor(AT_A_TIME), Event()
    try:
        found = pool.map(_look_at, urls, repeat(rows), repeat(is_over))
        return [*tqdm(found, "looking", len(urls), unit="file", disable=None, leave=False)]
    finally:
        is_over.set()  # by which Ctrl-C ends what reads a large file
        pool.shutdown(cancel_futures=True)


def _look_at(url: str, rows: int, is_over: Event) -> Header:
    try:
        header = (_look_at_parquet if kind_of(url) == "parquet" else _look_at_text)(url, rows)
        folders = partitions_of(url)
        header.columns = dict.fromkeys(folders, pa.string()) | header.columns
        in_folders = [name for name, value in folders.items() if look_like_times([value or ""])]
        header.times = header.times or in_folders
        if header.ends and REQUEST in header.columns:
            header.rows, header.ids = _read_ids(Piece(url, 0, header.ends[-1]), is_over)
    except UserError as error:
        return Header(url, problem=str(error))
    return header


def _look_at_parquet(url: str, rows: int) -> Header:
    with opening(url) as file:
        content = open_parquet(file)
        schema, bounds = content.schema_arrow, group_bounds(content)
    if len(set(schema.names)) < len(schema.names):
        twice = next(name for name in schema.names if schema.names.count(name) > 1)
        raise UserError(f"{name_of(url)}: two columns are named {twice}")
    step = max(rows, -(-max(np.diff(bounds).tolist(), default=0) // SLICES))
    ends = [*range(0, bounds[-1], step), bounds[-1]] if bounds[-1] else []
    times = [field.name for field in schema if is_time(field.type)]
    return Header(url, dict(zip(schema.names, schema.types, strict=True)), ends, times)


def _look_at_text(url: str, rows: int) -> Header:
    """Read the first rows; a file that ends with them has so many."""
    cells: dict[str, list[str]] = {}
    reasons: list[str] = []
    count = 0
    for table, numbers, malformed in read_piece(Piece(url), None, SAMPLE):
        for name, column in zip(table.column_names, table.columns, strict=True):
            cells.setdefault(name, []).extend(filter(None, column.to_pylist()))
        reasons += [one["reason"] for one in malformed]
        count += len(numbers) + len(malformed)
        if count > SAMPLE:
            break
    times = [name for name, there in cells.items() if look_like_times(there)]
    # Where all lines were looked at and none is a failed request, no more columns follow.
    is_open = kind_of(url) == "json" and (count > SAMPLE or bool(cells.get(ERROR)))
    if reasons and not cells and not is_open:
        raise UserError(f"{name_of(url)}: no line is a row, the first one is {reasons[0]}")
    ends = [0, count if count <= min(rows, SAMPLE) else 0] if count else []
    return Header(url, dict.fromkeys(cells, pa.string()), ends, times, is_open)


def _read_ids(piece: Piece, is_over: Event) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows whose requests have an id, and hashes of these."""
    rows, ids = [NO_ROWS.astype(np.uint32)], [NO_ROWS]
    for table, numbers, _ in read_piece(piece, [REQUEST], BLOCK):
        if is_over.is_set():
            break
        texts = to_type(table[REQUEST]).to_pylist()
        has_id = np.array([bool(text) for text in texts], bool)
        rows.append(numbers[has_id].astype(np.uint32))
        ids.append(np.fromiter(map(hash, texts), np.int64, len(texts))[has_id])
    return np.concatenate(rows), np.concatenate(ids)


def _mark_copies(headers: Sequence[Header]) -> None:
    """Find the requests that stand in an earlier row of any file, by their ids.

    Of ten million requests two are taken for one with a probability of 3e-6.
    """
    ids = np.concatenate([NO_ROWS, *(header.ids for header in headers)])
    in_order = np.sort(ids)
    if (in_order[1:] == in_order[:-1]).any():
        is_copy = np.ones(len(ids), bool)
        is_copy[np.unique(ids, return_index=True)[1]] = False
        ends = np.cumsum([len(header.ids) for header in headers])
        for header, own in zip(headers, np.split(is_copy, ends[:-1]), strict=True):
            header.copies = header.rows[own]


def _leave_out_scores(headers: list[Header]) -> list[Header]:
    """Leave out what `score` wrote, where other files are read."""
    left = headers
    for last in (REJECTED, SCORES):
        left = [one for one in left if [*one.columns][-len(last) :] != last] or left
    if len(left) < len(headers):
        print(f"{len(headers) - len(left):,} files of scores are not read", file=sys.stderr)
    return left


def _find_lacking(header: Header, features: Sequence[str], others: Sequence[str]) -> str:
    """Say which columns a file lacks, '' if it has all."""
    missing = [one for one in dict.fromkeys([*features, *others]) if one not in header.columns]
    what = ", ".join(missing)
    if len(missing) >= len(features) > 1:
        there = ", ".join(show(name) for name in list(header.columns)[:5])
        what += f": the file's columns are {there}{', ...' if len(header.columns) > 5 else ''}"
    return f"{name_of(header.url)}: no column {what}" if missing else ""


def _find_time(headers: Sequence[Header]) -> str | None:
    """Return the column that days come from: the platform's, or the only one that holds times."""
    if any(TIME in header.columns for header in headers):
        return TIME
    names = {name for header in headers for name in header.times}
    return names.pop() if len(names) == 1 else None


def _find_type(name: str, headers: Sequence[Header]) -> pa.DataType:
    """Return the type that holds a column of all files without loss, which text always does."""
    missing = [pa.string() if one.is_open else pa.null() for one in headers]
    found = [one.columns.get(name, other) for one, other in zip(headers, missing, strict=True)]
    kinds = {*map(plain_type, found)} - {pa.null()}
    if len(kinds) > 1 and all(map(pa.types.is_integer, kinds)):
        wider = np.result_type(*(kind.to_pandas_dtype() for kind in kinds))
        kinds = {pa.from_numpy_dtype(wider) if wider.kind in "iu" else pa.string()}
    return pa.string() if len(kinds) > 1 else (kinds or {pa.null()}).pop()
