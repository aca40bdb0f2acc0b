"""What is uploaded, against the code and the platform that it must fit."""

import ast
import re
import sys

import pytest
import yaml
from packaging.requirements import Requirement

from knn_metric.data import census
from knn_metric.files import ROOT

PYTHONS = ("3.6", "3.7", "3.8", "3.11", "3.12", "3.13")
SOURCES = sorted((ROOT / "src").glob("**/*.py"))


@pytest.fixture(scope="module")
def model():
    return yaml.safe_load((ROOT / "serving.yaml").read_text())


def read_requirements(name):
    lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-r"))]


def find(python):
    """Return what requirements.txt installs on a Python version."""
    found = read_requirements("requirements.txt")
    return [one for one in found if one.marker.evaluate({"python_version": python})]


class TestContract:
    def test_it_is_the_package_that_hs_expects(self, model):
        assert (model["kind"], model["name"]) == ("Model", "census_monitoring")
        assert model["runtime"] == "hydrosphere/serving-runtime-python-3.7:2.4.3"
        assert model["install-command"] == "pip install -r requirements.txt"
        assert model["payload"] == ["src/", "requirements.txt", "monitoring_model.joblib"]

    def test_inputs_are_the_artifacts_features(self, model, func_main):
        inputs = model["contract"]["inputs"]
        assert list(inputs) == func_main.features == list(census.FEATURES)
        for field, is_code in zip(inputs.values(), census.IS_CODE, strict=True):
            profile = "categorical" if is_code else "numerical"
            assert field == {"shape": "scalar", "type": "int64", "profile": profile}

    def test_the_output_is_what_predict_returns(self, model, func_main):
        field = {"shape": "scalar", "type": "double", "profile": "numerical"}
        assert model["contract"]["outputs"] == {"value": field}
        result = func_main.predict(**dict.fromkeys(func_main.features, 1))
        assert list(result) == list(model["contract"]["outputs"])


class TestSources:
    @pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
    def test_they_are_python_3_6(self, path):
        tree = ast.parse(path.read_text(), feature_version=(3, 6))
        froms = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert "__future__" not in froms

    @pytest.mark.parametrize("python", PYTHONS)
    def test_requirements_hold_what_they_import(self, python):
        imported = set()
        for path in SOURCES:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    imported.add(node.module.split(".")[0])
        others = imported - sys.stdlib_module_names - {"portable_knn", "hydro_serving_grpc"}
        assert others == {"joblib", "numba", "numpy", "pyod", "scipy"}
        assert others <= {requirement.name for requirement in find(python)}


class TestRequirements:
    @pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
    def test_every_version_is_pinned(self, name):
        for requirement in read_requirements(name):
            assert re.fullmatch(r"==\d+(\.\d+)+(\.\*)?", str(requirement.specifier)), requirement

    def test_each_python_gets_one_version_of_each(self):
        for python in PYTHONS:
            names = [requirement.name for requirement in find(python)]
            assert len(names) == len(set(names))
