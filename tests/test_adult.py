"""examples/adult: the classifier that the metric watches."""

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from conftest import ROOT, assert_one_line, run_script
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictResponse
from test_func_main import NORMAL, message

import census

PERSON = {name: code for name, code in NORMAL.items() if name != "classes"}
TRAIN = "../examples/adult/train.py"


@pytest.fixture(scope="module")
def function(adult):
    spec = importlib.util.spec_from_file_location("adult", adult / "src" / "func_main.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_accuracy_on_uci(uci, tmp_path):
    result = run_script(TRAIN, "--data", uci, "--out", tmp_path / "classifier.json")
    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("held-out")]
    assert float(line.split()[1]) >= 0.82
    assert "of 6513 rows" in line


def test_the_function_predicts_as_trained(function, rows, tmp_path):
    held_out = census.split(rows)[1]
    requests = [dict(zip(census.FEATURES, row, strict=True)) for row in held_out]
    right = [
        function.predict(**request)["classes"] == request.pop("classes") for request in requests
    ]
    result = run_script(TRAIN, "--data", "sample", "--out", tmp_path / "classifier.json")
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("held-out")]
    assert line.split()[1] == f"{np.mean(right):.4f}"


def test_the_artifact_is_plain_and_says_where_it_is_from(adult):
    content = json.loads((adult / "classifier.json").read_text())
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


def test_scalars_and_tensors_are_answered_in_kind(function):
    classes = function.predict(**PERSON)["classes"]
    assert type(classes) is int
    assert function.predict(**{k: np.int64(v) for k, v in PERSON.items()}) == {"classes": classes}
    response = function.predict(**{name: message(code) for name, code in PERSON.items()})
    assert type(response) is PredictResponse
    assert response.outputs["classes"].dtype == 9
    assert list(response.outputs["classes"].int64_val) == [classes]


def test_unknown_codes_count_for_nothing(function):
    answers = {
        function.predict(**{**PERSON, "country": code})["classes"] for code in (99, -1, 2**40)
    }
    assert len(answers) == 1


def test_bad_input_is_named(function):
    inputs = {**PERSON, "age": None, "race": float("nan"), "sex": "x"}
    del inputs["country"]
    with pytest.raises(ValueError) as caught:
        function.predict(**inputs)
    named = [problem.split(":")[0] for problem in str(caught.value).split("; ")]
    assert named == ["age", "race", "sex", "country"]


def test_a_missing_artifact_says_what_to_do(adult, tmp_path):
    shutil.copytree(adult / "src", tmp_path / "src")
    command = [sys.executable, "-c", "import func_main"]
    result = subprocess.run(command, cwd=tmp_path / "src", capture_output=True, text=True)
    assert result.stderr.splitlines()[-1].startswith("RuntimeError: cannot load ")
    assert "`make train MODEL=examples/adult`" in result.stderr


def test_check_accepts_it(adult):
    result = run_script("check.py", "--folder", adult, "--allow-sample")
    assert result.returncode == 0, result.stdout
    result = run_script("check.py", "--folder", adult)
    assert "trained on the synthetic sample" in result.stdout


def test_one_class_cannot_be_learned(tmp_path):
    path = tmp_path / "poor.csv"
    lines = census.SAMPLE_PATH.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if "<=50K" in line))
    result = run_script(TRAIN, "--data", path, "--out", tmp_path / "classifier.json")
    assert_one_line(result, "all training rows are of one class")
    assert not (tmp_path / "classifier.json").exists()
