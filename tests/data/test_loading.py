"""The rows that a name means: the census, and tables under any contract."""

import hashlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from helpers import serving_files
from histories import WRITERS
from pyarrow import parquet
from pyarrow.csv import write_csv

from knn_metric.cli import UserError
from knn_metric.contract import Contract, Field
from knn_metric.data.cells import NO_TIME
from knn_metric.data.rows import load_rows

FIELDS = (
    Field("tenure", "double"),
    Field("usage", "float32"),
    Field("plan", "int8", profile="nominal"),
    Field("visits", "uint16"),
    Field("active", "bool"),
)
CONTRACT = Contract("churn", "image", (), None, None, "predict", FIELDS, ())


@pytest.fixture
def table():
    random = np.random.default_rng(0)
    columns = {
        "active": random.integers(0, 2, 50).astype(bool),
        "visits": random.integers(0, 60_000, 50, np.uint16),
        "plan": random.integers(-3, 4, 50, np.int8),
        "usage": random.random(50, np.float32),
        "tenure": random.normal(size=50),
    }
    return pa.table({"other": ["x"] * 50, **columns})


def test_another_contract_does_not_take_the_census():
    words = "sample is of the census, whose fields are age, .*; the contract has tenure, "
    with pytest.raises(UserError, match=words):
        load_rows(["sample"], CONTRACT)


class TestTables:
    @pytest.mark.parametrize("name", WRITERS)
    def test_every_format_gives_the_same_rows(self, name, table, tmp_path):
        """From a web server, too."""
        WRITERS[name](table, tmp_path / name)
        with serving_files(tmp_path) as address:
            rows = load_rows([f"{address}/{name}"], CONTRACT)
        expected = [table[field.name].to_numpy() for field in FIELDS]
        np.testing.assert_array_equal(rows.values.T, expected)
        assert rows.names == ("tenure", "usage", "plan", "visits", "active")
        assert rows.is_code == (False, False, True, False, False)
        assert rows.types == ("float64", "float32", "int8", "uint16", "bool")
        assert (rows.source, rows.rejected) == (name, {})
        assert rows.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()

    def test_a_folder_has_one_digest_over_all(self, table, tmp_path):
        """A folder called like the sample is another source."""
        digests, folder = "", tmp_path / "sample"
        folder.mkdir()
        for name in ("a.parquet", "b.parquet"):
            parquet.write_table(table, folder / name)
            digests += hashlib.sha256((folder / name).read_bytes()).hexdigest()
        rows = load_rows([str(folder)], CONTRACT)
        assert (len(rows), rows.source) == (100, "./sample (2 files)")
        assert rows.sha256 == hashlib.sha256(digests.encode()).hexdigest()

    def test_unusable_rows_are_left_out_and_counted(self, table, tmp_path):
        """Too many are an error that names the option."""
        rows, path = table.to_pylist(), str(tmp_path / "a.csv")
        rows[3]["tenure"] = None
        rows[7]["plan"] = 300
        write_csv(pa.Table.from_pylist(rows), tmp_path / "a.csv")
        few = load_rows([path], CONTRACT)
        beyond = "plan: expected a number within the contract's type"
        assert (len(few), few.rejected) == (48, {"tenure: missing": 1, beyond: 1})
        rows[9]["visits"] = 1.5
        write_csv(pa.Table.from_pylist(rows), tmp_path / "a.csv")
        with pytest.raises(UserError) as caught:
            load_rows([path], CONTRACT)
        assert str(caught.value) == (
            f"3 of 50 rows of {path} cannot be used: tenure: missing (1); {beyond} (1); visits:"
            " expected a whole number, got a fraction (1); --most-rejected 0.06 allows as many"
        )
        assert len(load_rows([path], CONTRACT, most_rejected=0.06)) == 47


def test_an_input_that_is_no_number(table, tmp_path):
    write_csv(table, tmp_path / "rows.csv")
    fields = (*FIELDS, Field("note", "string"))
    with pytest.raises(UserError, match="input note is scalar string, and a metric takes scalar"):
        load_rows([str(tmp_path / "rows.csv")], replace(CONTRACT, inputs=fields))


def test_times_that_are_not_everywhere_are_counted(table, tmp_path, capsys):
    """They may stop after the rows that are looked at first; without any, --time is wrong."""
    rows = pa.concat_tables([table] * 50)
    rows = rows.append_column("at", [["2026-11-24"] * 1500 + ["later"] * 1000])
    write_csv(rows, tmp_path / "a.csv")
    assert np.sum(load_rows([str(tmp_path / "a.csv")], CONTRACT).times == NO_TIME) == 1000
    assert capsys.readouterr().err == "1,000 rows have no time in at\n"
    with pytest.raises(UserError, match="--time other: no cell of that column is a time"):
        load_rows([str(tmp_path / "a.csv")], CONTRACT, time="other")


def test_a_header_that_begins_with_a_digit_is_no_census(tmp_path):
    (tmp_path / "rows.csv").write_text("30d_spend,age\n1.5,39\n2.5,40\n")
    fields = (Field("30d_spend", "double"), Field("age", "int64"))
    own = replace(CONTRACT, inputs=fields)
    assert load_rows([str(tmp_path / "rows.csv")], own).values.tolist() == [[1.5, 39], [2.5, 40]]
