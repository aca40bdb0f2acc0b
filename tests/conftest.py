"""Fixtures: the payload as it is uploaded, with artifacts that were really trained."""

import functools
import shutil
import signal

import pytest
from helpers import run, train_adult, train_package
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir
from stubs import manager as stub_manager

from knn_metric.data import census
from knn_metric.data.rows import hold_out, load_census, split
from knn_metric.detection import detectors
from knn_metric.detection.surprise import FieldSurprise
from knn_metric.detection.training import fit_detector
from knn_metric.files import ROOT
from knn_metric.package import findings
from knn_metric.platform.server import load_module

set_hypothesis_home_dir(ROOT / ".venv" / "hypothesis")
# What is started here can be interrupted, also where nohup has the suite ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)

LOAD = functools.cache(lambda path, _, load=detectors._load: load(path))
MEASURE = functools.cache(FieldSurprise.of)
settings.register_profile("soak", max_examples=50_000)


def pytest_collection_modifyitems(config, items):
    """Skip what takes long, for the reason that pyproject.toml says, unless it is asked for."""
    reasons = dict(line.partition(": ")[::2] for line in config.getini("markers"))
    for item in items:
        for name in ("slow", "cluster", "soak"):
            if item.get_closest_marker(name) and name not in config.option.markexpr:
                item.add_marker(pytest.mark.skip(reason=reasons[name]))


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind():
    """Assert that no test leaves a file or folder in the repository."""
    before = set(ROOT.iterdir())
    yield
    assert set(ROOT.iterdir()) == before


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """The payload in a folder of its own, trained on the sample."""
    folder = tmp_path_factory.mktemp("package")
    train_package(folder, "sample")
    return folder


@pytest.fixture
def light_package(adult_package, tmp_path):
    """A package whose function, which compiles nothing, imports at once."""
    return shutil.copytree(adult_package, tmp_path / "light")


@pytest.fixture(scope="session")
def artifact(package):
    return package / "monitoring_model.joblib"


@pytest.fixture(scope="session")
def adult_package(tmp_path_factory):
    """examples/adult in a folder of its own, trained on the sample."""
    return train_adult(tmp_path_factory.mktemp("adult") / "adult", "sample")


@pytest.fixture(scope="session")
def func_main(package):
    return load_module(package)


@pytest.fixture(scope="session")
def detector(func_main):
    return func_main.detector


@pytest.fixture(scope="session")
def healthy(detector):
    """1,400 rows that training held out."""
    return hold_out(load_census("sample"), detector.origin_)


@pytest.fixture(scope="session")
def uci():
    """UCI's adult.data, where it is at hand."""
    if not census.UCI_PATH.exists():
        pytest.skip("UCI's adult.data is not at hand: `knn-metric train` downloads it")
    return census.UCI_PATH


@pytest.fixture(scope="session")
def uci_detector(uci):
    """A detector that is fitted as for the published figures, without what training adds."""
    return fit_detector(split(load_census(str(uci)))[0])


@pytest.fixture(scope="session")
def uci_package(uci, tmp_path_factory):
    """The payload in a folder of its own, trained on UCI's data, and the report."""
    folder = tmp_path_factory.mktemp("uci_package")
    return folder, train_package(folder, uci)


@pytest.fixture(scope="session")
def sample():
    return load_census("sample")


@pytest.fixture(scope="session")
def rows(sample):
    """The sample's rows, encoded: int64, shape (7000, 13)."""
    return sample.values.astype(int)


@pytest.fixture(scope="session", params=[2, 3], ids=["hs-2.4.0", "hs-3.0.3"])
def hs(request):
    """The real command line and its generation, where `make matrix` has installed it."""
    path = ROOT / ".nox" / f"hs-generation-{request.param}" / "bin" / "hs"
    if not path.exists():
        pytest.skip(f"hs {request.param}.x is not installed: `make matrix` does, on Python 3.8")
    return path, request.param


@pytest.fixture
def quick(monkeypatch):
    """Load each artifact once, unless its file has changed, and measure its fields once."""

    def load(path):
        return LOAD(path, path.exists() and path.stat().st_mtime_ns)

    monkeypatch.setattr(detectors, "_load", load)
    monkeypatch.setattr(FieldSurprise, "of", MEASURE)


@pytest.fixture
def scoring(artifact, tmp_path, quick):
    """Run `score` into a folder `out`."""

    def run_score(*arguments):
        own = ("--package", artifact.parent, "--out", tmp_path / "out")
        return run("score", *own, *arguments)

    return run_score


@pytest.fixture
def checked(monkeypatch):
    """Take the check as passed, which is tested by itself and takes seconds."""
    monkeypatch.setattr(findings, "inspect_package", lambda *_: {"import": []})


@pytest.fixture
def manager():
    with stub_manager.running() as manager:
        yield manager
