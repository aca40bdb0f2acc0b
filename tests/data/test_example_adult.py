"""examples/adult: the classifier that the metric watches."""

import csv
import hashlib
import json
import shutil

import numpy as np
import pytest
import yaml
from helpers import NORMAL, assert_one_line, load_script, run

from knn_metric.data import census
from knn_metric.data.census import load_census
from knn_metric.data.rows import split
from knn_metric.files import ROOT
from knn_metric.platform.server import load_module

PERSON = {name: code for name, code in NORMAL.items() if name != "classes"}
TRAIN = ROOT / "examples" / "adult" / "train.py"


@pytest.fixture(scope="module")
def function(adult_package):
    return load_module(adult_package)


@pytest.fixture(scope="module")
def parts():
    return [part.values.astype(int) for part in split(load_census("sample"))]


@pytest.fixture(scope="module")
def train():
    return load_script(TRAIN).main


@pytest.mark.slow
def test_accuracy_on_uci(uci, train, tmp_path):
    result = run(train, "--data", uci, "--package", tmp_path)
    assert result.status == 0, result.err
    (line,) = [line for line in result.out.splitlines() if line.startswith("held-out")]
    assert float(line.split()[1]) >= 0.82
    assert "of 6513 rows" in line


def test_the_function_predicts_as_trained(adult_package, parts, tmp_path):
    folder = shutil.copytree(adult_package, tmp_path / "adult")
    result = run(load_script(TRAIN).main, "--data", "sample", "--package", folder)
    (line,) = [line for line in result.out.splitlines() if line.startswith("held-out")]
    function = load_module(folder)
    people = [dict(zip(census.FEATURES, row, strict=True)) for row in parts[1].tolist()]
    right = [function.predict(**row)["classes"] == row.pop("classes") for row in people]
    # Sums in another order may part otherwise what lies on the boundary.
    assert float(line.split()[1]) == pytest.approx(np.mean(right), abs=1.5 / len(right))


def test_the_artifact_is_plain_and_says_where_it_is_from(adult_package):
    content = json.loads((adult_package / "classifier.json").read_text())
    assert content["origin_"] == {
        "source": "sample",
        "sha256": hashlib.sha256(census.SAMPLE_PATH.read_bytes()).hexdigest(),
        "test_size": 0.2,
        "seed": 0,
    }


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
    with (adult_package / definition["training-data"]).open() as file:
        lines = [{name: int(cell) for name, cell in line.items()} for line in csv.DictReader(file)]
    assert {tuple(line) for line in lines} == {tuple(fields)}
    inputs = [[line[name] for name in function.features] for line in lines]
    assert inputs == parts[0][:, :-1].tolist()
    for line in lines[:200]:
        assert function.predict(**line)["classes"] == line["classes"]


def test_a_failure_leaves_both_files(train, tmp_path, monkeypatch):
    assert run(train, "--data", "sample", "--package", tmp_path).status == 0
    before, out = {path: path.read_bytes() for path in tmp_path.iterdir()}, ("--package", tmp_path)

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savetxt", fail)
    assert_one_line(run(train, "--data", "sample", "--seed", 1, *out), "disk full")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


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
    result = run(train, "--data", path, "--package", tmp_path)
    assert_one_line(result, "all training rows are of one class")
    assert not (tmp_path / "classifier.json").exists()


def test_the_sample_does_not_replace_another_model(train, tmp_path):
    path, out = tmp_path / "mine.csv", tmp_path / "classifier.json"
    own = ("--package", tmp_path)
    path.write_text("\n".join(census.SAMPLE_PATH.read_text().splitlines()[:500]))
    assert run(train, "--data", path, *own).status == 0
    before = out.read_bytes()
    assert_one_line(run(train, "--data", "sample", *own), "--force does")
    assert run(train, "--data", "sample", *own, "--force").status == 0
    assert (tmp_path / "classifier.json.previous").read_bytes() == before
