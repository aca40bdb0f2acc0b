"""Fixtures: the payload as it is uploaded, with artifacts that scripts/train.py really trained."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import census

ROOT = Path(__file__).resolve().parents[1]
UCI = ROOT.parent / "shared" / "census" / "adult.data"


def run_script(name, *arguments, **options):
    """Run a script as a user would, and return what it printed and its exit status."""
    command = [sys.executable, ROOT / "scripts" / name, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def assert_one_line(result, *words):
    """Assert exit status 2 and one line on standard error that holds every word."""
    assert result.returncode == 2, result
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for word in words:
        assert str(word) in result.stderr


def train_package(folder, data):
    """Copy the payload and train its artifact; return the report that train.py printed."""
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "serving.yaml", folder)
    shutil.copy(ROOT / "requirements.txt", folder)
    out, plot = folder / "monitoring_model.joblib", folder / "reports" / "knn.png"
    result = run_script("train.py", "--data", data, "--out", out, "--plot", plot)
    assert result.returncode == 0, result.stderr
    return result.stdout


def import_function(folder):
    spec = importlib.util.spec_from_file_location("func_main", folder / "src" / "func_main.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """The payload in a folder of its own, trained on the sample."""
    folder = tmp_path_factory.mktemp("package")
    train_package(folder, "sample")
    return folder


@pytest.fixture(scope="session")
def adult(tmp_path_factory):
    """examples/adult in a folder of its own, trained on the sample."""
    folder = tmp_path_factory.mktemp("adult")
    ignore = shutil.ignore_patterns("__pycache__", "*.json", "train.py")
    shutil.copytree(ROOT / "examples" / "adult", folder, ignore=ignore, dirs_exist_ok=True)
    out = folder / "classifier.json"
    result = run_script("../examples/adult/train.py", "--data", "sample", "--out", out)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="session")
def func_main(package):
    return import_function(package)


@pytest.fixture(scope="session")
def uci():
    """UCI's adult.data, where it is at hand."""
    for path in (UCI, census.UCI_PATH):
        if path.exists():
            return path
    pytest.skip("UCI's adult.data is not at hand: `make train` downloads it")


@pytest.fixture(scope="session")
def uci_package(uci, tmp_path_factory):
    """The payload in a folder of its own, trained on UCI's data, and train.py's report."""
    folder = tmp_path_factory.mktemp("uci_package")
    return folder, train_package(folder, uci)


@pytest.fixture(scope="session")
def rows():
    """The sample's rows, encoded: int64, shape (7000, 13)."""
    return census.encode(census.load("sample").records)
