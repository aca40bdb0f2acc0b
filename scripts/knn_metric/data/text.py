"""Rows in CSV and JSON lines, streamed as text, so that one odd cell spoils no other."""

import codecs
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from knn_metric.cli import UserError, show
from knn_metric.data.cells import is_number, read_number
from knn_metric.data.sources import name_of, opening

READ_AT_ONCE = 2**20  # bytes
LONGEST = 2**26  # bytes of a line, and of a row of CSV
MOST_SKIPPED = 100_000  # malformed rows of CSV with no other row between them
# Stands for a carriage return within a cell, which pyarrow takes for the end of a row.
RETURN = "\ue00d"
OTHER_ENDS = "expected lines that end in LF or CRLF, got CR"

# Rows, their numbers, and lines that are none: the number, text and reason of each as row, line and
# reason.
Read = tuple[pa.Table, np.ndarray, Sequence[dict[str, Any]]]


class _Repair:
    """Makes the bytes of CSV such that pyarrow finds the ends of rows.

    A byte that is no UTF-8 becomes U+FFFD, a carriage return within a line `RETURN`.
    """

    def __init__(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.decoder = io.IncrementalNewlineDecoder(decoder, translate=False)
        self.has_quotes = self.has_returns = False
        self.start = ""  # of the text, without what is before a header

    def __call__(self, content: pa.Buffer) -> bytes:
        text = self.decoder.decode(content, final=not content)
        if len(self.start) < READ_AT_ONCE:
            self.start = (self.start + text).lstrip("\ufeff\r\n")[:READ_AT_ONCE]
        self.has_quotes |= '"' in text
        if text.count("\r") > text.count("\r\n"):
            self.has_returns = True
            text = re.sub("\r(?!\n)", RETURN, text)
        return text.encode()


def read_csv(url: str) -> Iterator[Read]:
    """Read rows with all columns, since a quote that is wrong in any spoils rows."""
    row = 0
    # A row must end in what is read at once: more is read only where one is longer.
    for size in (READ_AT_ONCE, LONGEST):
        with opening(url) as file:
            try:
                for table, rows, malformed in _stream_csv(file, size):
                    new = np.searchsorted(rows, row)
                    malformed = [one for one in malformed if one["row"] >= row]
                    yield table[new:], rows[new:], malformed
                    row += len(rows[new:]) + len(malformed)
                return
            except pa.ArrowInvalid as error:
                if "straddling" not in str(error):
                    raise
    problem = f"a row from line {row + 1:,} on does not end within {LONGEST >> 20} MB"
    raise UserError(f"{name_of(url)}: {problem}: is a quote missing, or do lines end in CR?")


def _stream_csv(file: io.BufferedIOBase, size: int) -> Iterator[Read]:
    repair, is_open = _Repair(), False
    skipped: list[dict[str, Any]] = []

    def skip(row: arrow_csv.InvalidRow) -> str:
        problem = f"expected {row.expected_columns} cells, got {row.actual_columns}"
        line = row.text.replace(RETURN, "\r")
        skipped.append({"row": row.number - 2, "line": line, "reason": problem})
        return "error" if is_open and len(skipped) >= MOST_SKIPPED else "skip"

    cells = {"null_values": [""], "strings_can_be_null": True}
    try:
        batches = arrow_csv.open_csv(
            pa.TransformInputStream(pa.PythonFile(file, "r"), repair),
            arrow_csv.ReadOptions(use_threads=False, block_size=size),
            arrow_csv.ParseOptions(invalid_row_handler=skip, newlines_in_values=True),
            arrow_csv.ConvertOptions(default_column_type=pa.string(), **cells),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV file" not in str(error):
            raise
        if repair.has_returns:
            raise ValueError(OTHER_ENDS) from error
        if len(repair.start) == READ_AT_ONCE or "\n" in repair.start.rstrip():
            raise pa.ArrowInvalid("straddling: the header") from error
        return
    _require_header(batches.schema.names)
    row, is_open = 0, True
    for batch in batches:
        table = pa.Table.from_batches([batch])
        if repair.has_returns:
            columns = [pc.replace_substring(column, RETURN, "\r") for column in table.columns]
            table = pa.table(columns, batches.schema)
        numbers = np.arange(row, row + len(table) + len(skipped))
        numbers = numbers[~np.isin(numbers, [one["row"] for one in skipped])][: len(table)]
        row = numbers[-1] + 1 if len(numbers) else row
        if repair.has_quotes:
            _require_rows_apart(table, numbers, skipped)
        yield table, numbers, [one for one in skipped if one["row"] < row]
        skipped[:] = [one for one in skipped if one["row"] >= row]
    yield batches.schema.empty_table(), np.arange(0), skipped


def _require_rows_apart(
    table: pa.Table, rows: np.ndarray, skipped: Sequence[dict[str, Any]]
) -> None:
    """Raise ValueError if a quoted cell holds whole rows, as one does whose end is not found."""
    has_break = np.zeros(len(table), bool)
    for column in table.columns:
        has_break |= pc.match_substring(column, "\n").fill_null(False).to_numpy()
    broken = table.filter(pa.array(has_break)).to_pylist()
    texts = [",".join(cell or "" for cell in row.values()) for row in broken]
    numbered = dict(zip(rows[has_break].tolist(), texts, strict=True))
    for row, text in (numbered | {one["row"]: one["line"] for one in skipped}).items():
        lines = [line.split(",") for line in text.split("\n")]
        whole = [line for line in lines if len(line) == table.num_columns > 1]
        if sum(any(map(is_number, line)) for line in whole) > 1:
            raise ValueError(
                f"row {row:,}, after the header: a quoted cell holds other rows, {show(text[:60])}:"
                " expected a quote in it as two quotes, with no backslash"
            )


def _require_header(names: list[str]) -> None:
    """Raise ValueError if the first line names no columns with commas between them."""
    if "\0" in "".join(names):
        raise ValueError("expected UTF-8, got UTF-16 or no text")
    if RETURN in "".join(names):
        raise ValueError(OTHER_ENDS)
    separator = next((one for one in ";\t|" if len(names) == 1 and one in names[0]), None)
    if separator:
        raise ValueError(f"expected commas between columns, got {separator!r}")
    if all(map(is_number, names)):
        raise ValueError("expected a header that names the columns, got numbers")
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"two columns are named {name}")


def read_json(url: str, names: Sequence[str] | None, rows: int) -> Iterator[Read]:
    """Read the columns that are there, all if none is named, about so many rows at a time."""
    records: dict[int, dict[str, Any]] = {}  # by their numbers
    malformed: list[dict[str, Any]] = []
    row = 0
    with opening(url) as file:
        text: Any = io.BufferedReader(file, READ_AT_ONCE)
        for number, line in enumerate(iter(partial(text.readline, LONGEST), None), start=1):
            if len(line) == LONGEST:
                raise ValueError(f"line {number:,} is longer than {LONGEST >> 20} MB")
            if line.strip():
                try:
                    content = json.loads(line)  # an object, or a list as the platform answers
                    found = content if isinstance(content, list) else [content]
                    if not all(isinstance(one, dict) for one in found):
                        raise ValueError("neither an object nor a list of objects")
                    records |= enumerate(found, row)
                except (ValueError, RecursionError) as error:
                    problem = "nested too deep" if isinstance(error, RecursionError) else error
                    spelled = line.decode("utf-8", "replace").rstrip("\n")
                    reason = f"no JSON object: {problem}"
                    malformed.append({"row": row, "line": spelled, "reason": reason})
                    found = []
                row += len(found) or 1
            if not line or len(records) + len(malformed) >= rows:
                there = dict.fromkeys(name for one in records.values() for name in one)
                columns = [name for name in there if names is None or name in names]
                columns = columns or list(names or ())[-1:]  # without any, there would be no rows
                cells = {
                    name: [_to_text(one.get(name)) for one in records.values()] for name in columns
                }
                schema = pa.schema([(name, pa.string()) for name in columns])
                yield pa.table(cells, schema), np.array([*records], np.int64), malformed
                records, malformed = {}, []
            if not line:
                return


def _to_text(value: object) -> str | None:
    """Write a value of JSON as the text of a cell; a lone surrogate, which is no text, as ``?``."""
    value = read_number(value)
    if value is None or isinstance(value, int):  # a bool too
        return None if value is None else str(int(value))
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace").decode()
