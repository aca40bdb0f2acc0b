"""scripts/contract.py: a target's fields as a metric's inputs, of both generations."""

import pytest
import yaml
from helpers import assert_one_line, run

import contract

FIELDS = [
    ("tenure", "DT_DOUBLE", "NUMERICAL", []),
    ("usage", "DT_FLOAT", None, []),
    ("plan", "DT_INT8", "CATEGORICAL", []),
    ("note", "DT_STRING", "TEXT", []),
    ("pixels", "DT_UINT8", "IMAGE", [28, 28]),
]
ANSWER = ("churned", "DT_BOOL", "NONE", [])
PRINTED = """\
  inputs:
    tenure:
      shape: scalar
      type: double
      profile: numerical
    usage:
      shape: scalar
      type: float
    plan:
      shape: scalar
      type: int8
      profile: categorical
    # note is left out: a metric cannot take scalar string
    # pixels is left out: a metric cannot take [28, 28] uint8
    churned:
      shape: scalar
      type: bool
    # extras is left out: a metric takes scalar numbers
"""


def describe(field, generation):
    """Return a field as a generation's manager gives it back."""
    name, dtype, profile, dims = field
    described = {"name": name, "dtype": dtype}
    described |= {"profile": profile} if profile else {}
    if generation == 3:
        return {**described, "shape": {"dims": dims}}
    shape = {"dim": [{"size": size} for size in dims], "unknownRank": False}
    return {**described, "shape": shape}


@pytest.fixture(params=[2, 3], ids=["2.x", "3.x"])
def cluster(request, manager):
    fields = [describe(field, request.param) for field in FIELDS]
    outputs = [describe(ANSWER, request.param), {"name": "extras", "subfields": {"data": []}}]
    signature = {"signatureName": "predict", "inputs": fields, "outputs": outputs}
    own = {"modelSignature": signature}
    if request.param == 2:
        own = {"modelContract": {"modelName": "model", "predict": signature}}
    manager.add_version("churn", 3, **own)
    return manager


def test_inputs_then_outputs_in_order(cluster):
    result = run(contract.main, "--target", "churn:3", "--cluster", cluster.address)
    assert (result.status, result.err) == (0, "")
    printed = [line for line in result.out.splitlines() if "extras" not in line]
    assert printed == [line for line in PRINTED.splitlines() if "extras" not in line]
    assert "    # extras: a map is left out" in result.out
    inputs = yaml.safe_load(result.out)["inputs"]
    assert list(inputs) == ["tenure", "usage", "plan", "churned"]


def test_a_package_instead(adult_package):
    result = run(contract.main, "--from", adult_package)
    names = list(yaml.safe_load(result.out)["inputs"])
    assert (names[0], names[-1], len(names)) == ("age", "classes", 13)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--target is missing, as in --target=churn:3"),
    ],
)
def test_bad_arguments(arguments, words, cluster):
    assert_one_line(run(contract.main, *arguments, "--cluster", cluster.address), words)


def test_a_version_without_a_contract(manager):
    manager.add_version("churn", 3)
    result = run(contract.main, "--target", "churn:3", "--cluster", manager.address)
    assert_one_line(result, "the version has no contract")
