"""examples/adult: the classifier that the metric watches."""

import json
import re
from unittest.mock import Mock

import numpy as np
import pytest
import yaml
from helpers import NORMAL, assert_one_line, load_script, run

from knn_metric.data import census
from knn_metric.data.rows import describe_origin, load_census, split
from knn_metric.files import ROOT
from knn_metric.platform.server import load_module

PERSON = {name: code for name, code in NORMAL.items() if name != "classes"}


@pytest.fixture(scope="module")
def function(adult_package):
    return load_module(adult_package)


@pytest.fixture(scope="module")
def parts():
    return [part.values.astype(int) for part in split(load_census("sample"))]


@pytest.fixture
def train(tmp_path):
    main = load_script(ROOT / "examples" / "adult" / "train.py").main
    return lambda data, *options: run(main, "--data", data, "--package", tmp_path, *options)


@pytest.mark.slow
def test_accuracy_on_uci(uci, train):
    accuracy = re.search(r"^held-out \D*(\S+).* of 6513 rows", train(uci).out, re.MULTILINE)
    assert float(accuracy[1]) >= 0.82


def test_the_function_predicts_as_trained(train, function, parts):
    accuracy = re.search(r"^held-out \D*(\S+)", train("sample").out, re.MULTILINE)
    people = [dict(zip(census.FEATURES, row, strict=True)) for row in parts[1].tolist()]
    right = [function.predict(**row)["classes"] == row.pop("classes") for row in people]
    # Sums in another order may part otherwise what lies on the boundary.
    assert float(accuracy[1]) == pytest.approx(np.mean(right), abs=1.5 / len(right))


def test_the_artifact_is_plain_and_says_where_it_is_from(adult_package):
    content = json.loads((adult_package / "classifier.json").read_text())
    assert content["origin_"] == describe_origin(load_census("sample"), 0.2, 0)


def test_the_contract_is_the_metrics(function):
    own = yaml.safe_load((ROOT / "examples/adult/serving.yaml").read_text())
    metric = yaml.safe_load((ROOT / "serving.yaml").read_text())
    expected = dict(metric["contract"]["inputs"])
    classes = expected.pop("classes")
    assert own["contract"]["inputs"] == expected
    assert own["contract"]["outputs"] == {"classes": classes}
    assert list(expected) == function.features
    assert own["runtime"] == metric["runtime"]


def test_the_training_data_is_what_the_platform_sees(adult_package, function, parts):
    """Inputs of the training rows and the model's own answers, under the contract's names."""
    definition = yaml.safe_load((adult_package / "serving.yaml").read_text())
    fields = [*definition["contract"]["inputs"], *definition["contract"]["outputs"]]
    path = adult_package / definition["training-data"]
    assert path.read_text().partition("\n")[0] == ",".join(fields)
    table = np.loadtxt(path, int, delimiter=",", skiprows=1)
    np.testing.assert_array_equal(table[:, :-1], parts[0][:, :-1])
    for *person, classes in table[:200].tolist():
        assert function.predict(**dict(zip(fields[:-1], person, strict=True)))["classes"] == classes


def test_numpys_scalars_are_answered_as_pythons(function):
    classes = function.predict(**PERSON)["classes"]
    assert type(classes) is int
    assert function.predict(**{k: np.int64(v) for k, v in PERSON.items()}) == {"classes": classes}


def test_unknown_codes_count_for_nothing(function):
    unknown = ({**PERSON, "country": code} for code in (99, -1, 2**40))
    assert len({function.predict(**person)["classes"] for person in unknown}) == 1


def test_bad_input_is_named(function):
    inputs = {**PERSON, "age": None, "race": float("nan"), "sex": "x"}
    del inputs["country"]
    with pytest.raises(ValueError) as caught:
        function.predict(**inputs)
    named = [problem.split(":")[0] for problem in str(caught.value).split("; ")]
    assert named == ["age", "race", "sex", "country"]


def test_a_missing_artifact_says_what_to_do(function, tmp_path):
    with pytest.raises(RuntimeError, match=r"cannot load .* train it with examples/adult/train.py"):
        function.load(tmp_path / "classifier.json")


def test_check_accepts_it(adult_package):
    result = run("check", "--package", adult_package, "--allow-sample")
    assert result.status == 0, result.out
    assert "the synthetic sample" in run("check", "--package", adult_package).out


def test_one_class_cannot_be_learned(train, tmp_path):
    path = tmp_path / "poor.csv"
    lines = census.SAMPLE_PATH.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if "<=50K" in line))
    assert_one_line(train(path), "all training rows are of one class")
    assert list(tmp_path.iterdir()) == [path]


def test_another_model_is_replaced_whole_or_not_at_all(train, tmp_path, monkeypatch):
    def read():
        return {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    path = tmp_path / "mine.csv"
    path.write_text("\n".join(census.SAMPLE_PATH.read_text().splitlines()[:500]))
    assert train(path).status == 0
    before = read()
    assert_one_line(train("sample"), "--force does")
    with monkeypatch.context() as patched:
        patched.setattr(np, "savetxt", Mock(side_effect=OSError("disk full")))
        assert_one_line(train("sample", "--force"), "disk full")
    assert read() == before
    assert train("sample", "--force").status == 0
    (old,) = tmp_path.glob("classifier.json.*")
    assert old.read_bytes() == before["classifier.json"]
