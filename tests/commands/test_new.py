"""`new`: a package for a model's fields, as both generations of the platform describe them."""

import re

import pytest
import yaml
from helpers import assert_one_line, run

from knn_metric.contract import Contract
from knn_metric.files import ROOT

FIELDS = [
    ("tenure", "DT_DOUBLE", "NUMERICAL", []),
    ("usage", "DT_FLOAT", None, []),
    ("plan", "DT_INT8", "CATEGORICAL", []),
    ("note", "DT_STRING", "TEXT", []),
    ("pixels", "DT_UINT8", "IMAGE", [28, 28]),
]
ANSWER = ("churned", "DT_BOOL", "NONE", [])


def describe(field, generation=3):
    name, dtype, profile, dims = field
    shape = {"dims": dims}
    if generation == 2:
        shape = {"dim": [{"size": size} for size in dims], "unknownRank": False}
    described = {"name": name, "dtype": dtype, "shape": shape}
    return described | ({"profile": profile} if profile else {})


def sign(inputs, outputs=()):
    return {"signatureName": "predict", "inputs": inputs, "outputs": list(outputs)}


@pytest.fixture
def new(manager, tmp_path):
    def new(model, folder=tmp_path / "written"):
        return run("new", folder, "--for", model, "--cluster", manager.address)

    return new


@pytest.mark.parametrize("generation", [2, 3], ids=["2.x", "3.x"])
def test_a_version_of_the_cluster(new, manager, tmp_path, generation):
    *fields, answer = (describe(field, generation) for field in (*FIELDS, ANSWER))
    signature = sign(fields, [answer, {"name": "extras", "subfields": {"data": []}}])
    contract = {"modelContract": {"modelName": "model", "predict": signature}}
    described = contract if generation == 2 else {"modelSignature": signature}
    manager.add_version("churn", 3, **described)
    result = new("churn:3")
    assert (result.status, result.err) == (0, "")
    assert re.findall("^left out  (.*)$", result.out, re.MULTILINE) == [
        "note: a metric cannot take scalar string",
        "pixels: a metric cannot take [28, 28] uint8",
        "extras: a metric cannot take a map",
    ]
    folder = tmp_path / "written"
    own, written = (yaml.safe_load((one / "serving.yaml").read_text()) for one in (ROOT, folder))
    own["name"], own["contract"]["inputs"] = (
        "churn_monitoring",
        {
            "tenure": {"shape": "scalar", "type": "double", "profile": "numerical"},
            "usage": {"shape": "scalar", "type": "float"},
            "plan": {"shape": "scalar", "type": "int8", "profile": "categorical"},
            "churned": {"shape": "scalar", "type": "bool"},
        },
    )
    assert written == own
    assert list(written["contract"]["inputs"]) == ["tenure", "usage", "plan", "churned"]
    modules = {path.name for path in (folder / "src").rglob("*.py")}
    assert {"func_main.py", "detector.py"} <= modules
    assert f"next      `knn-metric train --package {folder} --data" in result.out


@pytest.mark.parametrize("file", ["", "serving.yaml"])
def test_a_package(adult_package, new, tmp_path, file):
    assert new(adult_package / file).status == 0
    contract = Contract.read(tmp_path / "written")
    assert (contract.name, contract.inputs) == ("adult_monitoring", Contract.read(ROOT).inputs)


def test_names_that_yaml_takes_for_something_else(new, tmp_path):
    """They are quoted; an answer of the name of an input is left out."""
    names = ["no", "on", "1", "1e3", "~", "a: b", "é", "null", "-", "#", "2026-01-01", "*", "0x1f"]
    model = yaml.safe_load((ROOT / "examples" / "adult" / "serving.yaml").read_text())
    field = {"shape": "scalar", "type": "double"}
    model["contract"] |= {"inputs": dict.fromkeys(names, field), "outputs": {"no": field}}
    model["name"] = r"a: \1"
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(model, sort_keys=False))
    result = new(tmp_path / "model.yaml")
    assert "left out  no, the answer: an input has this name" in result.out
    written = Contract.read(tmp_path / "written")
    assert (written.name, list(written.input_names)) == (r"a: \1_monitoring", names)


def test_names_that_sonar_cannot_store(manager, new):
    names = ("capital.gain", "$\x1b[2J", "age")
    signature = sign([describe((name, "DT_INT64", None, [])) for name in names])
    manager.add_version("churn", 3, modelSignature=signature)
    warned = re.findall("^warning   (.*) has a dot or begins with", new("churn:3").out, re.M)
    assert warned == ["capital.gain", r"$\x1b[2J"]


def test_what_is_refused(manager, new, adult_package, tmp_path):
    mine = tmp_path / "mine"
    (mine / "src").mkdir(parents=True)
    words = f"{mine} is there already: name a new folder, or an empty one"
    assert_one_line(new(adult_package, mine), words)
    assert list(mine.rglob("*")) == [mine / "src"]
    manager.add_version("churn", 3)
    manager.add_version("text", 1, modelSignature=sign([describe(FIELDS[3])]))
    assert_one_line(new("churn:3"), "the model has no scalar numbers")
    assert_one_line(new("text:1"), "the model has no scalar numbers")
    assert_one_line(new(tmp_path / "none"), "none/serving.yaml is not there")
    assert_one_line(new("none:1"), "no model none at")
