"""What a history may hold: odd cells, times, types, and files of many names."""

import bz2
import gzip
import json
import lzma
import os
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from helpers import assert_one_line
from histories import read, write_csv
from pyarrow import parquet

from knn_metric.cli import UserError
from knn_metric.data import census, readers
from knn_metric.data.survey import plan
from knn_metric.data.validation import read_numbers, read_rows


def test_each_file_has_times_of_its_own_type(scoring, history, tmp_path):
    """Milliseconds here, an instant there: the same days."""
    place = history.column_names.index("_hs_timestamp")
    times = history.column("_hs_timestamp").cast(pa.timestamp("ms"))
    for name, kind in (("b", pa.timestamp("ns")), ("c", pa.timestamp("us", "UTC"))):
        dated = history.set_column(place, "when", times.cast(kind))
        parquet.write_table(dated, tmp_path / f"{name}.parquet")
        result = scoring(tmp_path / f"{name}.parquet", "--overwrite")
        assert "2020-09-13      12" in result.out
    parquet.write_table(history, tmp_path / "a.parquet")
    times = history.set_column(place, "_hs_timestamp", times)
    parquet.write_table(times, tmp_path / "d.parquet")
    result = scoring(tmp_path / "a.parquet", tmp_path / "d.parquet", "--overwrite")
    assert_one_line(result, "_hs_timestamp cannot be kept", "int64", "timestamp", "d.parquet")


@pytest.mark.parametrize("rows_per_block", [7, 1000])
def test_a_quoted_line_break_is_part_of_its_cell(rows_per_block, scoring, rows, tmp_path):
    """Wherever blocks part; a quote within a cell is one of its characters."""
    notes = [f'"a\n""{number}"' if number % 3 else f'6" pipe {number}' for number in range(40)]
    lines = [",".join(["note", *census.FEATURES])]
    lines += [f"{note}," + ",".join(map(str, row)) for note, row in zip(notes, rows, strict=False)]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    options = ("--keep", "note", "--rows-per-block", rows_per_block)
    result = scoring(tmp_path / "rows.csv", *options)
    assert (result.status, result.err) == (0, "")
    found = read(tmp_path / "out")
    expected = [f'a\n"{n}' if n % 3 else f'6" pipe {n}' for n in range(40)]
    assert found["note"].to_pylist() == expected
    assert found["row"].to_pylist() == list(range(40))


class TestOddCells:
    """One odd cell rejects its row at most."""

    def test_of_csv(self, scoring, rows, tmp_path):
        lines = [b",".join([b"note", *(name.encode() for name in census.FEATURES)])]
        lines += [b"x," + b",".join(str(code).encode() for code in row) for row in rows[:20]]
        lines[5] = lines[5].replace(b"x,", b"caf\xe9,")
        lines[7] = b"x,\xe9" + lines[7][2:]
        lines[9] += b",\xe9"
        lines[11] = lines[11].replace(b"x,", b'"' + b"y" * 2_000_000 + b'",')
        (tmp_path / "rows.csv").write_bytes(b"\n".join(lines))
        result = scoring(tmp_path / "rows.csv", "--keep", "note")
        assert (result.status, result.err) == (0, "")
        rejected = parquet.read_table(tmp_path / "out" / "rejected")
        assert dict(zip(*rejected.select(["row", "reason"]).to_pydict().values(), strict=True)) == {
            6: "age: not numeric",
            8: "expected 14 cells, got 15",
        }
        found = read(tmp_path / "out")
        assert found["row"].to_pylist() == [n for n in range(20) if n not in (6, 8)]
        assert found["note"].to_pylist()[4] == "caf\ufffd"

    def test_of_json(self, scoring, rows, tmp_path):
        records = [dict(zip(census.FEATURES, row.tolist(), strict=True)) for row in rows[:20]]
        records[3]["_hs_request_id"] = "\ud83d"
        records[5]["age"] = "\ud83d"
        records[7]["_hs_timestamp"] = "n/a"
        records[9]["_hs_timestamp"] = {"$date": "2026-03-01T23:30:00-05:00"}
        records[11]["late"] = 5
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
        result = scoring(tmp_path / "rows.jsonl", "--keep", "late")
        assert (result.status, result.err) == (0, "")
        assert "2026-03-02       1" in result.out
        (reason,) = parquet.read_table(tmp_path / "out" / "rejected")["reason"].to_pylist()
        assert reason == "age: not numeric"
        assert read(tmp_path / "out")["late"].to_pylist()[10] == "5"

    def test_a_column_of_json_that_comes_late(self, scoring, rows, tmp_path):
        record = dict(zip(census.FEATURES, rows[0].tolist(), strict=True))
        lines = [json.dumps(record | ({"late": "x"} if n > 1500 else {})) for n in range(1600)]
        (tmp_path / "rows.jsonl").write_text("\n".join(lines))
        assert scoring(tmp_path / "rows.jsonl", "--keep", "late").status == 0
        assert read(tmp_path / "out")["late"].null_count == 1501


