"""The rows that a name means: the census, and tables under any contract."""

import csv
import hashlib
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from helpers import ROW, serving_files
from pyarrow import parquet

from knn_metric.cli import UserError
from knn_metric.contract import Contract, Field
from knn_metric.data import census
from knn_metric.data.census import load_census
from knn_metric.data.loading import load_rows
from knn_metric.files import ROOT

FIELDS = (
    Field("tenure", "double"),
    Field("usage", "float32"),
    Field("plan", "int8", profile="nominal"),
    Field("visits", "uint16"),
    Field("active", "bool"),
)


@pytest.fixture
def contract():
    return Contract("churn", "image", (), None, None, "predict", FIELDS, ())


@pytest.fixture(scope="module")
def census_contract():
    return Contract.read(ROOT)


@pytest.fixture
def table():
    random = np.random.default_rng(0)
    return pa.table(
        {
            "other": ["x"] * 50,
            "active": pa.array(random.integers(0, 2, 50).astype(bool)),
            "visits": pa.array(random.integers(0, 60_000, 50), pa.uint16()),
            "plan": pa.array(random.integers(-3, 4, 50), pa.int8()),
            "usage": pa.array(random.random(50), pa.float32()),
            "tenure": pa.array(random.normal(size=50)),
        }
    )


def write_csv(table, path):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, table.column_names)
        writer.writeheader()
        writer.writerows(table.to_pylist())


def write_json(table, path):
    path.write_text("\n".join(map(json.dumps, table.to_pylist())))


WRITERS = {"a.parquet": parquet.write_table, "a.csv": write_csv, "a.jsonl": write_json}


class TestCensus:
    def test_a_copy_of_the_sample_is_still_the_sample(self, tmp_path):
        copy = tmp_path / "mine.csv"
        copy.write_bytes(census.SAMPLE_PATH.read_bytes())
        assert load_census(str(copy)).source == "sample"

    def test_another_file_goes_by_its_name(self, tmp_path, census_contract):
        path = tmp_path / "mine.csv"
        path.write_text(ROW)
        rows = load_rows([str(path)], census_contract)
        assert rows.source == "mine.csv"
        assert rows.sha256 == hashlib.sha256(ROW.encode()).hexdigest()

    @pytest.mark.parametrize("name", ["uci", "sample"])
    def test_a_name_does_not_make_it_uci_or_the_sample(self, name, tmp_path):
        (tmp_path / name).write_text(ROW)
        assert load_census(str(tmp_path / name)).source == f"./{name}"

    def test_uci_goes_by_its_content(self, uci):
        rows = load_census(str(uci))
        assert (rows.source, len(rows)) == ("uci", 32561)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (ROW, "delete it to download it again"),
            (None, "ConnectionError.*with --data path/to/adult.data, or --data sample"),
        ],
        ids=["altered", "offline"],
    )
    def test_uci_that_cannot_be_had(self, content, words, tmp_path, monkeypatch):
        monkeypatch.setattr(census, "UCI_PATH", tmp_path / "adult.data")
        monkeypatch.setattr(census, "UCI_URL", "http://127.0.0.1:1/adult.data")
        if content:
            census.UCI_PATH.write_text(content)
        with pytest.raises(UserError, match=words):
            load_census("uci")

    def test_another_contract_does_not_take_it(self, contract):
        words = "sample is of the census, whose fields are age, .*; the contract has tenure, "
        with pytest.raises(UserError, match=words):
            load_rows(["sample"], contract)

    def test_recorded_requests_of_the_census(self, tmp_path, census_contract):
        """What the platform recorded: a table under the contract's names and profiles."""
        sample = load_census("sample")
        columns = dict(zip(sample.names, sample.values.astype(int).T, strict=True))
        parquet.write_table(pa.table(columns), tmp_path / "lake.parquet")
        rows = load_rows([str(tmp_path / "lake.parquet")], census_contract)
        np.testing.assert_array_equal(rows.values, sample.values)
        assert (rows.source, rows.is_code) == ("lake.parquet", sample.is_code)


