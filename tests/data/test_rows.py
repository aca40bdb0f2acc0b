"""The rows that a name means under a contract, and which of them a model has seen."""

import hashlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from helpers import WRITERS, serving_files
from pyarrow.csv import write_csv

from knn_metric.cli import UserError
from knn_metric.contract import Contract, Field
from knn_metric.data.cells import NO_TIME
from knn_metric.data.rows import count_copies, describe_origin, hold_out, load_rows, split
from knn_metric.detection.detectors import describe_traffic
from knn_metric.detection.training import train

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


@pytest.fixture
def load(tmp_path):
    """Return a function that writes a table, and reads it under a contract."""

    def load(table, fields=FIELDS, **options):
        write_csv(table, tmp_path / "a.csv")
        return load_rows([f"{tmp_path}/a.csv"], replace(CONTRACT, inputs=fields), **options)

    return load


def digest(content):
    return hashlib.sha256(content).hexdigest()


class TestLoad:
    @pytest.mark.parametrize("name", WRITERS)
    def test_every_format_gives_the_same_rows(self, name, table, tmp_path):
        """From a web server too; a folder called like the sample has one digest over all."""
        WRITERS[name](table, tmp_path / name)
        (tmp_path / "sample").mkdir()
        for copy in ("a.parquet", "b.parquet"):
            WRITERS["rows.parquet"](table, tmp_path / "sample" / copy)
        with serving_files(tmp_path) as address:
            rows = load_rows([f"{address}/{name}"], CONTRACT)
        expected = [table[field.name].to_numpy() for field in FIELDS]
        np.testing.assert_array_equal(rows.values.T, expected)
        assert rows.names == ("tenure", "usage", "plan", "visits", "active")
        assert rows.is_code == (False, False, True, False, False)
        assert rows.types == ("float64", "float32", "int8", "uint16", "bool")
        assert (rows.source, rows.rejected) == (name, {})
        assert rows.sha256 == digest((tmp_path / name).read_bytes())
        both = load_rows([f"{tmp_path}/sample"], CONTRACT)
        assert (len(both), both.source) == (100, "./sample (2 files)")
        own = digest((tmp_path / "sample" / "a.parquet").read_bytes())
        assert both.sha256 == digest(2 * own.encode())

    def test_unusable_rows_are_left_out_and_counted(self, table, load):
        """Too many are an error that names the option."""
        rows = table.to_pylist()
        rows[3]["tenure"] = None
        rows[7]["plan"] = 300
        few = load(pa.Table.from_pylist(rows))
        beyond = "plan: expected a number within the contract's type"
        assert (len(few), few.rejected) == (48, {"tenure: missing": 1, beyond: 1})
        rows[9]["visits"] = 1.5
        with pytest.raises(UserError) as caught:
            load(pa.Table.from_pylist(rows))
        assert str(caught.value).partition(" cannot be used: ")[2] == (
            f"tenure: missing (1); {beyond} (1); visits: expected a whole number, got a fraction"
            " (1); --most-rejected 0.06 allows as many"
        )
        assert len(load(pa.Table.from_pylist(rows), most_rejected=0.06)) == 47

    def test_times_that_are_not_everywhere_are_counted(self, table, load, capsys):
        """They may stop after the rows that are looked at first; without any, --time is wrong."""
        rows = pa.concat_tables([table] * 50)
        rows = rows.append_column("at", [["2026-11-24"] * 1500 + ["later"] * 1000])
        assert np.sum(load(rows).times == NO_TIME) == 1000
        assert capsys.readouterr().err == "1,000 rows have no time in at\n"
        with pytest.raises(UserError, match="--time other: no cell of that column is a time"):
            load(rows, time="other")

    def test_other_contracts(self, table, load):
        """One with a text, one that is not the census's, and a name that begins with a digit."""
        with pytest.raises(UserError, match="input note is scalar string, and a metric takes sca"):
            load(table, fields=(*FIELDS, Field("note", "string")))
        words = "sample is of the census, whose fields are age, .*; the contract has tenure, "
        with pytest.raises(UserError, match=words):
            load_rows(["sample"], CONTRACT)
        rows = load(pa.table({"30d_spend": [1.5, 2.5]}), fields=(Field("30d_spend", "double"),))
        assert rows.values.tolist() == [[1.5], [2.5]]


