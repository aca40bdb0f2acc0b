"""Scoring a history on a real Dask cluster on loopback, and what may befall it: `make cluster`."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import psutil
import pyarrow as pa
import pytest
from helpers import assert_one_line, damage, run
from pyarrow import parquet

from knn_metric.cli import INTERRUPTED
from knn_metric.data import census
from knn_metric.files import ROOT

pytestmark = pytest.mark.cluster
BLOCK = 3500
BLOCKS = 40


class Cluster:
    """A scheduler and workers, each a process of its own that knows nothing of this repository."""

    def __init__(self, folder, n_workers):
        self.folder, self.file = folder, folder / "scheduler.json"
        self.scheduler = self.start("scheduler", "--host", "127.0.0.1", "--port", "0")
        self.workers = []
        for _ in range(n_workers):
            self.add_worker()

    def start(self, kind, *options):
        line = [sys.executable, "-m", "dask", kind, "--scheduler-file", self.file, "--no-dashboard"]
        with (self.folder / f"{kind}.log").open("a") as log:
            return subprocess.Popen([*line, *options], cwd=self.folder, stdout=log, stderr=log)

    def add_worker(self):
        limits = ("--nthreads", "1", "--no-nanny", "--local-directory", self.folder / "workers")
        self.workers.append(self.start("worker", *limits))

    def kill_workers(self):
        for worker in self.workers[:2]:
            worker.kill()

    @property
    def address(self):
        wait_for(lambda: self.file.exists() and self.file.read_text().endswith("}"))
        return json.loads(self.file.read_text())["address"]


def wait_for(condition):
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline, "nothing happened for three minutes"
        time.sleep(0.01)


@contextmanager
def running(folder, n_workers=2):
    cluster = Cluster(folder, n_workers)
    try:
        yield cluster
    finally:
        for process in (*cluster.workers, cluster.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path_factory):
    with running(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def options(rows, artifact, tmp_path_factory):
    """Many blocks of rows, and some in each that cannot be scored."""
    path = tmp_path_factory.mktemp("history") / "rows.parquet"
    codes = dict(zip(census.FEATURES, rows.T, strict=True))
    codes["age"] = pa.array(rows[:, 0], mask=np.arange(len(rows)) % 1000 == 0)
    table = pa.concat_tables([pa.table(codes)] * (BLOCKS * BLOCK // len(rows)))
    parquet.write_table(table, path, row_group_size=7000)
    return [path, "--package", artifact.parent, "--rows-per-block", BLOCK]


@pytest.fixture(scope="module")
def expected(options, tmp_path_factory):
    """What threads of this process write: each file's name and bytes."""
    out = tmp_path_factory.mktemp("threads") / "out"
    assert run("score", *options, "--out", out).status == 0
    return read(out)


def read(out):
    files = {path.relative_to(out): path.read_bytes() for path in out.rglob("*.parquet")}
    assert len(files) == 2 * BLOCKS
    return files


@contextmanager
def when_half_written(folder, act):
    """Do something as soon as the first blocks of an output are there."""
    done = []

    def watch():
        wait_for(lambda: len(list(folder.glob(".tmp-*/part-*"))) > 2)
        done.append(act())

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    thread.join()
    assert done


@pytest.fixture
def score(options, tmp_path):
    """Return a function that scores on a cluster into a folder `out`."""

    def score(cluster, *others):
        address = ("--scheduler", cluster.address)
        return run("score", *(others or options), "--out", tmp_path / "out", *address)

    return score


@pytest.mark.parametrize("n_workers", [1, 2])
def test_workers_write_what_threads_write(n_workers, score, expected, tmp_path):
    (tmp_path / "cluster").mkdir()
    with running(tmp_path / "cluster", n_workers) as cluster:
        assert score(cluster)[::2] == (0, "")
        assert not list(tmp_path.glob("cluster/workers/**/*.py")), "the package is still there"
    assert read(tmp_path / "out") == expected


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda cluster: cluster.workers[0].kill(), None),
        # It is sent the package too, though the others have it and are gone.
        (lambda cluster: (cluster.add_worker(), cluster.kill_workers()), None),
        (Cluster.kill_workers, "no worker is left"),
        (lambda cluster: cluster.scheduler.kill(), "the connection to the scheduler is lost"),
    ],
    ids=["one worker", "one comes late", "all workers", "the scheduler"],
)
def test_what_is_killed(act, words, cluster, score, expected, tmp_path, monkeypatch):
    if words:
        monkeypatch.setattr("knn_metric.history.cluster.PATIENCE", 3)
    with when_half_written(tmp_path, lambda: act(cluster)):
        result = score(cluster)
    if words:
        assert_one_line(result, words)
        assert not list(tmp_path.iterdir())
    else:
        assert result[::2] == (0, "")
        assert read(tmp_path / "out") == expected


@pytest.mark.parametrize(
    ("engine", "number"),
    [("threads", signal.SIGINT), ("threads", signal.SIGTERM), ("cluster", signal.SIGINT)],
)
def test_an_interruption(engine, number, options, tmp_path, request):
    line = [sys.executable, "-m", "knn_metric", "score", *options, "--out", tmp_path / "out"]
    if engine == "cluster":
        line += ["--scheduler", request.getfixturevalue("cluster").address]
    process = subprocess.Popen(
        list(map(str, line)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    with when_half_written(tmp_path, lambda: os.killpg(process.pid, number)):
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (INTERRUPTED, b"", b"knn-metric score: interrupted\n")
    assert not list(tmp_path.iterdir())
    sessions = [os.getsid(one.pid) for one in psutil.process_iter() if one.is_running()]
    assert process.pid not in sessions


def test_a_cluster_without_workers(score, tmp_path, monkeypatch):
    monkeypatch.setattr("knn_metric.history.cluster.PATIENCE", 2)
    with running(tmp_path, 0) as cluster:
        assert_one_line(score(cluster), f"the cluster at {cluster.address} has no workers")


def test_other_packages(cluster, score, tmp_path, monkeypatch):
    """As if a numba of this machine's own were not the workers'."""
    from distributed import versions  # which takes half a second

    known = versions._version_cached
    monkeypatch.setattr(
        versions, "_version_cached", lambda name: "0.1" if name == "numba" else known(name)
    )
    assert_one_line(score(cluster), "worker tcp://", "numba", "(0.1 here)")
    assert not list(tmp_path.iterdir())


def test_a_damaged_file(cluster, score, options, expected, tmp_path):
    """The worker's line names it, and the same cluster goes on with the next history."""
    damaged = tmp_path / "damaged.parquet"
    damage(options[0], damaged)
    assert_one_line(score(cluster, damaged, *options[1:]), damaged)
    assert list(tmp_path.iterdir()) == [damaged]
    assert score(cluster).status == 0
    assert read(tmp_path / "out") == expected


def test_workers_need_no_more_than_is_uploaded():
    """What is imported there besides Dask and pyarrow, requirements.txt pins; psutil joblib may."""
    names = "{name.split('.')[0] for name in sys.modules}"
    program = f"import sys, knn_metric.history.scoring; print(*{names})"
    line = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    result = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    assert not {"tqdm", "requests", "aiohttp", "grpc", "dask"} & set(result.stdout.split())
