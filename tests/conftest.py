"""Fixtures: the payload as it is uploaded, with artifacts that were really trained."""

import shutil
import signal

from lib import census, detector, origin
from lib.command import ROOT
from lib.replay import Outcome
from lib.runtime import load_function, load_module

import numpy as np
import pytest
import stub_manager
from helpers import DRIFT, METRIC, load_script, run, train_package
from hypothesis.configuration import set_hypothesis_home_dir

import shadow
import watch

set_hypothesis_home_dir(ROOT / ".venv" / "hypothesis")
# What is started here can be interrupted, also where nohup has the suite ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)


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


LIGHT = """\
from types import SimpleNamespace
import numpy as np
detector = SimpleNamespace(labels_=np.ones(20), origin_={"source": "uci"})
features = FEATURES

def predict(**inputs):
    missing = [name for name in features if name not in inputs]
    if missing:
        raise ValueError(f"{missing[0]}: missing")
    return {"value": 1.0}
"""


@pytest.fixture
def light_package(tmp_path):
    """A package of our contract whose function, which compiles nothing, imports at once."""
    folder = tmp_path / "light"
    (folder / "src").mkdir(parents=True)
    source = LIGHT.replace("FEATURES", repr(list(census.FEATURES)))
    (folder / "src" / "func_main.py").write_text(source)
    for name in ("serving.yaml", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    (folder / "monitoring_model.joblib").touch()
    return folder


@pytest.fixture(scope="session")
def artifact(package):
    return package / "monitoring_model.joblib"


@pytest.fixture(scope="session")
def hvdm_package(tmp_path_factory):
    """The payload in a folder of its own, trained on the sample by the other distance."""
    folder = tmp_path_factory.mktemp("hvdm_package")
    train_package(folder, "sample", "--distance", "hvdm")
    return folder


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


@pytest.fixture(scope="session", params=[2, 3], ids=["hs-2.4.0", "hs-3.0.3"])
def hs(request):
    """The real command line and its generation, where `make matrix` has installed it."""
    path = ROOT / ".nox" / f"hs-generation-{request.param}" / "bin" / "hs"
    if not path.exists():
        pytest.skip(f"hs {request.param}.x is not installed: `make matrix` does, on Python 3.8")
    return path, request.param


@pytest.fixture
def manager():
    with stub_manager.running() as manager:
        yield manager


@pytest.fixture(scope="session")
def requests(func_main):
    """3,000 requests of the sample's held-out rows, as shadow.py chooses them."""
    data = origin.hold_out(census.load("sample"), func_main.detector.origin_)
    return list(shadow.choose_requests(data, 3000, 0, ("hours-per-month", DRIFT)))


@pytest.fixture(scope="session")
def served(requests, package, adult, func_main):
    """What became of the requests: both functions are given what the runtime gives them.

    Over gRPC, whose messages are slow to make in pure Python, they would take twenty seconds.
    """
    classify, score = load_function(adult), load_function(package)
    outcomes = []
    for row, drift_name, codes in requests:
        inputs = dict(zip(census.FEATURES, map(np.int64, codes[:-1]), strict=False))
        classes = classify(**inputs)["classes"]
        outcome = Outcome(row, "sample", drift_name, (*codes[:-1], classes))
        value = score(**inputs, classes=np.int64(classes))["value"]
        outcome.judge(value, func_main.detector.threshold_)
        outcomes.append(outcome)
    return outcomes


@pytest.fixture
def cluster():
    """A stub that knows both models; nothing is attached yet."""
    with stub_manager.running() as cluster:
        cluster.add_version("adult", 1)
        cluster.add_version(METRIC, 1)
        yield cluster


@pytest.fixture
def threshold(func_main):
    return float(func_main.detector.threshold_)


@pytest.fixture
def attach(cluster, threshold):
    """Return a function that attaches a metric to adult:1."""

    def attach(name=METRIC, threshold=threshold):
        config = {"modelVersionId": 12, "threshold": threshold}
        cluster.specs.append({"id": name, "name": name, "modelVersionId": 11, "config": config})

    return attach


@pytest.fixture
def feed(cluster, attach, threshold):
    """Return a function that attaches the metric, and lets sonar keep requests that it checked."""

    def feed(outcomes, **options):
        attach()
        cluster.sonar.add({METRIC: outcomes}, cluster.versions[0], threshold, **options)

    return feed


@pytest.fixture
def look(cluster, artifact, func_main, monkeypatch):
    """Return a function that watches adult:1; loading its artifact takes a while only once."""
    load = detector.load_detector
    loaded = {artifact: func_main.detector}
    monkeypatch.setattr(detector, "load_detector", lambda path: loaded.get(path) or load(path))

    def look(*options, target="adult:1", artifact=artifact):
        own = ("--artifact", artifact) if artifact else ()
        return run(watch.main, target, "--cluster", cluster.address, *own, *options)

    return look


@pytest.fixture
def no_artifact(monkeypatch, tmp_path):
    monkeypatch.setattr(watch.command, "ARTIFACT", tmp_path / "none.joblib")
