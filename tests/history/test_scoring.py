"""Scoring a history: the same rows from every format, nothing lost, complete or not at all."""

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pytest
from helpers import (
    BEGIN,
    HOUR,
    PNG,
    assert_one_line,
    damage,
    read_files,
    read_scores,
    replace,
    write_json,
)
from matplotlib.axes import Axes
from pyarrow import parquet
from pyarrow.csv import write_csv

from knn_metric.data import census
from knn_metric.data.survey import SCORES as LAST
from knn_metric.detection.calibration import rank_fields
from knn_metric.detection.surprise import FieldSurprise
from knn_metric.files import replacing_folder


@pytest.fixture(scope="module")
def history(rows):
    """500 requests, one an hour, as the platform records them: name, type and values by column."""
    columns = dict(zip(census.FEATURES, rows[:500].T, strict=True))
    columns["_hs_request_id"] = [f"request-{number}" for number in range(500)]
    columns["_hs_timestamp"] = [BEGIN + HOUR * number for number in range(500)]
    columns["_hs_error"] = pa.nulls(500, pa.string())
    return pa.table(columns)


class TestScores:
    def test_they_are_the_detectors_own(self, scoring, history, detector, rows, tmp_path):
        parquet.write_table(history, tmp_path / "rows.parquet", row_group_size=130)
        page = tmp_path / "page.html"
        result = scoring(tmp_path / "rows.parquet", "--rows-per-block", 64, "--report", page)
        assert (result.status, result.err) == (0, "")
        expected = detector.decision_function(rows[:500])
        alarms = expected > detector.threshold_
        surprises = FieldSurprise.of(detector).surprise(rows[:500][alarms])
        ranks = rank_fields(detector.calibration_, surprises)
        tops = np.full(500, None)
        tops[alarms] = detector.feature_names_in_[ranks.argmax(axis=1)]
        assert read_scores(tmp_path / "out").to_pydict() == {
            **{name: history[name].to_pylist() for name in ("_hs_request_id", "_hs_timestamp")},
            "file": [str(tmp_path / "rows.parquet")] * 500,
            "row": list(range(500)),
            "value": expected.tolist(),
            "alarm": alarms.tolist(),
            "p_value": detector.p_value(expected).tolist(),
            "top_feature": tops.tolist(),
        }
        assert not (tmp_path / "out" / "rejected").exists()
        assert (tmp_path / "out.png").read_bytes().startswith(PNG)
        lines = [" ".join(line.split()) for line in result.out.splitlines()]
        assert lines[:2] == ["rows 500", "scored 500"]
        assert lines[2].startswith(f"alarms {alarms.sum()} {alarms.mean():.2%}, ")
        days = [line.split()[0] for line in lines if line.startswith("2020-")]
        assert all(f"<td>{text}<" in page.read_text() for text in ("scored", "top features", *days))
        assert lines[3].startswith("top features ")
        days = [line.split()[:3] for line in lines if line.startswith("2020-")]
        assert days[0] == ["2020-09-13", "12", str(alarms[:12].sum())]
        assert sum(int(day[1]) for day in days) == 500

    def test_many_days_are_told_by_those_that_are_changed(self, scoring, history, tmp_path):
        age = np.where(np.arange(500) // 10 == 40, 12_000, history["age"].to_numpy())
        days = pa.array(BEGIN + 24 * HOUR * (np.arange(500) // 10))
        parquet.write_table(replace(history, age=age, _hs_timestamp=days), tmp_path / "a.parquet")
        result = scoring(tmp_path / "a.parquet")
        listed = [line.split() for line in result.out.splitlines() if line.startswith("2020-")]
        assert listed == [["2020-10-23", "10", "10", "100.00%", "changed:", "age"]]
        assert "1 of 50 days are changed" in result.out

    def test_a_day_with_few_rows_is_no_spike(self, scoring, history, tmp_path, monkeypatch):
        """One row of two raises an alarm, 50%: the interval is drawn, and the axis ends before."""
        ends = Mock(side_effect=Axes.set_ylim, autospec=True)
        monkeypatch.setattr(Axes, "set_ylim", lambda *a, **k: ends(*a, **k))
        age = np.where(np.arange(500) == 499, 12_000, history["age"].to_numpy())
        days = pa.array(BEGIN + 24 * HOUR * (np.arange(500) // 249))
        parquet.write_table(replace(history, age=age, _hs_timestamp=days), tmp_path / "a.parquet")
        assert "50.00%" in scoring(tmp_path / "a.parquet").out
        assert 5 < ends.call_args.args[-1] < 20

    def test_a_file_of_the_platforms_feature_lake(self, scoring, tmp_path):
        """As sonar wrote it, by parquet-mr 1.11.0: the scores are those of its own checks."""
        lake = Path(__file__).with_name("feature_lake.parquet")
        shutil.copy(lake, tmp_path / "again.parquet")
        keep = ("--keep", "_hs_metric_checks")
        result = scoring(lake, tmp_path, *keep, *keep)  # named twice, kept once
        assert result.status == 0
        assert [line.split()[:2] for line in result.out.splitlines()][1] == ["copies", "101"]
        found = read_scores(tmp_path / "out")
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
        assert len(read_scores(tmp_path / "out")) == 497
        rejected = read_scores(tmp_path / "out" / "rejected")
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
        most = ("--most-rejected", 0.007, "--overwrite")
        assert_one_line(
            scoring(tmp_path / "rows.csv", *most),
            "4 of 501 rows of",
            "--most-rejected 0.01 allows as many",
        )

    def test_when_no_row_is_scored(self, scoring, history, tmp_path):
        table = replace(history, classes=pa.nulls(500))
        parquet.write_table(table, tmp_path / "rows.parquet")
        result = scoring(tmp_path / "rows.parquet")
        assert result.status == 2
        assert "500  classes: missing" in result.out
        assert len(read_scores(tmp_path / "out" / "rejected")) == 500

    @pytest.fixture
    def folder(self, history, tmp_path):
        """Three files that can be read, and five that cannot, or not to their end."""
        folder = tmp_path / "history"
        folder.mkdir()
        parquet.write_table(history.slice(0, 100), folder / "a.parquet")
        write_csv(history.slice(100, 100), folder / "b.csv")
        write_json(history.slice(200, 100), folder / "c.json")
        without_ids = history.drop_columns("_hs_request_id")
        parquet.write_table(without_ids, folder / "paged.parquet", row_group_size=100)
        damage(folder / "paged.parquet", folder / "paged.parquet")
        (folder / "cut.parquet").write_bytes((folder / "a.parquet").read_bytes()[:-100])
        (folder / "cut.csv").write_text("age,workcl\n1,2")
        write_csv(pa.concat_tables([without_ids] * 4), tmp_path / "long.csv")
        for name, path in (("cut", folder / "b.csv"), ("long", tmp_path / "long.csv")):
            (folder / f"{name}.csv.gz").write_bytes(gzip.compress(path.read_bytes())[:-100])
        return folder

    def test_files_that_cannot_be_read_are_left_out(self, scoring, folder, tmp_path):
        """By name, with status 1; of one that is damaged further on, what stands before is read."""
        result = scoring(folder, "--rows-per-block", 100)
        assert (result.status, result.err) == (1, "")
        scored = read_scores(tmp_path / "out")
        assert len(scored.filter(scored["_hs_request_id"].is_valid())) == 300
        names = {"cut.csv", "cut.csv.gz", "cut.parquet", "long.csv.gz", "paged.parquet"}
        assert str(folder / "paged.parquet") in scored["file"].to_pylist()
        rejected = read_scores(tmp_path / "out" / "rejected").to_pylist()
        assert {Path(one["file"]).name for one in rejected} == names
        assert {one["row"] for one in rejected} == {-1}
        assert "files left out    5" in result.out
        assert all(f"1  {folder / name}: " in result.out for name in names)

    @pytest.mark.parametrize("names", ["cut.*", "paged.parquet", "long.csv.gz", "*"])
    def test_too_many_of_them(self, names, scoring, folder, tmp_path):
        options = ("--most-rejected", 0.6) if names == "*" else ()
        assert_one_line(scoring(folder / names, "--rows-per-block", 100, *options), folder)
        assert not list(tmp_path.glob("out*"))


class TestFaults:
    """One line, and no output where there was none; what was there stays."""

    @pytest.mark.parametrize(
        ("path", "columns", "arguments", "words"),
        [
            ("out/part-00000.parquet", LAST, "out --overwrite", "out holds an input: not replaced"),
            ("out/part-00000.parquet", LAST, "link --overwrite", "out holds an input: not repl"),
            ("out/part-00000.parquet", LAST, "rows.parquet", "out is there: --overwrite replaces"),
            ("out/part-00000.parquet", [], "rows.parquet --overwrite", "holds more than scores: "),
            ("out/mine.txt", LAST, "rows.parquet --overwrite", "out holds more than scores: not "),
            ("out.png", [], "rows.parquet", "out.png is there: --overwrite"),
        ],
    )
    def test_what_is_not_replaced(
        self, path, columns, arguments, words, scoring, history, tmp_path, monkeypatch
    ):
        """Of inputs those too that look like what an earlier run wrote."""
        monkeypatch.chdir(tmp_path)
        parquet.write_table(history, "rows.parquet")
        Path(path).parent.mkdir(exist_ok=True)
        for column in columns:
            history = history.append_column(column, pa.nulls(len(history)))
        parquet.write_table(history, path)
        Path("link").symlink_to("out")
        before = read_files(tmp_path)
        assert_one_line(scoring(*arguments.split()), words)
        assert read_files(tmp_path) == before

    def test_an_output_is_replaced_whole(self, scoring, history, tmp_path, monkeypatch):
        """Or not at all, as on a full disk, or while another run writes it."""
        path = tmp_path / "rows.parquet"
        parquet.write_table(history.slice(0, 200), path)
        assert scoring(path, "--rows-per-block", 64).status == 0
        parquet.write_table(history.slice(0, 10), path)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", Mock(side_effect=OSError(28, "No space left")))
            result = scoring(path, "--overwrite")
            assert_one_line(result, "the scores cannot be written: No space left")
        with pytest.raises(KeyError), replacing_folder(tmp_path / "out"):  # noqa: PT012
            assert_one_line(scoring(path, "--overwrite"), "out is being written by another process")
            raise KeyError
        assert len(read_scores(tmp_path / "out")) == 200
        assert scoring(path, "--overwrite").status == 0
        assert len(read_scores(tmp_path / "out")) == 10
        assert {path.name for path in tmp_path.iterdir()} == {"rows.parquet", "out", "out.png"}

    @pytest.mark.slow
    def test_the_environment(self, artifact, history, tmp_path):
        """Files have the umask's modes, and settings for a Dask cluster spoil nothing here."""
        parquet.write_table(history, tmp_path / "rows.parquet")
        environment = {
            **os.environ,
            "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
            "DASK_DISTRIBUTED__WORKER__PRELOAD": '["no_module"]',
            "DASK_TEMPORARY_DIRECTORY": "/proc/x",
        }
        line = [sys.executable, "-m", "knn_metric", "score", tmp_path / "rows.parquet"]
        line += ["--out", tmp_path / "out", "--package", artifact.parent]
        subprocess.run(line, env=environment, umask=0o077, check=True, capture_output=True)
        modes = {path.stat().st_mode & 0o777 for path in tmp_path.glob("out*/*.parquet")}
        assert modes == {(tmp_path / "out.png").stat().st_mode & 0o777} == {0o600}

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ("", "FILE is missing, as in `knn-metric score requests.parquet`"),
            ("empty.csv", "empty.csv: no rows"),
            ("rows.parquet --keep user", "rows.parquet: no column user"),
            ("rows.parquet --keep value", "value cannot be kept"),
            ("rows.parquet --time never", "rows.parquet: no column never"),
            ("rows.parquet --time _hs_request_id", "_hs_request_id: no cell of that column"),
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
