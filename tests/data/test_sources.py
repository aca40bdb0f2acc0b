"""Which files names, folders, globs and links mean: each file once, and only what is rows."""

import os

import pyarrow as pa
import pytest
from histories import read_all
from pyarrow import parquet

from knn_metric.cli import UserError


@pytest.fixture(autouse=True)
def folder(tmp_path):
    write_ages(tmp_path / "day" / "a.parquet")
    return tmp_path / "day"


def write_ages(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table({"age": [1]}), path)


def test_links(folder, tmp_path):
    (tmp_path / "latest").symlink_to("day")
    (tmp_path / "a.parquet").symlink_to("day/a.parquet")
    (folder / "up").symlink_to(tmp_path)
    write_ages(tmp_path / "elsewhere" / "b.parquet")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    assert len(read_all(tmp_path, "age")) == len(read_all(folder, "age")) == 2


def test_odd_names_are_names(tmp_path):
    """`::` is no chain of fsspec's here, and `.csv` has no other ending."""
    write_ages(tmp_path / "a::b.parquet")
    (tmp_path / ".csv").write_text("age\n1\n")
    assert len(read_all(tmp_path / "a::b.parquet", "age")) == 1
    assert len(read_all(tmp_path / ".csv", "age")) == 1


@pytest.mark.parametrize("name", ["", "/*"])
def test_what_is_not_read_is_named(name, folder, capsys):
    hidden = () if name else ("_SUCCESS", ".hidden.orc")
    for other in ("b.orc", "c.orc", "README", *hidden):
        (folder / other).touch()
    assert len(read_all(f"{folder}{name}", "age")) == 1
    words = "files that are not read: 2 .orc, 1 no ending"
    assert capsys.readouterr().err == f"{folder}{name}: {words}\n"


def test_pipes_are_passed_over(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    assert len(read_all(tmp_path, "age")) == 1
    with pytest.raises(UserError, match="expected a file or a folder, got a pipe"):
        read_all(tmp_path / "pipe.csv", "age")


def test_names_of_partitions_are_decoded(tmp_path):
    for name in ("New%20York", "__HIVE_DEFAULT_PARTITION__"):
        write_ages(tmp_path / "cities" / f"city={name}" / "a.parquet")
    kept = read_all(tmp_path / "cities", "age", keep=["city"]).kept
    assert kept["city"].to_pylist() == ["New York", None]


def test_a_delta_table(folder):
    (folder / "_delta_log").mkdir()
    (folder / "_delta_log" / "0.json").touch()
    with pytest.raises(UserError, match=r"a table, whose _delta_log .*: expected plain Parquet"):
        read_all(folder, "age")


def test_scores_of_an_earlier_run_are_left_out(tmp_path, capsys):
    own = ["age", "file", "row"]
    for last in (["value", "alarm", "p_value", "top_feature"], ["line", "reason"]):
        names = [*own, *last]
        parquet.write_table(pa.table([[1]] * len(names), names), tmp_path / f"{last[0]}.parquet")
    assert len(read_all(tmp_path, "age")) == 1
    assert capsys.readouterr().err == "2 files of scores are not read\n"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.parquet", r"nowhere\.parquet: No such file"),
        ("nowhere*", r"nowhere\*: no Parquet, CSV or JSON lines file"),
        ("empty", "empty: no Parquet, CSV or JSON lines file"),
        ("notes.txt", r"notes\.txt: .*expected a name that ends in"),
        ("s3://bucket/rows.parquet", r"s3://bucket/rows\.parquet: .*s3fs"),
        ("nothing://rows.parquet", "nothing"),
        ("zip://a.csv::/nowhere/a.zip", "unpack it first"),
    ],
)
def test_what_cannot_be_read(name, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=words):
        read_all(name, "age")
