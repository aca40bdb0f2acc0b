"""Histories of requests in each format, and what is read and written of them."""

import json
import re

import pyarrow as pa
from pyarrow import parquet
from pyarrow.csv import write_csv

from knn_metric.data.survey import plan
from knn_metric.data.validation import Part, read_rows

BEGIN = 1_600_000_000_000  # 2020-09-13T12:26:40Z
HOUR = 3_600_000
SCORES = ["file", "row", "value", "alarm", "p_value", "top_feature"]


def read(folder):
    return pa.concat_tables(map(parquet.read_table, sorted(folder.glob("*.parquet"))))


def read_all(path, *features, keep=(), rows=10_000, time=None):
    """Read the rows of files in blocks; return them as one part."""
    wanted, blocks = plan([str(path)], dict.fromkeys(features, "int64"), list(keep), rows, time)
    parts = [part for block in blocks for part in read_rows(wanted, block, rows)]
    return Part.join(parts)


def replace(table, **columns):
    """Return a table with other values in some columns."""
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    return table


def write_json(table, path):
    path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))


def write_mongo(table, path):
    """Ten records a line, integers as Mongo's writer may put them."""
    records = table.to_pylist()
    lines = [json.dumps(records[first : first + 10]) for first in range(0, len(records), 10)]
    path.write_text(re.sub(r": (-?\d+)(?=[,}])", r': {"$numberLong": "\1"}', "\n".join(lines)))


WRITERS = {
    "rows.parquet": lambda table, path: parquet.write_table(table, path, row_group_size=130),
    "rows.csv": write_csv,
    "rows.jsonl": write_json,
    "mongo.json": write_mongo,
}