class TestFolders:
    def test_compressed_files_are_read(self, scoring, history, tmp_path):
        folder = tmp_path / "all"
        folder.mkdir()
        write_csv(history.slice(0, 100), folder / "p0.csv")
        for number, (ending, module) in enumerate(
            ((".gz", gzip), (".bz2", bz2), (".xz", lzma)), start=1
        ):
            write_csv(history.slice(100 * number, 100), tmp_path / "part.csv")
            with module.open(folder / f"p{number}.csv{ending}", "wb") as file:
                file.write((tmp_path / "part.csv").read_bytes())
        result = scoring(folder, "--rows-per-block", 30)
        assert (result.status, result.err) == (0, "")
        ids = read(tmp_path / "out")["_hs_request_id"].to_pylist()
        assert ids == history["_hs_request_id"].to_pylist()[:400]

    def test_what_is_not_read_is_named(self, scoring, history, tmp_path):
        folder = tmp_path / "all"
        folder.mkdir()
        parquet.write_table(history, folder / "a.parquet")
        for name in ("b.orc", "c.orc", "README", "_SUCCESS", ".hidden.orc"):
            (folder / name).touch()
        result = scoring(folder)
        assert result.status == 0
        assert result.err == f"{folder}: files that are not read: 2 .orc, 1 no ending\n"

    def test_links_are_followed_and_odd_names_are_names(self, scoring, history, tmp_path):
        """`::` is no chain of fsspec's here, and `.csv` is a name."""
        (tmp_path / "real" / "in").mkdir(parents=True)
        parquet.write_table(history.slice(0, 50), tmp_path / "real" / "in" / "a::b.parquet")
        write_csv(history.slice(50, 50), tmp_path / ".csv")
        (tmp_path / "all").mkdir()
        (tmp_path / "all" / "link").symlink_to(tmp_path / "real")
        result = scoring(tmp_path / "all", tmp_path / ".csv")
        assert (result.status, result.err) == (0, "")
        ids = read(tmp_path / "out")["_hs_request_id"].to_pylist()
        assert ids == history["_hs_request_id"].to_pylist()[:100]


class TestTypes:
    def test_of_parquet_that_pyarrow_cannot_filter(self, scoring, history, tmp_path):
        """A string_view column, and one row of two that is rejected."""
        table = history.slice(0, 2).append_column("note", pa.array(["a", "b"], pa.string_view()))
        table = table.set_column(0, "age", pa.array([39, None]))
        parquet.write_table(table, tmp_path / "rows.parquet")
        assert scoring(tmp_path / "rows.parquet", "--keep", "note").status == 0
        assert read(tmp_path / "out")["note"].to_pylist() == ["a"]

    def test_decimals_are_the_nearest_doubles(self):
        text = [f"0.{digits}" for digits in ("1" * 60, "123456789" * 6, "3" * 70)]
        column = pa.chunked_array([pa.array(map(Decimal, text), pa.decimal256(76, 70))])
        values, problems = read_numbers(column)
        assert values.tolist() == [float(one) for one in text]
        assert not problems.any()

    def test_kept_columns_are_widened_without_loss(self, scoring, history, tmp_path):
        values = {"a": pa.array([7, 8], pa.int8()), "b": pa.array([123_456_789, 2], pa.int64())}
        for name, column in values.items():
            table = history.slice(0, 2).append_column("note", column)
            parquet.write_table(table, tmp_path / f"{name}.parquet")
        assert scoring(tmp_path / "a.parquet", tmp_path / "b.parquet", "--keep", "note").status == 0
        assert read(tmp_path / "out")["note"].to_pylist() == [7, 8, 123_456_789, 2]

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (pa.array([True]), pa.array([7])),
            (pa.array([123_456_789]), pa.array([1.5], pa.float32())),
            (pa.array([2**63], pa.uint64()), pa.array([-1])),
            (pa.array([0], pa.timestamp("s")), pa.array([0], pa.timestamp("s", "UTC"))),
        ],
    )
    def test_others_are_refused_with_both_names(self, one, other, scoring, history, tmp_path):
        for name, column in (("a", one), ("b", other)):
            table = history.slice(0, 1).append_column("note", column)
            parquet.write_table(table, tmp_path / f"{name}.parquet")
        files = (tmp_path / "a.parquet", tmp_path / "b.parquet")
        assert_one_line(scoring(*files, "--keep", "note"), "note cannot be kept", *files)


