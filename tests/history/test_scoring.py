"""Scoring a history: the same rows from every format, nothing lost, complete or not at all."""

import json
import resource
from contextlib import contextmanager
from datetime import UTC, datetime

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from helpers import PNG, assert_one_line, damage, run
from histories import BEGIN, HOUR, SCORES, WRITERS, read, write_csv, write_json
from pyarrow import parquet

from knn_metric.data import census, validation
from knn_metric.data.survey import plan
from knn_metric.data.validation import PROBLEMS, read_numbers, read_rows
from knn_metric.detection.calibration import rank_fields
from knn_metric.detection.surprise import FieldSurprise
from knn_metric.history.output import SCORES as OUTPUT
from portable_knn import messages


def replace(table, **columns):
    """Return a table with other values in some columns."""
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    return table


class TestScores:
    @pytest.mark.parametrize("name", WRITERS)
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
        wanted, blocks = plan(
            [str(tmp_path)], dict.fromkeys(census.FEATURES, "int64"), [], rows_per_block
        )
        found = [part for block in blocks for part in read_rows(wanted, block, rows_per_block)]
        kept = pa.concat_tables(part.kept for part in found)
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
        day = datetime.fromtimestamp(BEGIN / 1000, UTC).toordinal() + 40
        assert listed == [
            [str(datetime.fromordinal(day).date()), "10", "10", "100.00%", "changed:", "age"]
        ]
        assert "1 of 50 days are changed" in result.out

    def test_days_of_the_only_column_that_holds_times(self, scoring, history, tmp_path):
        times = [f"2024-02-{1 + number // 250:02}T00:00:00Z" for number in range(500)]
        table = history.drop_columns(["_hs_timestamp"]).append_column("time", pa.array(times))
        write_csv(table, tmp_path / "rows.csv")
        result = scoring(tmp_path / "rows.csv")
        assert read(tmp_path / "out").column_names == ["_hs_request_id", *SCORES]
        days = [line.split()[:2] for line in result.out.splitlines() if line.startswith("2024-")]
        assert days == [["2024-02-01", "250"], ["2024-02-02", "250"]]

    def test_days_of_the_column_that_is_named(self, scoring, history, tmp_path):
        """Of two that hold times; a cell that is none has no day."""
        times = ["2024-02-01T23:30:00-05:00"] * 499 + ["n/a"]
        table = history.append_column("sent", pa.array(times))
        write_csv(table, tmp_path / "rows.csv")
        result = scoring(tmp_path / "rows.csv", "--time", "sent")
        assert "2024-02-02     499" in result.out
        assert "1 scored rows have no day" in result.out
        assert_one_line(scoring(tmp_path / "rows.csv", "--overwrite", "--time", "never"), "never")


class TestInputs:
    def test_the_feature_lake(self, scoring, history, detector, rows, tmp_path):
        """Folders by day, nullable integers, files that are none, another writer's types."""
        lake = tmp_path / "feature-lake" / "adult" / "1"
        for number in range(50):
            day = (
                lake / "_hs_year=2020" / f"_hs_month={1 + number // 25}" / f"_hs_day={number % 25}"
            )
            day.mkdir(parents=True)
            part = history.slice(10 * number, 10)
            if number == 3:
                part = part.set_column(0, "age", pa.array([None, *part["age"].to_pylist()[1:]]))
                part = part.set_column(
                    13, "_hs_request_id", part["_hs_request_id"].cast("large_string")
                )
            parquet.write_table(part, day / f"{number}.parquet")
            (day / "_SUCCESS").touch()
            (day / f".{number}.parquet.crc").touch()
        keep = ("--keep", "_hs_request_id", "--keep", "_hs_month")
        result = scoring(lake, *keep, "--rows-per-block", 64)
        assert result.status == 0, result.err
        found = read(tmp_path / "out")
        scores = dict(
            zip(found["_hs_request_id"].to_pylist(), found["value"].to_pylist(), strict=True)
        )
        expected = dict(enumerate(detector.decision_function(rows[:500]).tolist()))
        del expected[30]
        assert scores == {f"request-{number}": value for number, value in expected.items()}
        assert set(found["_hs_month"].to_pylist()) == {"1", "2"}
        (rejected,) = read(tmp_path / "out" / "rejected").to_pylist()
        assert (rejected["_hs_request_id"], rejected["reason"]) == ("request-30", "age: missing")

    def test_files_folders_globs_and_urls(self, scoring, history, tmp_path):
        (tmp_path / "folder").mkdir()
        parquet.write_table(history.slice(0, 10), tmp_path / "folder" / "a.parquet")
        write_csv(history.slice(10, 10), tmp_path / "b1.csv")
        write_json(history.slice(20, 10), tmp_path / "b2.json")
        with fsspec.open("memory://c/c.parquet", "wb") as file:
            parquet.write_table(history.slice(30, 10), file)
        result = scoring(tmp_path / "folder", tmp_path / "b*", "memory://c/*.parquet")
        assert result.status == 0, result.err
        ids = read(tmp_path / "out")["_hs_request_id"].to_pylist()
        assert ids == [f"request-{number}" for number in range(40)]


