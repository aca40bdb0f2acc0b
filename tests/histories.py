"""Histories of requests in each format, and the scores that are written of them."""

import json

import pyarrow as pa
from pyarrow import parquet

BEGIN = 1_600_000_000_000  # 2020-09-13T12:26:40Z
HOUR = 3_600_000
SCORES = ["file", "row", "value", "alarm", "p_value", "top_feature"]


def read(folder):
    return pa.concat_tables(map(parquet.read_table, sorted(folder.glob("*.parquet"))))


def write_csv(table, path):
    lines = [",".join(table.column_names)]
    for row in table.to_pylist():
        lines.append(",".join("" if cell is None else str(cell) for cell in row.values()))
    path.write_text("\n".join(lines) + "\n")


def write_json(table, path):
    path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))


def write_mongo(table, path):
    """Ten records a line, integers as Mongo's writer may put them."""

    def spell(cell):
        return {"$numberLong": str(cell)} if isinstance(cell, int) else cell

    records = [{name: spell(cell) for name, cell in row.items()} for row in table.to_pylist()]
    lines = [json.dumps(records[first : first + 10]) for first in range(0, len(records), 10)]
    path.write_text("\n".join(lines))


WRITERS = {
    "rows.parquet": lambda table, path: parquet.write_table(table, path, row_group_size=130),
    "one_group.parquet": parquet.write_table,
    "rows.csv": write_csv,
    "rows.jsonl": write_json,
    "mongo.json": write_mongo,
}
