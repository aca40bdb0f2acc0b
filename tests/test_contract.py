"""serving.yaml as a class."""

import numpy as np
import pytest

from knn_metric.cli import UserError
from knn_metric.contract import Contract

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
    assert [field.shape for field in contract.inputs] == [*["scalar"] * 3, "[28, -1]"]
    assert contract.inputs[3].dims == (28, -1)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (SERVING, "name: [", "serving.yaml cannot be read: ParserError"),
        (SERVING, "name: echo", "cannot be read: it has no runtime"),
        (SERVING, "7", "it holds no fields by name"),
        ("payload: [src/]", "payload: src/", "payload is 'src/', expected a list"),
        ("payload: [src/]\n", "", "cannot be read: it has no payload"),
        ("  name: score\n", "", "cannot be read: it has no name"),
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
    names = ("no", "on", "null", "~", "12", "1e3", "2026-11-24", "0x1f", "true")
    fields = "".join(f"    {name}: {{<<: *base}}\n" for name in names)
    text = SERVING.replace("    tenure: {", "    tenure: &base {").replace("  outputs", "REST")
    text = text.replace("REST", f"{fields}  outputs").replace("name: churn", "name: 7")
    contract = read(f"{text}training-data:\ninstall-command: ~\n")
    assert contract.input_names[4:] == names
    assert {field.type for field in contract.inputs[4:]} == {"double"}
    assert (contract.name, contract.install_command, contract.training_data) == ("7", None, None)


def test_a_missing_one(tmp_path):
    with pytest.raises(UserError, match=r"serving\.yaml is not there: name the folder"):
        Contract.read(tmp_path)