def refuse(value):
    """Return what `predict` says of a request with such a number."""
    with pytest.raises(ValueError) as caught:
        messages.read({"age": value}, ["age"])
    return str(caught.value)


class TestRejected:
    def test_the_reasons_are_those_of_predict(self):
        numbers = [None, np.nan, np.inf, 1e200, -1e19]
        _, problems = read_numbers(pa.chunked_array([numbers]))
        assert validation.INT64_LIMIT == messages.INT64_LIMIT
        said = [f"age: {PROBLEMS[problem]}" for problem in problems]
        assert said == ["age: missing", *map(refuse, numbers[1:])]
        assert refuse("x").startswith(f"age: {PROBLEMS[2]}")

    @pytest.mark.parametrize(
        ("text", "number"),
        [("38", 38), (" 38 ", 38), ("+3.8e1", 38), (".5", 0.5), ("x", None), ("0x26", None)],
    )
    def test_text_counts_as_the_number_that_it_spells(self, text, number):
        """Also beside text that spells none."""
        for column in ([text], [text, "no number", "1"]):
            values, problems = read_numbers(pa.chunked_array([pa.array(column)]))
            assert (values[0], problems[0]) == (number, 0) if number else problems[0] == 2

    def test_types_of_parquet(self, scoring, history, tmp_path):
        """A number is one in any type that Parquet may have it in."""
        columns = (
            pa.array([True]),
            pa.array([1.0], pa.float32()),
            pa.array([1], pa.uint8()),
            pa.array(["1"]).dictionary_encode(),
            pa.array([1]).cast(pa.decimal128(25, 2)),
            pa.array([[1]]),
        )
        for number, column in enumerate(columns):
            table = history.slice(0, 1).set_column(0, "age", column)
            parquet.write_table(table, tmp_path / f"{number}.parquet")
        assert scoring(tmp_path).status == 0
        assert len(set(read(tmp_path / "out")["value"].to_pylist())) == 1
        (rejected,) = read(tmp_path / "out" / "rejected").to_pylist()
        assert (rejected["age"], rejected["reason"]) == ("[1]", "age: not numeric")

    @pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.jsonl", "mongo.json"])
    def test_no_row_is_lost(self, name, scoring, history, tmp_path):
        """Of 500 rows 497 are scored; the others are kept with their reason."""
        age, sex = history["age"].to_pylist(), history["sex"].to_pylist()
        age[7] = sex[7] = None
        sex[400] = None
        errors = ["cannot answer" if number == 300 else None for number in range(500)]
        table = replace(history, age=age, sex=sex, _hs_error=pa.array(errors, pa.string()))
        WRITERS[name](table, tmp_path / name)
        result = scoring(tmp_path / name, "--rows-per-block", 64)
        assert result.status == 0, result.err
        assert len(read(tmp_path / "out")) == 497
        rejected = read(tmp_path / "out" / "rejected").to_pylist()
        assert [(row["_hs_request_id"], row["reason"]) for row in rejected] == [
            ("request-7", "age: missing; sex: missing"),
            ("request-300", "the target failed"),
            ("request-400", "sex: missing"),
        ]
        assert rejected[1]["_hs_error"] == "cannot answer"
        assert rejected[2]["age"] == str(age[400])
        lines = [line.split() for line in result.out.splitlines()]
        assert ["rejected", "3"] in lines
        assert ["1", "sex:", "missing"] in lines

    def test_lines_that_are_no_rows(self, scoring, history, tmp_path):
        write_csv(history.slice(0, 10), tmp_path / "rows.csv")
        write_json(history.slice(10, 10), tmp_path / "rows.jsonl")
        with (tmp_path / "rows.csv").open("a") as file:
            file.write("1,2,3\n")
        with (tmp_path / "rows.jsonl").open("a") as file:
            file.write('{"age": 3\n[1, 2]\n\n')
        assert scoring(tmp_path / "rows.csv", tmp_path / "rows.jsonl").status == 0
        assert len(read(tmp_path / "out")) == 20
        rejected = read(tmp_path / "out" / "rejected").to_pylist()
        assert [(row["line"], row["reason"].split(":")[0]) for row in rejected] == [
            ("1,2,3", "expected 16 cells, got 3"),
            ('{"age": 3', "no JSON object"),
            ("[1, 2]", "no JSON object"),
        ]
        assert [row["file"].rsplit(".")[-1] for row in rejected] == ["csv", "jsonl", "jsonl"]

    def test_when_no_row_is_scored(self, scoring, history, tmp_path):
        table = history.set_column(12, "classes", pa.nulls(500))
        parquet.write_table(table, tmp_path / "rows.parquet")
        result = scoring(tmp_path / "rows.parquet")
        assert result.status == 2
        assert "500  classes: missing" in result.out
        assert len(read(tmp_path / "out" / "rejected")) == 500


