"""Scoring a history: the same rows from every format, nothing lost, complete or not at all."""

import shutil
from pathlib import Path
from unittest.mock import Mock

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from helpers import PNG, assert_one_line, damage
from histories import BEGIN, HOUR, SCORES, WRITERS, read, read_all, replace, write_json
from pyarrow import parquet
from pyarrow.csv import write_csv

from knn_metric.data import census
from knn_metric.detection.calibration import rank_fields
from knn_metric.detection.surprise import FieldSurprise
from knn_metric.history.output import SCORES as OUTPUT


class TestScores:
    @pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
    def test_they_are_the_detectors_own(self, name, scoring, history, detector, rows, tmp_path):
        WRITERS[name](history, tmp_path / name)
        result = scoring(tmp_path / name, "--rows-per-block", 64)
        assert result.status == 0, result.err
        found = read(tmp_path / "out")
        assert found.column_names == ["_hs_request_id", "_hs_timestamp", *SCORES]
        assert found["_hs_request_id"].equals(history["_hs_request_id"])
        times = found["_hs_timestamp"]  # text in a text file
        assert times.cast(pa.int64()).equals(history["_hs_timestamp"])
        assert found["row"].to_pylist() == list(range(500))
        assert set(found["file"].to_pylist()) == {str(tmp_path / name)}
        expected = detector.decision_function(rows[:500])
        alarms = expected > detector.threshold_
        assert found["value"].to_pylist() == expected.tolist()
        assert found["alarm"].to_pylist() == alarms.tolist()
        assert found["p_value"].to_pylist() == detector.p_value(expected).tolist()
        tops = np.full(500, None)
        surprises = FieldSurprise.of(detector).surprise(rows[:500][alarms])
        ranks = rank_fields(detector.calibration_, surprises)
        tops[alarms] = detector.feature_names_in_[ranks.argmax(axis=1)]
        assert found["top_feature"].to_pylist() == tops.tolist()
        assert not (tmp_path / "out" / "rejected").exists()
        assert len(list((tmp_path / "out").iterdir())) > 4

    @pytest.mark.parametrize("rows_per_block", [7, 129, 10_000])
    @pytest.mark.parametrize("name", WRITERS)
    def test_blocks_hold_each_row_once(self, name, rows_per_block, history, tmp_path):
        WRITERS[name](history, tmp_path / name)
        kept = read_all(tmp_path, *census.FEATURES, rows=rows_per_block).kept
        assert kept["_hs_request_id"].to_pylist() == history["_hs_request_id"].to_pylist()
        assert kept["row"].to_pylist() == list(range(500))

    def test_the_table_and_the_picture(self, scoring, history, detector, rows, tmp_path):
        parquet.write_table(history, tmp_path / "rows.parquet")
        result = scoring(tmp_path / "rows.parquet")
        alarms = int(np.sum(detector.decision_function(rows[:500]) > detector.threshold_))
        lines = [" ".join(line.split()) for line in result.out.splitlines()]
        assert lines[:2] == ["rows 500", "scored 500"]
        assert lines[2].startswith(f"alarms {alarms} {alarms / 500:.2%}, ")
        assert lines[3].startswith("top features ")
        first = detector.decision_function(rows[:12]) > detector.threshold_
        days = [line.split()[:3] for line in lines if line.startswith("2020-")]
        assert days[0] == ["2020-09-13", "12", str(first.sum())]
        assert sum(int(day[1]) for day in days) == 500
        assert (tmp_path / "out.png").read_bytes().startswith(PNG)

    def test_many_days_are_told_by_those_that_are_changed(self, scoring, history, tmp_path):
        age = np.where(np.arange(500) // 10 == 40, 12_000, history["age"].to_numpy())
        days = pa.array(BEGIN + 24 * HOUR * (np.arange(500) // 10))
        parquet.write_table(replace(history, age=age, _hs_timestamp=days), tmp_path / "a.parquet")
        result = scoring(tmp_path / "a.parquet")
        listed = [line.split() for line in result.out.splitlines() if line.startswith("2020-")]
        assert listed == [["2020-10-23", "10", "10", "100.00%", "changed:", "age"]]
        assert "1 of 50 days are changed" in result.out

    def test_files_folders_globs_and_urls(self, scoring, history, tmp_path):
        (tmp_path / "folder").mkdir()
        parquet.write_table(history.slice(0, 10), tmp_path / "folder" / "a.parquet")
        write_csv(history.slice(10, 10), tmp_path / "b1.csv")
        write_json(history.slice(20, 10), tmp_path / "b2.json")
        with fsspec.open("memory://c/c.parquet", "wb") as file:
            parquet.write_table(history.slice(30, 10), file)
        result = scoring(tmp_path / "folder", tmp_path / "b*", "memory://c/*.parquet")
        assert (result.status, result.err) == (0, "")
        ids = read(tmp_path / "out")["_hs_request_id"].to_pylist()
        assert ids == [f"request-{number}" for number in range(40)]

    def test_a_file_of_the_platforms_feature_lake(self, scoring, tmp_path):
        """As sonar wrote it, by parquet-mr 1.11.0: the scores are those of its own checks."""
        lake = Path(__file__).with_name("feature_lake.parquet")
        shutil.copy(lake, tmp_path / "again.parquet")
        keep = ("--keep", "_hs_metric_checks")
        result = scoring(lake, tmp_path, *keep, *keep)  # named twice, kept once
        assert result.status == 0
        assert [line.split()[:2] for line in result.out.splitlines()][1] == ["copies", "101"]
        found = read(tmp_path / "out")
        checks = [dict(one)["census_monitoring"] for one in found["_hs_metric_checks"].to_pylist()]
        assert found["value"].to_pylist() == [one["value"] for one in checks]
        assert len(found) == 101


class TestRejected:
    def test_no_row_is_lost(self, scoring, history, tmp_path):
        """Of 501 rows 497 are scored; the others are kept with their reason."""
        age, sex = history["age"].to_pylist(), history["sex"].to_pylist()
        age[7] = sex[7] = None
        sex[400] = None
        errors = ["cannot answer" if number == 300 else None for number in range(500)]
        times = ["n/a", *["2024-02-01T23:30:00-05:00"] * 499]
        table = replace(history, age=age, sex=sex, _hs_error=errors, _hs_timestamp=times)
        write_csv(table, tmp_path / "rows.csv")
        with (tmp_path / "rows.csv").open("a") as file:
            file.write("1,2,3\n")
        result = scoring(tmp_path / "rows.csv", "--rows-per-block", 64)
        assert result.status == 0, result.err
        assert len(read(tmp_path / "out")) == 497
        rejected = read(tmp_path / "out" / "rejected")
        names = ["row", "_hs_request_id", "age", "_hs_error", "line", "reason"]
        assert [tuple(row.values()) for row in rejected.select(names).to_pylist()] == [
            (7, "request-7", None, None, None, "age: missing; sex: missing"),
            (300, "request-300", str(age[300]), "cannot answer", None, "the target failed"),
            (400, "request-400", str(age[400]), None, None, "sex: missing"),
            (500, None, None, None, "1,2,3", "expected 16 cells, got 3"),
        ]
        lines = [line.split() for line in result.out.splitlines()]
        assert ["rejected", "4"] in lines
        assert ["1", "sex:", "missing"] in lines
        assert "2024-02-02     496" in result.out
        assert "1 scored rows have no day" in result.out

    def test_when_no_row_is_scored(self, scoring, history, tmp_path):
        table = history.set_column(12, "classes", pa.nulls(500))
        parquet.write_table(table, tmp_path / "rows.parquet")
        result = scoring(tmp_path / "rows.parquet")
        assert result.status == 2
        assert "500  classes: missing" in result.out
        assert len(read(tmp_path / "out" / "rejected")) == 500


class TestFaults:
    """One line, and no output where there was none; what was there stays."""

    @pytest.fixture
    def kept(self, scoring, history, tmp_path):
        parquet.write_table(history.slice(0, 10), tmp_path / "rows.parquet")
        assert scoring(tmp_path / "rows.parquet").status == 0
        before = read(tmp_path / "out")
        parquet.write_table(history, tmp_path / "rows.parquet")
        yield
        assert read(tmp_path / "out").equals(before)
        assert not list(tmp_path.glob(".tmp-*"))

    @pytest.mark.usefixtures("kept")
    def test_a_full_disk(self, scoring, tmp_path, monkeypatch):
        monkeypatch.setattr(Path, "write_bytes", Mock(side_effect=OSError(28, "No space left")))
        result = scoring(tmp_path / "rows.parquet", "--overwrite")
        assert_one_line(result, "the scores cannot be written: No space left")

    @pytest.mark.parametrize("name", ["out", "link"])
    def test_an_input_in_the_output(self, scoring, history, tmp_path, name):
        """Also where a link leads there, and though it looks like an earlier run's."""
        path = tmp_path / "out" / "part-00000.parquet"
        path.parent.mkdir()
        (tmp_path / "link").symlink_to(path.parent)
        for column in OUTPUT:
            history = history.append_column(column, pa.nulls(len(history)))
        parquet.write_table(history, path)
        result = scoring(tmp_path / name, "--overwrite")
        assert_one_line(result, "out holds an input: not replaced")
        assert parquet.read_table(path).equals(history)

    @pytest.mark.parametrize("name", ["part-0.parquet", "part-00000.parquet"])
    def test_a_folder_of_someone_elses_parquet(self, scoring, history, tmp_path, name):
        parquet.write_table(history, tmp_path / "rows.parquet")
        (tmp_path / "out").mkdir()
        parquet.write_table(history, tmp_path / "out" / name)
        result = scoring(tmp_path / "rows.parquet", "--overwrite")
        assert_one_line(result, "out holds more than scores: not replaced")
        assert parquet.read_table(tmp_path / "out" / name).equals(history)

    @pytest.mark.usefixtures("kept")
    def test_an_output_that_is_there(self, scoring, tmp_path):
        assert_one_line(scoring(tmp_path / "rows.parquet"), "out is there: --overwrite replaces it")
        (tmp_path / "out" / "mine.txt").touch()
        result = scoring(tmp_path / "rows.parquet", "--overwrite")
        assert_one_line(result, "out holds more than scores: not replaced")
        (tmp_path / "out" / "mine.txt").unlink()

    def test_a_picture_that_is_there_stays(self, scoring, tmp_path):
        (tmp_path / "out.png").write_text("mine")
        assert_one_line(scoring(tmp_path / "rows.parquet"), "out.png is there: --overwrite")
        assert (tmp_path / "out.png").read_text() == "mine"
        assert not (tmp_path / "out").exists()

    def test_an_output_is_replaced_whole(self, scoring, history, tmp_path):
        parquet.write_table(history, tmp_path / "rows.parquet")
        assert scoring(tmp_path / "rows.parquet", "--rows-per-block", 64).status == 0
        parquet.write_table(history.slice(0, 10), tmp_path / "rows.parquet")
        assert scoring(tmp_path / "rows.parquet", "--overwrite").status == 0
        assert len(read(tmp_path / "out")) == 10
        assert {path.name for path in tmp_path.iterdir()} == {"rows.parquet", "out", "out.png"}

    def test_a_damaged_page(self, scoring, history, tmp_path):
        """Found only while rows are read; nothing is left of those that were scored before."""
        path = tmp_path / "rows.parquet"
        parquet.write_table(history, path, row_group_size=100)
        damage(path, path)
        assert_one_line(scoring(path, "--rows-per-block", 100), path)
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ("", "FILE is missing, as in `knn-metric score requests.parquet`"),
            ("empty.csv", "empty.csv: no rows"),
            ("rows.parquet --keep user", "rows.parquet: no column user"),
            ("rows.parquet --keep value", "value cannot be kept"),
            ("rows.parquet --time never", "rows.parquet: no column never"),
            (
                "rows.parquet --time _hs_request_id",
                "--time _hs_request_id: no cell of that column is a time",
            ),
            ("rows.parquet --out /", "--out: / cannot be replaced"),
            ("rows.parquet --rows-per-block 0", "must be from 1"),
            ("rows.parquet --scheduler tcp://127.0.0.1:9", "no Dask scheduler answers"),
            ("rows.parquet --scheduler nonsense", "no Dask scheduler answers"),
        ],
    )
    def test_bad_arguments(self, arguments, words, scoring, history, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("knn_metric.history.cluster.PATIENCE", 0.5)
        parquet.write_table(history, "rows.parquet")
        Path("empty.csv").touch()
        assert_one_line(scoring(*arguments.split()), words)
        assert not (tmp_path / "out").exists()
