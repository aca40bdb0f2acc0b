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


def test_its_fields(read):
    contract = read(SERVING)
    assert (contract.name, contract.function, contract.payload) == ("churn", "score", ("src/",))
    assert contract.install_command is None
    assert contract.training_data is None
    assert contract.input_names == ("tenure", "plan", "text", "pixels")
    types = [np.float64, np.int32, np.str_, np.float32]
    assert [field.numpy_type for field in contract.inputs] == types
    assert [field.holds_codes for field in contract.inputs] == [False, True, False, False]
    assert [field.shape for field in contract.inputs] == [*["scalar"] * 3, "[28, -1]"]
    assert contract.inputs[3].dims == (28, -1)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (SERVING, "name: [", "serving.yaml cannot be read: ParserError"),
        (SERVING, "name: echo", "cannot be read: KeyError: 'runtime'"),
        (SERVING, "7", "it holds no fields by name"),
        ("payload: [src/]", "payload: src/", "payload is 'src/', expected a list"),
        ("[src/]", "[1]", "cannot be read: TypeError"),
        ("[src/]", "[../src]", "payload: ../src is outside the package"),
        ("3.0.3", "3", "expected a str"),
        ("[28, -1]", "3", "cannot be read: TypeError"),
        ("int32", "number", "plan has type 'number', expected one of "),
        ("tenure: {", "tenure: 7 #{", "cannot be read"),
    ],
)
def test_what_is_malformed_is_one_line(old, new, problem, read):
    text = SERVING.replace("hydrosphere/serving-runtime-python-3.7:3.0.3", "3.0.3")
    text = new if old is SERVING else (text if old == "3.0.3" else SERVING).replace(old, new)
    with pytest.raises(UserError) as caught:
        read(text)
    assert problem in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_one(tmp_path):
    with pytest.raises(UserError, match=r"serving\.yaml is not there: name the folder"):
        Contract.read(tmp_path)