class TestTables:
    @pytest.mark.parametrize("name", WRITERS)
    def test_every_format_gives_the_same_rows(self, name, table, contract, tmp_path):
        WRITERS[name](table, tmp_path / name)
        rows = load_rows([str(tmp_path / name)], contract)
        expected = [table[field.name].to_numpy().astype(np.float64) for field in FIELDS]
        np.testing.assert_array_equal(rows.values, np.transpose(expected))
        assert rows.names == ("tenure", "usage", "plan", "visits", "active")
        assert rows.is_code == (False, False, True, False, False)
        assert rows.types == ("float64", "float32", "int8", "uint16", "bool")
        assert (rows.source, rows.rejected) == (name, {})
        assert rows.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()

    def test_a_folder_has_one_digest_over_all(self, table, contract, tmp_path):
        names = ("a.parquet", "b.parquet")
        for number, name in enumerate(names):
            parquet.write_table(table.slice(25 * number, 25), tmp_path / name)
        rows = load_rows([str(tmp_path)], contract)
        assert len(rows) == 50
        assert rows.source == f"{tmp_path.name} (2 files)"
        digests = [hashlib.sha256((tmp_path / one).read_bytes()).hexdigest() for one in names]
        assert rows.sha256 == hashlib.sha256("".join(digests).encode()).hexdigest()

    def test_few_unusable_rows_are_left_out_and_counted(self, table, contract, tmp_path):
        rows = table.to_pylist()
        rows[3]["tenure"] = None
        rows[7]["plan"] = 300
        write_csv(pa.Table.from_pylist(rows), tmp_path / "a.csv")
        loaded = load_rows([str(tmp_path / "a.csv")], contract)
        assert len(loaded) == 48
        assert loaded.rejected == {
            "tenure: missing": 1,
            "plan: expected a number within the contract's type": 1,
        }

    def test_too_many_are_an_error_that_names_the_option(self, table, contract, tmp_path):
        rows = table.to_pylist()
        for number in range(3):
            rows[number]["visits"] = "1.5"
        for row in rows[3:]:
            row["visits"] = str(row["visits"])
        write_csv(pa.Table.from_pylist(rows), tmp_path / "a.csv")
        path = str(tmp_path / "a.csv")
        with pytest.raises(UserError) as caught:
            load_rows([path], contract)
        assert str(caught.value) == (
            f"3 of 50 rows of {path} cannot be used: visits: expected a whole number, got a"
            " fraction (3); --most-rejected 1 allows as many"
        )
        assert len(load_rows([path], contract, most_rejected=1)) == 47

    @pytest.mark.parametrize("name", WRITERS)
    def test_a_missing_column_is_named(self, name, table, contract, tmp_path):
        WRITERS[name](table.drop_columns(["plan", "active"]), tmp_path / name)
        with pytest.raises(UserError, match=f"{name}: no column plan, active"):
            load_rows([str(tmp_path / name)], contract)

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("s3://bucket/rows.parquet", r"s3://bucket/rows\.parquet: .*s3fs"),
            ("none.csv", "No such file"),
            (".", "no Parquet, CSV or JSON lines file"),
        ],
    )
    def test_what_is_not_there(self, name, words, contract, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UserError, match=words):
            load_rows([name], contract)


def test_a_url_of_a_web_server(table, contract, tmp_path):
    parquet.write_table(table, tmp_path / "rows.parquet")
    with serving_files(tmp_path) as address:
        rows = load_rows([f"{address}/rows.parquet"], contract)
    assert len(rows) == 50
    assert rows.source == "rows.parquet"


def test_an_input_that_is_no_number(contract, table, tmp_path):
    write_csv(table, tmp_path / "rows.csv")
    fields = (*contract.inputs, Field("note", "string"))
    with pytest.raises(UserError, match="input note is scalar string, and a metric takes scalar"):
        load_rows([str(tmp_path / "rows.csv")], replace(contract, inputs=fields))


def test_a_folder_called_like_the_sample(contract, table, tmp_path, monkeypatch):
    (tmp_path / "sample").mkdir()
    write_csv(table, tmp_path / "sample" / "rows.csv")
    monkeypatch.chdir(tmp_path)
    assert load_rows(["./sample"], contract).source == "./sample"


def test_a_header_that_begins_with_a_digit_is_no_census(tmp_path):
    (tmp_path / "rows.csv").write_text("30d_spend,age\n1.5,39\n2.5,40\n")
    fields = (Field("30d_spend", "double"), Field("age", "int64"))
    own = Contract("churn", "image", (), None, None, "predict", fields, ())
    assert load_rows([str(tmp_path / "rows.csv")], own).values.tolist() == [[1.5, 39], [2.5, 40]]
