"""Rows in Parquet, CSV or JSON lines: a reader for each format, which streams.

What a text file holds is read as text, so that one odd cell spoils no other.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from knn_metric.cli import UserError, show
from knn_metric.data.sources import kind_of, opening, partitions_of, shorten_url
from knn_metric.data.times import read_number

ERROR = "_hs_error"
READ_AT_ONCE = 2**20  # bytes of a Parquet column
LONGEST_HEADER = 2**20  # bytes
# Bytes of CSV that are read at once, in which a row must end: more only where one is longer.
CHUNKS = (2**20, 2**26)
# Stands for a carriage return within a cell, which pyarrow takes for the end of a row.
RETURN = "\ue00d"
# Of a footer's fields the schema; of an element of it, and of its logical type.
SCHEMA, CHILDREN, LOGICAL_TYPE, NULL_TYPE = 2, 5, 10, 11


class Piece(NamedTuple):
    """Of Parquet the rows from `first` to before `last`; a text file, with its rows if counted."""

    url: str
    first: int = 0
    last: int = 0

    @property
    def size(self) -> int:
        return self.last - self.first


class Malformed(NamedTuple):
    """A line that is no row: its number among the rows, its text, and what is wrong with it."""

    row: int
    line: str
    reason: str


@dataclass(frozen=True)
class Lines:
    """Rows that were read: their file, a table, the number of each row, lines that are no rows.

    The table is as it is in Parquet; text from CSV and JSON lines, null where there is none.
    """

    url: str
    table: pa.Table
    rows: np.ndarray
    malformed: Sequence[Malformed] = ()

    def __len__(self) -> int:
        return len(self.rows) + len(self.malformed)


Block = tuple[Piece | Lines, ...]  # that is scored together


Some = TypeVar("Some", bound=Sized)


def gather(some: Iterable[Some], rows: int) -> Iterator[tuple[Some, ...]]:
    """Put what holds rows together as soon as there are so many."""
    waiting: list[Some] = []
    for one in some:
        waiting.append(one)
        if sum(map(len, waiting)) >= rows:
            yield tuple(waiting)
            waiting = []
    if any(map(len, waiting)):
        yield tuple(waiting)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that is computed with in place of a dictionary's or another one of text."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_text = pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return pa.string() if is_text else kind


def read_piece(piece: Piece, names: Sequence[str] | None, rows: int) -> Iterator[Lines]:
    """Read the columns that are there, all if none is named, at most so many rows at a time.

    A UserError names the file, if it is damaged or cannot be read.
    """
    for lines in READERS[str(kind_of(piece.url))](piece, names, rows):
        table = lines.table
        for name, value in partitions_of(piece.url).items():
            if (names is None or name in names) and name not in table.column_names:
                column = pa.repeat(pa.scalar(value, pa.string()), len(table))
                table = table.append_column(name, column)
        for first in range(0, max(len(table), 1), rows):
            part = slice(first, first + rows)
            malformed = () if first else lines.malformed
            yield Lines(piece.url, table[part], lines.rows[part], malformed)


def _read_parquet(piece: Piece, names: Sequence[str] | None, rows: int) -> Iterator[Lines]:
    with opening(piece.url) as file:
        content = open_parquet(file)
        there = content.schema_arrow.names
        present = [name for name in names or there if name in there]
        bounds = group_bounds(content)
        groups = np.searchsorted(bounds, [piece.first, piece.last - 1], side="right") - 1
        before = piece.first - bounds[groups[0]]  # rows of its first group
        row = piece.first
        wanted = range(groups[0], groups[1] + 1)
        for batch in content.iter_batches(rows, wanted, present, use_threads=False):
            part = batch.slice(before, piece.last - row)
            before = max(before - len(batch), 0)
            if len(part):
                numbers = np.arange(row, row + len(part))
                yield Lines(piece.url, pa.Table.from_batches([part]), numbers)
                row += len(part)
            if row == piece.last:
                break


def group_bounds(content: parquet.ParquetFile) -> list[int]:
    """Return the first row of each row group, and the number of all rows."""
    groups = map(content.metadata.row_group, range(content.num_row_groups))
    return list(accumulate((group.num_rows for group in groups), initial=0))


def open_parquet(file: io.BufferedIOBase) -> parquet.ParquetFile:
    """Open a Parquet file, also one of parquet-mr 1.11.0, as the feature lake of 2.x has them.

    That marks each map's inner group as of type Null (PARQUET-1879).
    """
    try:
        return parquet.ParquetFile(file, buffer_size=READ_AT_ONCE)
    except OSError as error:
        if "Logical type Null cannot be applied to group node" not in str(error):
            raise
    file.seek(-8, io.SEEK_END)
    file.seek(-8 - int.from_bytes(file.read(4), "little"), io.SEEK_END)
    footer = _drop_null_groups(file.read()[:-8])
    whole = b"".join((b"PAR1", footer, len(footer).to_bytes(4, "little"), b"PAR1"))
    metadata = parquet.read_metadata(pa.BufferReader(whole))
    return parquet.ParquetFile(file, metadata=metadata, buffer_size=READ_AT_ONCE)


def _drop_null_groups(footer: bytes) -> bytes:
    """Leave out the logical type of groups that are marked as of type Null."""
    thrift = _Thrift(footer)
    for _, number, kind in thrift.fields():
        if number == SCHEMA:
            break
        thrift.skip(kind)
    kept, done = b"", 0
    for _ in thrift.items():
        places = {}
        for start, number, kind in thrift.fields():
            value = thrift.place
            thrift.skip(kind)
            places[number] = start, value, thrift.place
        if CHILDREN in places and LOGICAL_TYPE in places:
            start, value, end = places[LOGICAL_TYPE]
            if next(_Thrift(footer, value).fields(), (0, 0, 0))[1] == NULL_TYPE:
                kept, done = kept + footer[done:start], end
    return kept + footer[done:]


class _Thrift:
    """A reader of Thrift's compact protocol, in which a footer is written."""

    def __init__(self, content: bytes, place: int = 0) -> None:
        self.content, self.place = content, place

    def byte(self) -> int:
        self.place += 1
        return self.content[self.place - 1]

    def varint(self) -> int:
        byte = self.byte()
        return byte if byte < 0x80 else byte & 0x7F | self.varint() << 7

    def fields(self) -> Iterator[tuple[int, int, int]]:
        """Yield where each field of a struct begins, its number and type; its value is next."""
        number, start = 0, self.place
        while header := self.byte():
            number = number + (header >> 4) if header >> 4 else self.varint() >> 1
            yield start, number, header & 15
            start = self.place

    def items(self) -> Iterator[int]:
        """Yield the type of each element of a list; the element is next."""
        header = self.byte()
        for _ in range(header >> 4 if header >> 4 < 15 else self.varint()):
            yield header & 15

    def skip(self, kind: int) -> None:
        """Go on to the end of a value."""
        if kind == 12:
            for _, _, inner in self.fields():
                self.skip(inner)
        elif kind in (9, 10):  # a list, a set
            for inner in self.items():
                self.skip(inner)
        elif kind == 8:  # bytes
            size = self.varint()
            self.place += size
        elif kind in (3, 7):  # a byte, a double
            self.place += 1 if kind == 3 else 8
        elif kind > 2:  # no truth, which stands in the field's header
            self.varint()