class TestOutputs:
    def test_a_picture_that_is_there_stays(self, scoring, history, tmp_path):
        parquet.write_table(history, tmp_path / "rows.parquet")
        (tmp_path / "out.png").write_text("mine")
        assert_one_line(scoring(tmp_path / "rows.parquet"), "out.png is there: --overwrite")
        assert (tmp_path / "out.png").read_text() == "mine"
        assert not (tmp_path / "out").exists()


def test_days_of_a_long_file_of_json(scoring, rows, tmp_path):
    """Longer than what is looked at first, and without the platform's own time."""
    record = dict(zip(census.FEATURES, rows[0].tolist(), strict=True))
    lines = [json.dumps(record | {"time": "2026-03-02" if n else None}) for n in range(1500)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    assert "2026-03-02   1,499" in scoring(tmp_path / "rows.jsonl").out


@pytest.mark.parametrize(("ending", "module"), [("gz", gzip), ("bz2", bz2), ("xz", lzma)])
def test_a_damaged_compressed_file(ending, module, scoring, tmp_path):
    content = bytearray(module.compress(b"age,sex\n" + b"39,1\n" * 5000))
    content[len(content) // 2] ^= 255
    content[len(content) // 2 + 1] ^= 255
    path = tmp_path / f"rows.csv.{ending}"
    path.write_bytes(content)
    assert_one_line(scoring(path), path)


def test_a_glob_passes_other_files_over(scoring, history, tmp_path):
    parquet.write_table(history, tmp_path / "rows.parquet")
    (tmp_path / "README").touch()
    result = scoring(tmp_path / "*")
    passed_over = f"{tmp_path}/*: files that are not read: 1 no ending\n"
    assert (result.status, result.err) == (0, passed_over)


def test_a_field_called_like_a_column_that_is_written(tmp_path):
    columns = {"reason": ["1", "x"], "row": ["2", "2"]}
    write_csv(pa.table(columns), tmp_path / "rows.csv")
    wanted, blocks = plan([str(tmp_path)], dict.fromkeys(columns, "int64"), [], 10)
    (part,) = read_rows(wanted, blocks[0], 10)
    assert part.rejected["reason (input)"].to_pylist() == ["x"]
    assert part.rejected["reason"].to_pylist() == ["reason: not numeric"]


def test_a_chain_of_file_systems_is_refused(scoring):
    assert_one_line(scoring("zip://a.csv::/nowhere/a.zip"), "unpack it first")


def test_a_file_of_the_platforms_feature_lake(scoring, tmp_path):
    """As sonar wrote it, by parquet-mr 1.11.0: the scores are those of its own checks."""
    lake = Path(__file__).with_name("feature_lake.parquet")
    assert scoring(lake, "--keep", "_hs_metric_checks").status == 0
    found = read(tmp_path / "out")
    checks = [dict(one)["census_monitoring"] for one in found["_hs_metric_checks"].to_pylist()]
    assert found["value"].to_pylist() == [one["value"] for one in checks]
    assert len(found) == 101


class TestQuotes:
    """Rows that melt into one are refused; what only looks odd is read."""

    @pytest.mark.parametrize(
        ("lines", "row"),
        [
            ([r'1,0,"6\""', r'2,0,"7\""'], 0),
            ([r"1,0,x", r'"6\"",0,x', r'"7\"",0,x'], 1),
            (["1,0,x"] * 5 + ['1,0,"oops'] + ["2,0,x"] * 500, 5),
        ],
        ids=["last", "first", "open"],
    )
    def test_melted_rows(self, lines, row, tmp_path):
        (tmp_path / "a.csv").write_text("\n".join(["age,sex,note", *lines]))
        with pytest.raises(UserError, match=rf"a\.csv: .*row {row}, .* as two quotes"):
            read_all(tmp_path, "age")

    def test_a_carriage_return_within_a_cell(self, tmp_path):
        content = b'age,note\r\n1,a\rb\r\n2,"c\rd\r\ne"\r\n3,f\r\n'
        (tmp_path / "a.csv").write_bytes(content)
        kept = read_all(tmp_path, "age", keep=["note"]).kept
        assert kept["note"].to_pylist() == ["a\rb", "c\rd\r\ne", "f"]
        assert kept["row"].to_pylist() == [0, 1, 2]

    def test_a_row_that_is_longer_than_what_is_read_at_once(self, tmp_path, monkeypatch):
        rows = [f"{number},{'x' * (3000 if number == 700 else 3)}" for number in range(1000)]
        (tmp_path / "a.csv").write_text("\n".join(["age,note", *rows[:500], "1,2,3", *rows[500:]]))
        monkeypatch.setattr(readers, "CHUNKS", (500, 8000))
        part = read_all(tmp_path, "age")
        assert part.values[:, 0].tolist() == list(range(1000))
        assert part.rejected["row"].to_pylist() == [500]
        assert part.kept["row"].to_pylist() == [n for n in range(1001) if n != 500]
        monkeypatch.setattr(readers, "CHUNKS", (500, 1000))
        with pytest.raises(UserError, match=r"the row after line .* is longer than"):
            read_all(tmp_path, "age")


def read_all(path, *features, keep=(), kind="int64"):
    """Return the rows of files as one part."""
    wanted, blocks = plan([str(path)], dict.fromkeys(features, kind), keep, 10_000)
    (part,) = (part for block in blocks for part in read_rows(wanted, block, 10_000))
    return part


@pytest.mark.parametrize("word", ["NA", r"\N", "NULL", "None", ""])
def test_no_error_has_many_spellings(word, tmp_path):
    (tmp_path / "a.csv").write_text(f"age,_hs_error\n1,{word}\n2,broken\n")
    assert read_all(tmp_path, "age").rejected["row"].to_pylist() == [1]


def test_the_largest_integer_is_no_double(tmp_path):
    parquet.write_table(pa.table({"age": [2**63 - 1, -(2**63), 2**62]}), tmp_path / "a.parquet")
    part = read_all(tmp_path, "age")
    assert part.values[:, 0].tolist() == [-(2.0**63), 2.0**62]
    assert part.rejected["reason"].to_pylist() == [
        "age: expected a number within the contract's type"
    ]


def test_names_of_partitions_are_decoded(tmp_path):
    for name in ("New%20York", "__HIVE_DEFAULT_PARTITION__"):
        (tmp_path / f"city={name}").mkdir()
        parquet.write_table(pa.table({"age": [1]}), tmp_path / f"city={name}" / "a.parquet")
    assert read_all(tmp_path, "age", keep=["city"]).kept["city"].to_pylist() == ["New York", None]


class TestFiles:
    """Each file once, and only what is rows."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        (tmp_path / "day").mkdir()
        parquet.write_table(pa.table({"age": [1]}), tmp_path / "day" / "a.parquet")

    def test_links_to_it(self, tmp_path):
        (tmp_path / "latest").symlink_to("day")
        (tmp_path / "a.parquet").symlink_to("day/a.parquet")
        (tmp_path / "day" / "up").symlink_to(tmp_path)
        assert len(read_all(tmp_path, "age")) == 1

    def test_pipes_are_passed_over(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.csv")
        assert len(read_all(tmp_path, "age")) == 1
        with pytest.raises(UserError, match="expected a file or a folder, got a pipe"):
            read_all(tmp_path / "pipe.csv", "age")

    def test_a_delta_table(self, tmp_path):
        (tmp_path / "day" / "_delta_log").mkdir()
        (tmp_path / "day" / "_delta_log" / "0.json").touch()
        with pytest.raises(UserError, match=r"a Delta table, .*: expected plain Parquet"):
            read_all(tmp_path, "age")

    def test_scores_of_an_earlier_run(self, tmp_path, capsys):
        columns = {name: [1] for name in ("age", "file", "row", "value", "alarm", "p_value")}
        parquet.write_table(pa.table(columns | {"top_feature": [1]}), tmp_path / "part.parquet")
        columns = {name: [1] for name in ("age", "file", "row", "line", "reason")}
        parquet.write_table(pa.table(columns), tmp_path / "rejected.parquet")
        assert len(read_all(tmp_path, "age")) == 1
        assert capsys.readouterr().err == "2 files of scores are not read\n"


def test_a_column_without_times_is_no_time(scoring, history, tmp_path):
    write_csv(history, tmp_path / "rows.csv")
    result = scoring(tmp_path / "rows.csv", "--time", "_hs_request_id")
    assert_one_line(result, "--time _hs_request_id: no cell of that column is a time")
    assert not (tmp_path / "out").exists()