@contextmanager
def full_disk(size):
    """Let no file grow beyond a size, as a disk that is full would not."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


class TestFaults:
    """One line, and no output where there was none; what was there stays."""

    @pytest.fixture
    def kept(self, scoring, history, tmp_path):
        """An earlier output, looked at again after the test."""
        parquet.write_table(history.slice(0, 10), tmp_path / "rows.parquet")
        assert scoring(tmp_path / "rows.parquet").status == 0
        before = read(tmp_path / "out")
        parquet.write_table(history, tmp_path / "rows.parquet")
        yield
        assert read(tmp_path / "out").equals(before)
        assert not list(tmp_path.glob(".tmp-*"))

    @pytest.mark.usefixtures("kept")
    def test_a_full_disk(self, scoring, tmp_path):
        with full_disk(2000):
            result = scoring(tmp_path / "rows.parquet", "--overwrite")
        assert_one_line(result, "the scores cannot be written: File too large")

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

    @pytest.mark.usefixtures("kept")
    def test_an_output_with_more_in_it(self, scoring, tmp_path):
        (tmp_path / "out" / "mine.txt").touch()
        result = scoring(tmp_path / "rows.parquet", "--overwrite")
        assert_one_line(result, "out holds more than scores: not replaced")
        (tmp_path / "out" / "mine.txt").unlink()

    def test_an_output_is_replaced_whole(self, scoring, history, tmp_path):
        parquet.write_table(history, tmp_path / "rows.parquet")
        assert scoring(tmp_path / "rows.parquet", "--rows-per-block", 64).status == 0
        parquet.write_table(history.slice(0, 10), tmp_path / "rows.parquet")
        assert scoring(tmp_path / "rows.parquet", "--overwrite").status == 0
        assert len(read(tmp_path / "out")) == 10
        assert {path.name for path in tmp_path.iterdir()} == {"rows.parquet", "out", "out.png"}

    @pytest.mark.parametrize("cut", [100, -100], ids=["begins", "ends"])
    def test_a_truncated_file_among_good_ones(self, cut, scoring, history, tmp_path):
        for number in range(3):
            path = tmp_path / f"{number}.parquet"
            parquet.write_table(history.slice(100 * number, 100), path)
        path = tmp_path / "1.parquet"
        path.write_bytes(path.read_bytes()[:cut])
        assert_one_line(scoring(tmp_path), path)
        assert not (tmp_path / "out").exists()

    def test_a_damaged_page(self, scoring, history, tmp_path):
        """Found only while rows are read; nothing is left of those that were scored before."""
        path = tmp_path / "rows.parquet"
        parquet.write_table(history, path, row_group_size=100)
        damage(path, path)
        assert_one_line(scoring(path, "--rows-per-block", 100), path)
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.jsonl"])
    def test_a_file_without_the_columns(self, name, scoring, history, tmp_path):
        WRITERS[name](history.drop_columns(["race", "sex"]), tmp_path / name)
        assert_one_line(scoring(tmp_path / name), f"{name}: no column race, sex")

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ("", "FILE is missing, as in `knn-metric score requests.parquet`"),
            ("nowhere.parquet", "nowhere.parquet: No such file"),
            ("nowhere*", "nowhere*: no Parquet, CSV or JSON lines file"),
            ("folder", "folder: no Parquet, CSV or JSON lines file"),
            ("folder/notes.txt", "notes.txt: expected a name that ends in"),
            ("s3://bucket/rows.parquet", "s3fs"),
            ("nothing://rows.parquet", "nothing"),
            ("empty.parquet", "empty.parquet"),
            ("empty.csv", "empty.csv: no rows"),
            ("rows.parquet --keep user", "rows.parquet: no column user"),
            ("rows.parquet --keep value", "value cannot be kept"),
            ("rows.parquet --rows-per-block 0", "must be from 1"),
            ("rows.parquet --scheduler tcp://127.0.0.1:9", "no Dask scheduler answers"),
            ("rows.parquet --scheduler nonsense", "no Dask scheduler answers"),
            ("rows.parquet words.parquet --keep note", "note cannot be kept: it is bool in"),
            ("rows.parquet utf16.csv", "utf16.csv: ValueError: expected UTF-8, got UTF-16"),
            ("rows.parquet semicolons.csv", "expected commas between columns, got ';'"),
            ("rows.parquet headless.csv", "expected a header that names the columns"),
            ("rows.parquet cr.csv", "expected lines that end in LF or CRLF"),
            ("rows.parquet other.csv", "the file's columns are user, time"),
            ("rows.parquet cells.csv", "cells.csv"),
            ("rows.parquet twice.csv", "two columns are named age"),
        ],
    )
    def test_bad_arguments(self, arguments, words, scoring, history, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("knn_metric.history.cluster.PATIENCE", 0.5)
        (tmp_path / "folder").mkdir()
        for name in ("folder/notes.txt", "empty.parquet", "empty.csv"):
            (tmp_path / name).touch()
        numbers = [True] * 500
        parquet.write_table(history.append_column("note", pa.array(numbers)), "rows.parquet")
        notes = pa.array([7] * 500)
        parquet.write_table(history.append_column("note", notes), "words.parquet")
        write_csv(history.append_column("age", notes), tmp_path / "twice.csv")
        contents = {
            "utf16": "age,sex".encode("utf-16"),
            "semicolons": b"age;sex\n1;2\n",
            "headless": b"39,1,2\n40,1,2\n",
            "cr": b"age,sex\r1,2\r",
            "other": b"user,time\nx,y\n",
            "cells": b"age," + b"x" * 140_000 + b"\n1,2\n",
        }
        for name, content in contents.items():
            (tmp_path / f"{name}.csv").write_bytes(content)
        assert_one_line(scoring(*arguments.split()), words)
        assert not (tmp_path / "out").exists()


def test_a_file_that_begins_with_failed_requests(scoring, rows, tmp_path):
    """The platform keeps no fields of them, and lists the newest first."""
    failed = [json.dumps({"_hs_request_id": f"f{n}", "_hs_error": "x" * 600}) for n in range(150)]
    good = json.dumps(
        {name: int(code) for name, code in zip(census.FEATURES, rows[0], strict=True)}
    )
    (tmp_path / "all.jsonl").write_text("\n".join([*failed, good, "[" * 100_000]))
    (tmp_path / "failed.jsonl").write_text("\n".join(failed))
    result = scoring(tmp_path / "all.jsonl", tmp_path / "failed.jsonl")
    assert (result.status, result.err) == (0, "")
    rejected = pa.concat_tables(map(parquet.read_table, (tmp_path / "out").glob("rejected/*")))
    assert len(rejected) == 301
    assert "no JSON object: nested too deep" in rejected.column("reason").to_pylist()
    assert sum(len(parquet.read_table(path)) for path in (tmp_path / "out").glob("part-*")) == 1


def test_a_column_to_keep_that_is_named_twice(scoring, history, tmp_path):
    parquet.write_table(history, tmp_path / "rows.parquet")
    assert scoring(tmp_path / "rows.parquet", "--keep", "age", "--keep", "age").status == 0


def test_an_output_without_a_name():
    assert_one_line(run("score", "rows.csv", "--out", "/"), "--out: / cannot be replaced")