class _Text(io.RawIOBase):
    """The bytes of a text file, of CSV in a form in which pyarrow finds the ends of rows.

    A byte that is no UTF-8 becomes U+FFFD, a carriage return within a line `RETURN`.
    """

    def __init__(self, file: io.BufferedIOBase, is_csv: bool) -> None:
        self.file, self.is_csv = file, is_csv
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.held, self.rest = "", b""
        self.has_quotes = self.has_returns = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self.rest:
            content = self.file.read(len(buffer))
            self.rest = self._repair(content) if self.is_csv else content
            if not content:
                break
        size = min(len(buffer), len(self.rest))
        buffer[:size], self.rest = self.rest[:size], self.rest[size:]
        return size

    def _repair(self, content: bytes) -> bytes:
        self.has_quotes |= b'"' in content
        text = self.held + self.decoder.decode(content, final=not content)
        self.held = "\r" if text.endswith("\r") and content else ""
        text = text.removesuffix(self.held)
        if text.count("\r") > text.count("\r\n"):
            self.has_returns = True
            text = re.sub("\r(?!\n)", RETURN, text)
        return text.encode()


def _read_csv(piece: Piece, names: Sequence[str] | None, rows: int) -> Iterator[Lines]:
    row = 0
    for size in CHUNKS:
        with opening(piece.url) as file:
            try:
                for lines in _stream_csv(piece.url, _Text(file, is_csv=True), size):
                    table, new = lines.table, np.searchsorted(lines.rows, row)
                    there = [one for one in table.column_names if not names or one in names]
                    malformed = [one for one in lines.malformed if one.row >= row]
                    lines = Lines(piece.url, table[new:].select(there), lines.rows[new:], malformed)
                    row += len(lines)
                    yield lines
                return
            except pa.ArrowInvalid as error:
                if "straddling" not in str(error):
                    raise
    problem = f"the row after line {row + 1:,} is longer than {CHUNKS[-1] >> 20} MB"
    raise UserError(f"{shorten_url(piece.url)}: {problem}: is a quote missing?")


