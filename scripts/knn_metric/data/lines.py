"""Text files of rows: where they can be cut, and the rows of a piece of CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

import pyarrow as pa
from pyarrow import csv as arrow_csv

from knn_metric.data.extended_json import read_number

# A quote opens a cell at the cell's beginning only; it closes where no second one follows.
OPENING = re.compile(rb'(?:^|,)"')
CLOSING = re.compile(rb'(?:[^"]|"")*"(?!")')
LONGEST_HEADER = 2**20  # bytes


class Cut(NamedTuple):
    """A part of a text file: its range of bytes, and the number of its first row in the file."""

    first: int
    last: int
    row: int


class Malformed(NamedTuple):
    """A line that is no row: its number in the file, its text, and what is wrong with it."""

    row: int
    text: str
    problem: str


class Lines(NamedTuple):
    """The rows of a piece: a table of text, the number of each row, and the lines that are none."""

    table: pa.Table
    rows: list[int]
    malformed: list[Malformed]


def cut_csv(file: BinaryIO, rows: int) -> tuple[list[Cut], int]:
    """Divide what follows the header, so many rows each, between rows and not within a cell.

    Returns
    -------
    cuts : list of Cut
    n_rows : int
    """
    return _cut(_count_csv(file), file.tell(), rows)


def cut_json(file: BinaryIO, rows: int) -> tuple[list[Cut], int]:
    """Divide JSON lines, about so many rows each; one line may hold a list of many."""
    return _cut(((len(line), _count_json(line)) for line in file), 0, rows)


def sample_csv(file: BinaryIO, rows: int) -> bytes:
    """Return the first rows of what follows the header."""
    start = end = file.tell()
    n_rows = 0
    for length, count in _count_csv(file):
        end += length
        n_rows += max(count, 0)
        if n_rows == rows:
            break
    file.seek(start)
    return file.read(end - start)


def _cut(lines: Iterable[tuple[int, int]], start: int, rows: int) -> tuple[list[Cut], int]:
    """Divide lines, each with its length and how many rows end with it; -1 within a cell."""
    cuts: list[Cut] = []
    first, position, before, n_rows = start, start, 0, 0
    for length, count in lines:
        position += length
        n_rows += max(count, 0)
        if count >= 0 and n_rows - before >= rows:
            cuts.append(Cut(first, position, before))
            first, before = position, n_rows
    if position > first:
        cuts.append(Cut(first, position, before))
    return cuts, n_rows


def _count_csv(file: BinaryIO) -> Iterator[tuple[int, int]]:
    is_open = False
    for line in file:
        if is_open or b'"' in line:
            is_open = _ends_in_cell(line, is_open)
        yield len(line), -1 if is_open else int(line not in (b"\n", b"\r\n"))


def _ends_in_cell(line: bytes, is_open: bool) -> bool:
    """Tell whether a line break lies within a quoted cell, which may be open already."""
    position = 0
    while True:
        if is_open:
            closed = CLOSING.match(line, position)
            if not closed:
                return True
            position = closed.end()
        opened = OPENING.search(line, position)
        if not opened:
            return False
        position, is_open = opened.end(), True


def _count_json(line: bytes) -> int:
    if not line.strip():
        return 0
    if not line.lstrip().startswith(b"["):
        return 1
    return len(try_json_line(line)) or 1


def read_csv_header(file: BinaryIO) -> list[str]:
    """Read the first line.

    Raises
    ------
    ValueError
        If it is no header of columns with commas between them, in UTF-8.
    """
    line = file.readline(LONGEST_HEADER)
    if line.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in line:
        raise ValueError("expected UTF-8, got UTF-16 or no text")
    if b"\r" in line.rstrip(b"\r\n") or len(line) == LONGEST_HEADER:
        raise ValueError("expected lines that end in LF or CRLF, got CR or a very long line")
    try:
        names = next(csv.reader([line.decode("utf-8-sig")]), [])
    except csv.Error as error:
        raise ValueError(f"the header cannot be read: {error}") from error
    if len(names) == 1:
        for separator in ";\t|":
            if separator in names[0]:
                raise ValueError(f"expected commas between columns, got {separator!r}")
    if names and all(_is_number(name) for name in names):
        raise ValueError("expected a header that names the columns, got numbers")
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_csv(content: bytes, cut_row: int, header: Sequence[str], names: Sequence[str]) -> Lines:
    """Read rows of CSV as text, a byte that is not UTF-8 as U+FFFD."""
    skipped: list[arrow_csv.InvalidRow] = []

    def skip(row: arrow_csv.InvalidRow) -> str:
        skipped.append(row)
        return "skip"

    content = _to_utf8(content)
    present = [name for name in names if name in header]
    if not content.strip():
        return Lines(pa.table({}), [], [])
    table = arrow_csv.read_csv(
        pa.BufferReader(content),
        # One block: a cell may be longer than pyarrow's usual one.
        arrow_csv.ReadOptions(use_threads=False, block_size=len(content) + 1, column_names=header),
        arrow_csv.ParseOptions(invalid_row_handler=skip, newlines_in_values=True),
        arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(present, pa.string()),
            include_columns=present,
            null_values=[""],
            strings_can_be_null=True,
        ),
    )
    malformed = [
        Malformed(
            cut_row + row.number - 1,
            row.text,
            f"expected {row.expected_columns} cells, got {row.actual_columns}",
        )
        for row in skipped
    ]
    taken = {one.row for one in malformed}
    numbers = range(cut_row, cut_row + len(table) + len(taken))
    return Lines(table, [number for number in numbers if number not in taken], malformed)


def _to_utf8(content: bytes) -> bytes:
    try:
        content.decode()
    except UnicodeDecodeError:
        return content.decode("utf-8", "replace").encode()
    return content


def read_json(content: bytes, cut_row: int, names: Sequence[str]) -> Lines:
    """Read rows of JSON lines as text."""
    records: list[dict] = []
    rows: list[int] = []
    malformed: list[Malformed] = []
    row = cut_row
    for line in io.BytesIO(content):
        if not line.strip():
            continue
        try:
            found = parse_json_line(line)
        except ValueError as error:
            text = line.decode("utf-8", "replace").rstrip("\n")
            malformed.append(Malformed(row, text, f"no JSON object: {error}"))
            row += 1
            continue
        records += found
        rows += range(row, row + len(found))
        row += len(found) or 1
    cells = {name: [to_text(record.get(name)) for record in records] for name in names}
    return Lines(
        pa.table(cells, pa.schema([(name, pa.string()) for name in names])), rows, malformed
    )


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


def try_json_line(line: bytes) -> list[dict]:
    """Return the records of a line, none where it has no record."""
    try:
        return parse_json_line(line)
    except ValueError:
        return []


def to_text(value: object) -> str | None:
    """Write a value of JSON as the text of a cell; a lone surrogate, which is no text, as ``?``."""
    value = read_number(value)
    if value is None:
        return None
    if isinstance(value, int):  # a bool too
        return str(int(value))
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace").decode()
