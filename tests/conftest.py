"""Fixtures: the payload as it is uploaded, with artifacts that were really trained."""

import shutil
import signal

from lib import census
from lib.command import ROOT
from lib.runtime import load_module

import pytest
from helpers import load_script, run, train_package

# What is started here can be interrupted, also where nohup has the suite ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """The payload in a folder of its own, trained on the sample."""
    folder = tmp_path_factory.mktemp("package")
    train_package(folder, "sample")
    return folder


@pytest.fixture(scope="session")
def artifact(package):
    return package / "monitoring_model.joblib"


@pytest.fixture(scope="session")
def adult(tmp_path_factory):
    """examples/adult in a folder of its own, trained on the sample."""
    folder = tmp_path_factory.mktemp("adult")
    ignore = shutil.ignore_patterns("__pycache__", "*.json*", "*.csv", "train.py")
    shutil.copytree(ROOT / "examples" / "adult", folder, ignore=ignore, dirs_exist_ok=True)
    main = load_script(ROOT / "examples" / "adult" / "train.py").main
    result = run(main, "--data", "sample", "--out", folder / "classifier.json")
    assert result.status == 0, result.err
    return folder


@pytest.fixture(scope="session")
def func_main(package):
    return load_module(package)


@pytest.fixture(scope="session")
def uci():
    """UCI's adult.data, where it is at hand."""
    if not census.UCI_PATH.exists():
        pytest.skip("UCI's adult.data is not at hand: `make train` downloads it")
    return census.UCI_PATH


@pytest.fixture(scope="session")
def uci_package(uci, tmp_path_factory):
    """The payload in a folder of its own, trained on UCI's data, and train.py's report."""
    folder = tmp_path_factory.mktemp("uci_package")
    return folder, train_package(folder, uci)


@pytest.fixture(scope="session")
def rows():
    """The sample's rows, encoded: int64, shape (7000, 13)."""
    return census.encode(census.load("sample").records)
