"""Parquet files, also those of the feature lake, whose writer marks some groups wrongly."""

import io
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from knn_metric.data.sources import opening

READ_AT_ONCE = 2**20  # bytes of a column
# Of a footer's fields the schema; of an element of it, and of its logical type.
SCHEMA, CHILDREN, LOGICAL_TYPE, NULL_TYPE = 2, 5, 10, 11
# Types of Thrift's compact protocol.
TRUTHS, BYTES, LISTS, STRUCT = (1, 2), 8, (9, 10), 12
SIZES = {3: 1, 7: 8}  # of a byte and of a double; of all else it is written


def read_parquet(
    url: str, names: Sequence[str] | None, rows: int, first: int, last: int
) -> Iterator[tuple[pa.Table, np.ndarray, Sequence[Any]]]:
    """Yield the rows from `first` to before `last`, so many at a time, and their numbers."""
    with opening(url) as file:
        content = open_parquet(file)
        there = content.schema_arrow.names
        bounds = group_bounds(content)
        begin, end = np.searchsorted(bounds, [first, last - 1], side="right") - 1
        present = [name for name in names or there if name in there]
        row = bounds[begin]
        for batch in content.iter_batches(rows, range(begin, end + 1), present, use_threads=False):
            part = batch[max(first - row, 0) : max(last - row, 0)]
            if len(part):
                numbers = np.arange(len(part)) + max(row, first)
                yield pa.Table.from_batches([part]), numbers, ()
            row += len(batch)


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
    kept, done = b"", 0
    for element in _Thrift(footer).read(STRUCT, SCHEMA)[SCHEMA][0]:
        kind, start, end = element.get(LOGICAL_TYPE, ({}, 0, 0))
        if CHILDREN in element and NULL_TYPE in kind:
            kept, done = kept + footer[done:start], end
    return kept + footer[done:]


class _Thrift:
    """A reader of Thrift's compact protocol, in which a footer is written."""

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0

    def byte(self) -> int:
        self.place += 1
        return self.content[self.place - 1]

    def varint(self) -> int:
        byte = self.byte()
        return byte if byte < 0x80 else byte & 0x7F | self.varint() << 7

    def read(self, kind: int, last: int | None = None) -> Any:
        """Read a value: a list, or a struct as value, begin and end of each field; else skip it.

        Of a struct no field is read that comes after the last one wanted.
        """
        if kind == STRUCT:
            number, fields, start = 0, {}, self.place
            while number != last and (header := self.byte()):
                number = number + (header >> 4) if header >> 4 else self.varint() >> 1
                fields[number] = self.read(header & 15), start, self.place
                start = self.place
            return fields
        if kind in LISTS:
            header = self.byte()
            count = header >> 4 if header >> 4 < 15 else self.varint()
            return [self.read(header & 15) for _ in range(count)]
        if kind not in TRUTHS:  # which stand in the field's header
            size = SIZES.get(kind) or self.varint()
            self.place += size if kind in (*SIZES, BYTES) else 0
        return None