def _stream_csv(url: str, raw: _Text, size: int) -> Iterator[Lines]:
    """Read rows with all columns, since a quote that is wrong in any spoils rows."""
    text = io.BufferedReader(raw, size)
    header = _read_header(text)
    skipped: list[Malformed] = []

    def skip(row: arrow_csv.InvalidRow) -> str:
        problem = f"expected {row.expected_columns} cells, got {row.actual_columns}"
        skipped.append(Malformed(row.number - 1, row.text.replace(RETURN, "\r"), problem))
        return "skip"

    schema = pa.schema([(name, pa.string()) for name in header])
    batches: Iterable[pa.RecordBatch] = []
    if text.peek(1).strip():
        batches = arrow_csv.open_csv(
            text,
            arrow_csv.ReadOptions(use_threads=False, block_size=size, column_names=header),
            arrow_csv.ParseOptions(invalid_row_handler=skip, newlines_in_values=True),
            arrow_csv.ConvertOptions(
                column_types=schema, null_values=[""], strings_can_be_null=True
            ),
        )
    row = 0
    for batch in batches:
        table = pa.Table.from_batches([batch])
        if raw.has_returns:
            columns = [pc.replace_substring(column, RETURN, "\r") for column in table.columns]
            table = pa.table(columns, schema)
        numbers = np.arange(row, row + len(table) + len(skipped))
        numbers = numbers[~np.isin(numbers, [one.row for one in skipped])][: len(table)]
        row = numbers[-1] + 1 if len(numbers) else row
        if raw.has_quotes:
            _require_rows_apart(table, numbers, skipped)
        yield Lines(url, table, numbers, [one for one in skipped if one.row < row])
        skipped[:] = [one for one in skipped if one.row >= row]
    yield Lines(url, schema.empty_table(), np.arange(0), skipped)


def _require_rows_apart(table: pa.Table, rows: np.ndarray, skipped: Sequence[Malformed]) -> None:
    """Raise ValueError if a quoted cell holds whole rows, as one does whose end is not found."""
    has_break = np.zeros(len(table), bool)
    for column in table.columns:
        has_break |= pc.match_substring(column, "\n").fill_null(False).to_numpy()
    broken = table.filter(pa.array(has_break)).to_pylist()
    texts = [",".join(cell or "" for cell in row.values()) for row in broken]
    numbered = [*zip(rows[has_break].tolist(), texts, strict=True), *(one[:2] for one in skipped)]
    for row, text in numbered:
        lines = [line.split(",") for line in text.split("\n")]
        whole = [line for line in lines if len(line) == table.num_columns > 1]
        if sum(any(map(_is_number, line)) for line in whole) > 1:
            raise ValueError(
                f"row {row:,}, after the header: a quoted cell holds other rows, {show(text)}:"
                " expected a quote in it as two quotes, with no backslash"
            )


def _read_header(file: io.BufferedIOBase) -> list[str]:
    """Read the first line; raise ValueError if it names no columns with commas between them."""
    line = file.readline(LONGEST_HEADER).decode("utf-8-sig", "replace")
    if "\0" in line:
        raise ValueError("expected UTF-8, got UTF-16 or no text")
    if RETURN in line or len(line) >= LONGEST_HEADER:
        raise ValueError("expected lines that end in LF or CRLF, got CR or a very long line")
    try:
        names = next(csv.reader([line]), [])
    except csv.Error as error:
        raise ValueError(f"the header cannot be read: {error}") from error
    separator = next((one for one in ";\t|" if len(names) == 1 and one in names[0]), None)
    if separator:
        raise ValueError(f"expected commas between columns, got {separator!r}")
    if names and all(map(_is_number, names)):
        raise ValueError("expected a header that names the columns, got numbers")
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"two columns are named {name}")
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_json(piece: Piece, names: Sequence[str] | None, rows: int) -> Iterator[Lines]:
    records: list[dict[str, Any]] = []
    numbers: list[int] = []
    malformed: list[Malformed] = []
    row, longest = 0, CHUNKS[-1]
    with opening(piece.url) as file:
        text = io.BufferedReader(_Text(file, is_csv=False), READ_AT_ONCE)
        while True:
            line = text.readline(longest + 1)
            if len(line) > longest:
                raise ValueError(f"the line after row {row:,} is longer than {longest >> 20} MB")
            if line.strip():
                found = []
                try:
                    found = _parse_json(line)
                except (ValueError, RecursionError) as error:
                    problem = "nested too deep" if isinstance(error, RecursionError) else error
                    spelled = line.decode("utf-8", "replace").rstrip("\n")
                    malformed.append(Malformed(row, spelled, f"no JSON object: {problem}"))
                records += found
                numbers += range(row, row + len(found))
                row += len(found) or 1
            if not line or len(records) >= rows:
                places = np.array(numbers, np.int64)
                yield Lines(piece.url, _to_table(records, names), places, malformed)
                records, numbers, malformed = [], [], []
            if not line:
                return


def _to_table(records: Sequence[dict[str, Any]], names: Sequence[str] | None) -> pa.Table:
    if names is None:
        names = list(dict.fromkeys(name for record in records for name in record))
    cells = {name: [_to_text(record.get(name)) for record in records] for name in names}
    return pa.table(cells, pa.schema([(name, pa.string()) for name in names]))


def _parse_json(line: bytes) -> list[dict[str, Any]]:
    """Return the records of a line: an object, or a list of them as the platform answers."""
    content = json.loads(line)
    records = content if isinstance(content, list) else [content]
    if not all(isinstance(record, dict) for record in records):
        raise ValueError("neither an object nor a list of objects")
    return records


def _to_text(value: object) -> str | None:
    """Write a value of JSON as the text of a cell; a lone surrogate, which is no text, as ``?``."""
    value = read_number(value)
    if value is None or isinstance(value, int):  # a bool too
        return None if value is None else str(int(value))
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace").decode()


READERS = {"parquet": _read_parquet, "csv": _read_csv, "json": _read_json}