class TestSplit:
    @pytest.mark.parametrize(("size", "seed"), [(0.2, 0), (0.25, 7), (0.001, 2**32 - 1)])
    def test_it_is_the_published_one(self, sample, size, seed):
        order = np.random.RandomState(seed).permutation(len(sample))
        n_held_out = int(np.ceil(size * len(sample)))
        places = order[n_held_out:], order[:n_held_out]
        for part, place in zip(split(sample, size, seed), places, strict=True):
            np.testing.assert_array_equal(part.values, sample.values[place])
            np.testing.assert_array_equal(
                part.raw["capital_gain"], sample.raw["capital_gain"][place]
            )

    def test_equal_rows_stay_together(self, sample):
        """Of a user's own rows; without repeated ones the split is the published one."""
        own = replace(sample, is_published=False)
        distinct = own.take(np.unique(own.values, axis=0, return_index=True)[1])
        order = np.random.RandomState(0).permutation(len(distinct))
        _, held_out = split(distinct)
        np.testing.assert_array_equal(held_out.values, distinct.values[order[: len(held_out)]])
        places = np.random.default_rng(0).permutation(10 * len(distinct)) % len(distinct)
        tenfold = distinct.take(places)
        parts = [set(map(tuple, part.values)) for part in split(tenfold)]
        assert not parts[0] & parts[1]
        assert len(parts[0] | parts[1]) == len(distinct)
        assert [count_copies(rows) for rows in (tenfold, distinct, sample)] == [10, 1, 1]
        with pytest.raises(UserError, match="1 different rows cannot be split"):
            split(sample.take(np.array([0])))

    def test_rows_that_a_target_cannot_be_sent_leave_the_split_as_it_is(self, load, table):
        notes = pa.array([None, "x", "y", "z", "x"] * 10)
        ages = pa.array([None, *range(1, 50)])
        table = table.append_column("note", notes).append_column("age", ages)
        known = load(table)
        others = Field("note", "string"), Field("age", "int64")
        rest = hold_out(load(table, others=others), describe_origin(known, 0.5, 0))
        _, held_out = split(known, 0.5, 0)
        lacking = (held_out.values == known.values[0]).all(axis=1)
        np.testing.assert_array_equal(rest.values, held_out.values[~lacking])
        assert set(rest.others["note"]) == {"", "x", "y", "z"}
        for seed in range(9):
            rest = hold_out(load(table, others=others), describe_origin(known, 0.5, seed))
            assert 0 not in rest.others["age"]

    def test_what_a_model_was_not_trained_on(self, sample):
        """By the artifact's own split; another source as a whole, what training had counted."""
        few = sample.take(np.arange(2000))
        detector, scores = train(few, 0.5, 3)
        rest = hold_out(few, detector.origin_)
        np.testing.assert_array_equal(detector.decision_function(rest.values), scores)
        np.testing.assert_array_equal(detector.training_rows_, split(few, 0.5, 3)[0].values)
        described = describe_traffic(rest, detector)
        assert described.startswith("sample, 1,000 rows held out by training, ")
        assert hold_out(few, {**describe_origin(few, 0.5, 3), "sha256": "another"}) is few
        part = replace(few.take(np.arange(1000)), source="part.csv", sha256="another")
        known = set(map(tuple, detector.training_rows_.tolist()))
        equal = sum(tuple(row) in known for row in part.values.tolist())
        assert equal > 400
        words = f"part.csv, 1,000 rows, {equal:,} of them equal to a training row"
        assert describe_traffic(part, detector) == words
