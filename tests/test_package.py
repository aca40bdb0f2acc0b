"""What is uploaded, against the code and the platform that it must fit."""

import ast
import re
import sys

import pytest
from packaging.requirements import Requirement

from knn_metric.contract import Contract, Field
from knn_metric.data import census
from knn_metric.files import ROOT

PYTHONS = ("3.6", "3.7", "3.8", "3.11", "3.12", "3.13")
SOURCES = sorted((ROOT / "src").glob("**/*.py"))


def read_requirements(name):
    lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-r"))]


def test_inputs_are_the_census_and_its_codes():
    contract = Contract.read(ROOT)
    profiles = ["categorical" if is_code else "numerical" for is_code in census.IS_CODE]
    fields = zip(census.FEATURES, profiles, strict=True)
    assert list(contract.inputs) == [Field(name, "int64", (), profile) for name, profile in fields]
    assert contract.outputs == (Field("value", "double", (), "numerical"),)


class TestSources:
    @pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
    def test_they_are_python_3_6(self, path):
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


def test_every_version_is_pinned():
    for requirement in read_requirements("requirements-dev.txt"):
        assert re.fullmatch(r"==\d+(\.\d+)+(\.\*)?", str(requirement.specifier)), requirement
