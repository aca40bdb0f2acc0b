"""serving.yaml as a class; and this package's own, against the code and the platform."""

import ast
import os
import re
import sys

import numpy as np
import pytest
from packaging.requirements import Requirement

from knn_metric.cli import UserError
from knn_metric.contract import Contract, Field
from knn_metric.data import census
from knn_metric.files import ROOT

PYTHONS = ("3.6", "3.7", "3.8", "3.11", "3.12", "3.13")
SOURCES = sorted((ROOT / "src").glob("**/*.py"))

SERVING = """\
kind: Model
name: churn
runtime: hydrosphere/serving-runtime-python-3.7:3.0.3
payload: [src/]
contract:
  name: score
  inputs:
    tenure: {shape: scalar, type: double, profile: numerical}
    plan: {shape: scalar, type: int32, profile: nominal}
    text: {shape: scalar, type: string}
    pixels: {shape: [28, -1], type: float}
  outputs:
    value: {shape: scalar, type: double}
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        (tmp_path / "serving.yaml").write_text(text)
        return Contract.read(tmp_path)

    return read


def test_its_fields(read, tmp_path):
    contract = read(SERVING)
    assert (contract.name, contract.function, contract.payload) == ("churn", "score", ("src/",))
    assert (contract.install_command, contract.training_data) == (None, None)
    assert contract.input_names == ("tenure", "plan", "text", "pixels")
    assert contract.runtime == "hydrosphere/serving-runtime-python-3.7:3.0.3"
    assert Contract.read(tmp_path, "python:3").runtime == "python:3"
    types = [np.float64, np.int32, np.str_, np.float32]
    assert [field.numpy_type for field in contract.inputs] == types
    assert [field.holds_codes for field in contract.inputs] == [False, True, False, False]
    assert [field.shape for field in contract.inputs] == [*["scalar"] * 3, [28, -1]]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (SERVING, "name: [", "serving.yaml cannot be read: ParserError"),
        ("runtime:", "image:", "cannot be read: it has no runtime"),
        ("name: churn", "name: [a]", "name is ['a'], expected a str"),
        ("kind: Model", "training-data: [a]", "training-data is ['a'], expected a str"),
        ("kind: Model", "install-command: {a: b}", "install-command is {'a': 'b'}, expected a str"),
        (SERVING, "[" * 1000, "cannot be read: RecursionError"),
        (SERVING, "7", "it holds no fields by name"),
        ("payload: [src/]", "payload: src/", "payload is 'src/', expected a list"),
        ("payload: [src/]\n", "", "cannot be read: it has no payload"),
        ("[src/]", "[{}]", "cannot be read: TypeError"),
        ("[src/]", "[../src]", "payload: ../src is outside the package"),
        ("hydrosphere/serving-runtime-python-3.7:3.0.3", "[3]", "expected a str"),
        ("[28, -1]", "28", "pixels has shape '28', expected scalar or a list"),
        ("int32", "number", "plan has type 'number', expected one of bool, int8, int16, int32,"),
        ("    plan:", "    tenure:", "cannot be read: ValueError: tenure stands twice"),
        ("payload:", "name:", "cannot be read: ValueError: name stands twice"),
        ("tenure: {", "tenure: 7 #{", "cannot be read"),
    ],
)
def test_what_is_malformed_is_one_line(old, new, problem, read):
    with pytest.raises(UserError) as caught:
        read(SERVING.replace(old, new))
    assert problem in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_names_are_text_whatever_yaml_makes_of_them(read):
    keys = ("no", "on", "null", "~", "12", "1e3", "2026-11-24", "0x1f", "true", "!!int 7")
    names = tuple(key.removeprefix("!!int ") for key in keys)
    fields = "".join(f"    {key}: {{<<: *base}}\n" for key in keys)
    text = SERVING.replace("    tenure: {", "    tenure: &base {").replace("  outputs", "REST")
    text = text.replace("REST", f"{fields}  outputs").replace("name: churn", "name: 7")
    contract = read(f"{text}training-data:\ninstall-command: ~\n")
    assert contract.input_names[4:] == names
    assert {field.type for field in contract.inputs[4:]} == {"double"}
    assert (contract.name, contract.install_command, contract.training_data) == ("7", None, None)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "is not there: name the folder"),
        (os.mkfifo, "cannot be read: it is no regular file"),
        (lambda path: path.write_bytes(b"name: \xff"), "cannot be read: byte 6 is not UTF-8"),
    ],
)
def test_what_is_no_text(make, words, tmp_path):
    make(tmp_path / "serving.yaml")
    with pytest.raises(UserError, match=rf"serving\.yaml {words}"):
        Contract.read(tmp_path)


def read_requirements(name):
    lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-r"))]


class TestOurs:
    def test_inputs_are_the_census_and_its_codes(self):
        contract = Contract.read(ROOT)
        profiles = ["categorical" if is_code else "numerical" for is_code in census.IS_CODE]
        fields = zip(census.FEATURES, profiles, strict=True)
        assert list(contract.inputs) == [Field(name, "int64", (), kind) for name, kind in fields]
        assert contract.outputs == (Field("value", "double", (), "numerical"),)

    @pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
    def test_sources_are_python_3_6(self, path):
        ast.parse(path.read_text(), feature_version=(3, 6))
        assert "__future__" not in path.read_text()

    @pytest.mark.parametrize("python", PYTHONS)
    def test_requirements_hold_what_they_import_once(self, python):
        text = "".join(path.read_text() for path in SOURCES)
        imported = set(re.findall(r"^ *(?:import|from) (\w+)(?:[. ].*)?$", text, re.MULTILINE))
        others = imported - sys.stdlib_module_names - {"portable_knn", "hydro_serving_grpc"}
        assert others == {"joblib", "numba", "numpy", "pyod", "scipy"}
        required = read_requirements("requirements.txt")
        names = [one.name for one in required if one.marker.evaluate({"python_version": python})]
        assert others <= set(names)
        assert len(names) == len(set(names))

    def test_every_version_is_pinned(self):
        for requirement in read_requirements("requirements-dev.txt"):
            assert re.fullmatch(r"==\d+(\.\d+)+(\.\*)?", str(requirement.specifier)), requirement
