"""Scoring a history: the same rows from every format, nothing lost, whole or not at all."""

import json
import resource
from contextlib import contextmanager
from datetime import UTC, datetime

from lib import census
from lib.detector import load_detector, reasons
from lib.history import KINDS, read_integer
from lib.history_files import plan
from lib.history_rows import PROBLEMS, read_numbers, read_rows

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from helpers import PNG, assert_one_line, run
from pyarrow import parquet

import messages
import score

BEGIN = 1_600_000_000_000  # 2020-09-13T12:26:40Z
HOUR = 3_600_000
SCORES = ["value", "alarm", "p_value", "because"]


@pytest.fixture(scope="module")
def detector(artifact):
    return load_detector(artifact)


@pytest.fixture(scope="module")
def history(rows):
    """500 requests, one an hour, as the platform records them: name, type and values by column."""
    columns = {name: pa.array(column) for name, column in zip(census.FEATURES, rows.T, strict=True)}
    columns = {name: column[:500] for name, column in columns.items()}
    columns["_hs_request_id"] = pa.array([f"request-{number}" for number in range(500)])
    columns["_hs_timestamp"] = pa.array([BEGIN + HOUR * number for number in range(500)])
    columns["_hs_error"] = pa.nulls(500, pa.string())
    return pa.table(columns)


@pytest.fixture
def scoring(artifact, tmp_path):
    """Run score.py into a folder `out`."""

    def run_score(*arguments):
        return run(score.main, *arguments, "--artifact", artifact, "--out", tmp_path / "out")

    return run_score


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


class TestScores:
    @pytest.mark.parametrize("name", WRITERS)
    def test_they_are_the_detectors_own(self, name, scoring, history, detector, rows, tmp_path):
        WRITERS[name](history, tmp_path / name)
        result = scoring(tmp_path / name, "--rows-per-block", 64)
        assert result.status == 0, result.err
        found = read(tmp_path / "out")
        assert found.column_names == ["_hs_request_id", "_hs_timestamp", *SCORES]
        assert found.select(["_hs_request_id", "_hs_timestamp"]).equals(
            history.select(["_hs_request_id", "_hs_timestamp"])
        )
        expected = detector.decision_function(rows[:500])
        alarms = expected > detector.threshold_
        assert found["value"].to_pylist() == expected.tolist()
        assert found["alarm"].to_pylist() == alarms.tolist()
        assert found["p_value"].to_pylist() == detector.p_value(expected).tolist()
        because = np.full(500, None)
        because[alarms] = reasons(detector, rows[:500][alarms])
        assert found["because"].to_pylist() == because.tolist()
        assert not (tmp_path / "out" / "rejected").exists()
        assert len(list((tmp_path / "out").iterdir())) > 4

    @pytest.mark.parametrize("rows_per_block", [1, 7, 129, 500, 10_000])
    @pytest.mark.parametrize("name", WRITERS)
    def test_blocks_hold_each_row_once(self, name, rows_per_block, history, tmp_path):
        WRITERS[name](history, tmp_path / name)
        wanted, blocks = plan([str(tmp_path)], list(census.FEATURES), None, rows_per_block)
        found = [part for block in blocks for part in read_rows(wanted, block, rows_per_block)]
        ids = pa.concat_tables(part.kept for part in found)["_hs_request_id"]
        assert ids.to_pylist() == history["_hs_request_id"].to_pylist()

    def test_the_table_and_the_picture(self, scoring, history, detector, rows, tmp_path):
        parquet.write_table(history, tmp_path / "rows.parquet")
        result = scoring(tmp_path / "rows.parquet")
        alarms = int(np.sum(detector.decision_function(rows[:500]) > detector.threshold_))
        lines = [" ".join(line.split()) for line in result.out.splitlines()]
        assert lines[:2] == ["rows 500", "scored 500"]
        assert lines[2].startswith(f"alarms {alarms} {alarms / 500:.2%} where ")
        assert lines[3].startswith("because of ")
        first = detector.decision_function(rows[:12]) > detector.threshold_
        days = [line.split()[:3] for line in lines if line.startswith("2020-")]
        assert days[0] == ["2020-09-13", "12", str(first.sum())]
        assert sum(int(day[1]) for day in days) == 500
        assert (tmp_path / "out.png").read_bytes().startswith(PNG)

    def test_many_days_are_told_by_those_with_too_many_alarms(self, scoring, history, tmp_path):
        broken = 24 * np.arange(500) // 24 == 24 * 100
        age = np.where(np.arange(500) // 10 == 40, 12_000, history["age"].to_numpy())
        days = pa.array(BEGIN + 24 * HOUR * (np.arange(500) // 10))
        place = history.column_names.index
        table = history.set_column(place("age"), "age", pa.array(age))
        table = table.set_column(place("_hs_timestamp"), "_hs_timestamp", days)
        parquet.write_table(table, tmp_path / "rows.parquet")
        result = scoring(tmp_path / "rows.parquet")
        listed = [line.split() for line in result.out.splitlines() if line.startswith("2020-")]
        day = datetime.fromtimestamp(BEGIN / 1000, UTC).toordinal() + 40
        assert [line[:4] for line in listed] == [
            [str(datetime.fromordinal(day).date()), "10", "10", "100.00%"]
        ]
        assert "1 of 50 days have too many alarms (p < 0.001)" in result.out
        assert not broken.any()
