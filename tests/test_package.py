"""What is uploaded, against the code and the platform that it must fit."""

import ast
import re
import sys

import pytest
import yaml
from packaging.requirements import Requirement

from monitoring.data import adult
from monitoring.files import ROOT
from monitoring.hydrosphere.releases import IMAGE_OWNS

SOURCES = sorted((ROOT / "src").glob("**/*.py"))


@pytest.fixture(scope="module")
def model():
    return yaml.safe_load((ROOT / "serving.yaml").read_text())


def read_requirements(name):
    lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-r"))]


def select(python):
    """Return what requirements.txt installs on a Python version, by name."""
    environment = {"python_version": python}
    return {
        requirement.name: str(requirement.specifier)
        for requirement in read_requirements("requirements.txt")
        if requirement.marker.evaluate(environment)
    }


class TestContract:
    def test_it_is_the_package_that_hs_expects(self, model):
        assert (model["kind"], model["name"]) == ("Model", "census_monitoring")
        assert model["runtime"] == "hydrosphere/serving-runtime-python-3.7:2.4.3"
        assert model["install-command"] == "pip install -r requirements.txt"
        assert model["payload"] == ["src/", "requirements.txt", "monitoring_model.joblib"]

    def test_inputs_are_the_artifacts_features(self, model, func_main):
        inputs = model["contract"]["inputs"]
        assert list(inputs) == func_main.features == list(adult.FEATURES)
        for field, is_code in zip(inputs.values(), adult.IS_CODE, strict=True):
            profile = "categorical" if is_code else "numerical"
            assert field == {"shape": "scalar", "type": "int64", "profile": profile}

    def test_the_output_is_what_predict_returns(self, model, func_main):
        field = {"shape": "scalar", "type": "double", "profile": "numerical"}
        assert model["contract"]["outputs"] == {"value": field}
        result = func_main.predict(**dict.fromkeys(func_main.features, 1))
        assert list(result) == list(model["contract"]["outputs"])

    def test_the_function_exists(self, model, func_main):
        assert callable(getattr(func_main, model["contract"]["name"]))


class TestSources:
    @pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
    def test_they_are_python_3_6(self, path):
        tree = ast.parse(path.read_text(), feature_version=(3, 6))
        froms = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert "__future__" not in froms

    @pytest.mark.parametrize("python", ["3.6", "3.7", "3.8", "3.11", "3.12", "3.13"])
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
        assert others <= set(select(python))


class TestRequirements:
    @pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
    def test_every_version_is_pinned(self, name):
        for requirement in read_requirements(name):
            assert re.fullmatch(r"==\d+(\.\d+)+(\.\*)?", str(requirement.specifier)), requirement

    def test_nothing_touches_what_the_image_owns(self):
        names = {requirement.name.lower() for requirement in read_requirements("requirements.txt")}
        assert not names & IMAGE_OWNS

    @pytest.mark.parametrize("python", ["3.6", "3.7", "3.8"])
    def test_the_images_numpy_stays(self, python):
        selected = select(python)
        assert selected["numpy"] == "==1.18.*"
        assert selected["pyod"] == "==1.0.0"

    def test_each_python_gets_one_version_of_each(self):
        for python in ("3.6", "3.7", "3.8", "3.11", "3.12", "3.13"):
            environment = {"python_version": python}
            names = [
                requirement.name
                for requirement in read_requirements("requirements.txt")
                if requirement.marker.evaluate(environment)
            ]
            assert len(names) == len(set(names))
