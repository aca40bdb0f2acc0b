"""examples/adult: the classifier that the metric watches."""

import json
import re
from unittest.mock import Mock

import numpy as np
import pytest
from helpers import NORMAL, assert_one_line, load_script, run

from knn_metric.contract import Contract
from knn_metric.data import census
from knn_metric.data.rows import describe_origin, load_census, split
from knn_metric.files import ROOT
from knn_metric.platform.server import load_module

PERSON = {name: code for name, code in NORMAL.items() if name != "classes"}


@pytest.fixture(scope="module")
def function(adult_package):
    return load_module(adult_package)


@pytest.fixture
def train(tmp_path):
    main = load_script(ROOT / "examples" / "adult" / "train.py").main
    return lambda data, *options: run(main, "--data", data, "--package", tmp_path, *options)


def read_accuracy(result):
    return float(re.search(r"^held-out \D*(\S+)", result.out, re.MULTILINE)[1])


@pytest.mark.slow
def test_accuracy_on_uci(uci, train):
    assert read_accuracy(train(uci)) >= 0.82


def test_the_contract_is_the_metrics(function):
    own, metric = (Contract.read(folder) for folder in (ROOT / "examples" / "adult", ROOT))
    assert (*own.inputs, *own.outputs) == metric.inputs
    assert [*own.input_names, "classes"] == [*function.features, own.outputs[0].name]
    assert own.runtime == metric.runtime


def test_what_is_written(train, function, adult_package):
    """Plain values; and as training data what the platform sees: inputs, and the own answers."""
    content = json.loads((adult_package / "classifier.json").read_text())
    assert content["origin_"] == describe_origin(load_census("sample"), 0.2, 0)
    known, held_out = (part.values.astype(int) for part in split(load_census("sample")))
    people = [dict(zip(census.FEATURES, row, strict=True)) for row in held_out.tolist()]
    right = [function.predict(**row)["classes"] == row.pop("classes") for row in people]
    # Sums in another order may part otherwise what lies on the boundary.
    assert read_accuracy(train("sample")) == pytest.approx(np.mean(right), abs=1.5 / len(right))
    fields = Contract.read(ROOT).input_names
    path = adult_package / Contract.read(adult_package).training_data
    assert path.read_text().partition("\n")[0] == ",".join(fields)
    table = np.loadtxt(path, int, delimiter=",", skiprows=1)
    np.testing.assert_array_equal(table[:, :-1], known[:, :-1])
    for *person, classes in table[:200].tolist():
        assert function.predict(**dict(zip(fields[:-1], person, strict=True)))["classes"] == classes


def test_what_it_answers(function):
    """A Python int, whatever the numbers' type; codes that it does not know count for nothing."""
    for kind in (int, np.int64):
        answer = function.predict(**{name: kind(code) for name, code in PERSON.items()})
        assert type(answer["classes"]) is int
    unknown = ({**PERSON, "country": code} for code in (99, -1, 2**40))
    assert len({function.predict(**person)["classes"] for person in unknown}) == 1
    inputs = {**PERSON, "age": None, "race": float("nan"), "sex": "x"}
    del inputs["country"]
    with pytest.raises(ValueError, match=r"^age: .*; race: .*; sex: .*; country: [^;]*$"):
        function.predict(**inputs)


def test_a_missing_artifact_says_what_to_do(function, tmp_path):
    with pytest.raises(RuntimeError, match=r"cannot load .* train it with examples/adult/train.py"):
        function.load(tmp_path / "classifier.json")


def test_another_model_is_replaced_whole_or_not_at_all(train, tmp_path, monkeypatch):
    path, lines = tmp_path / "mine.csv", census.SAMPLE_PATH.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if "<=50K" in line))
    assert_one_line(train(path), "all training rows are of one class")
    assert list(tmp_path.iterdir()) == [path]
    path.write_text("\n".join(lines[:500]))
    assert train(path).status == 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert_one_line(train("sample"), "--force does")
    with monkeypatch.context() as patched:
        patched.setattr(np, "savetxt", Mock(side_effect=OSError("disk full")))
        assert_one_line(train("sample", "--force"), "disk full")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert train("sample", "--force").status == 0
    (old,) = tmp_path.glob("classifier.json.*")
    assert old.read_bytes() == before[tmp_path / "classifier.json"]
