"""Score the blocks of a history with Dask: in threads of this process, or on a cluster.

A cluster's workers read the same files by the same names. They need the packages that are pinned
here; the artifact and the code that scores a block are sent to them.
"""

from __future__ import annotations

import logging
import pickle
import shutil
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
from dask.system import CPU_COUNT
from distributed import Client, Future, KilledWorker, LocalCluster, Worker, WorkerPlugin, wait
from distributed.comm import CommClosedError

from knn_metric.cli import UserError
from knn_metric.data.readers import Block, Wanted
from knn_metric.files import ARTIFACT
from knn_metric.history.scoring import Scored

PATIENCE = 10  # seconds, for the scheduler to answer and for a worker to be there
# Packages whose versions must match: on the scheduler; on each worker.
SENDING = ("python", "dask", "distributed", "cloudpickle")
SCORING = (*SENDING, "pyarrow", "pyod", "numpy", "scipy", "numba", "joblib")
# The packages that are sent to workers.
SHIPPED = ("portable_knn", "knn_metric")


class Engine(NamedTuple):
    """Where blocks are scored, and by which artifact: a path there, below a worker's folder."""

    client: Client
    artifact: str


@contextmanager
def connecting(scheduler: str | None, artifact: Path) -> Iterator[Engine]:
    """Start threads here or prepare a cluster, and leave nothing behind.

    Parameters
    ----------
    scheduler : str or None
        The cluster's address.
    artifact : Path

    Raises
    ------
    UserError
        If the cluster cannot be reached, has no workers or other packages.
    """
    with _quietening_dask():
        if scheduler is None:
            with _start_threads() as client:
                yield Engine(client, str(artifact.resolve()))
        else:
            shipment = Shipment(artifact)
            with _connect(scheduler) as client, _shipping(client, shipment):
                yield Engine(client, f"{shipment.name}/{ARTIFACT}")


@contextmanager
def _quietening_dask() -> Iterator[None]:
    """Keep to ourselves what Dask says of a lost cluster, which is one line of ours."""
    logger = logging.getLogger("distributed")
    levels = {handler: handler.level for handler in logger.handlers}
    for handler in levels:
        handler.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="distributed")
            yield
    finally:
        for handler, level in levels.items():
            handler.setLevel(level)


@contextmanager
def _start_threads() -> Iterator[Client]:
    settings = {"processes": False, "dashboard_address": None, "memory_limit": 0}
    cluster = LocalCluster(n_workers=1, threads_per_worker=CPU_COUNT, **settings)
    with cluster, Client(cluster) as client:
        yield client


@contextmanager
def _connect(scheduler: str) -> Iterator[Client]:
    try:
        client = Client(scheduler, timeout=PATIENCE)
    except (OSError, ValueError, TypeError) as error:  # TypeError: of tls:// without settings
        raise UserError(f"no Dask scheduler answers at {scheduler}") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except OSError as error:
            raise UserError(f"the cluster at {scheduler} has no workers") from error
        _require_same_packages(client)
        yield client


def _require_same_packages(client: Client) -> None:
    versions: Any = client.get_versions(packages=list(SCORING))
    here = versions["client"]["packages"]
    workers = [(f"worker {name}", one, SCORING) for name, one in versions["workers"].items()]
    places = [("the scheduler", versions["scheduler"], SENDING), *workers]
    for place, found, names in places:
        there = found["packages"]
        others = [
            f"{name} {there.get(name) or 'none'} ({here[name]} here)"
            for name in names
            if _shorten_version(there.get(name)) != _shorten_version(here[name])
        ]
        if others:
            raise UserError(f"{place} has other packages than are pinned here: {', '.join(others)}")


def _shorten_version(version: str | None) -> str | None:
    """Leave out all but major and minor of ``3.11.7.final.0``, as Python's own is given."""
    return ".".join(version.split(".")[:2]) if version and ".final." in version else version


def _find_package(name: str) -> Path:
    return Path(str(import_module(name).__file__)).parent


class Shipment(WorkerPlugin):
    """The packages and the artifact that a worker needs, in a folder of its own."""

    def __init__(self, artifact: Path) -> None:
        self.name = f"knn-metric-{uuid.uuid4().hex}"
        self.files = {
            str(path.relative_to(folder.parent)): path.read_bytes()
            for folder in map(_find_package, SHIPPED)
            for path in folder.rglob("*.py")
        }
        self.files[ARTIFACT] = artifact.read_bytes()
        self.packages = SHIPPED

    def setup(self, worker: Worker) -> None:
        folder = self._find_folder(worker)
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        self._forget_modules()
        sys.path.insert(0, str(folder))

    def teardown(self, worker: Worker) -> None:
        folder = self._find_folder(worker)
        sys.path[:] = [path for path in sys.path if path != str(folder)]
        self._forget_modules()
        shutil.rmtree(folder, ignore_errors=True)

    def _find_folder(self, worker: Worker) -> Path:
        return Path(worker.local_directory).resolve() / self.name

    def _forget_modules(self) -> None:
        """Let the next import find these files, whatever a worker ran before."""
        for name in list(sys.modules):
            if name.split(".")[0] in self.packages:
                del sys.modules[name]


@contextmanager
def _shipping(client: Client, shipment: Shipment) -> Iterator[None]:
    """Send packages to all workers, also to those that come later, and remove them at the end."""
    # The workers have no module of this name yet.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        client.register_plugin(shipment, shipment.name)
        yield
    finally:
        if client.status == "running":
            client.unregister_worker_plugin(shipment.name)
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def score_blocks(
    engine: Engine, wanted: Wanted, blocks: Sequence[Block], rows: int
) -> Iterator[tuple[int, Scored]]:
    """Score all blocks; yield each one's number and what came of it, in the order of completion.

    Only as many blocks are under way as keep all threads busy, so that memory stays bounded.

    Raises
    ------
    UserError
        If a file cannot be read, or the cluster is lost.
    """
    score = _make_task(engine.artifact)
    waiting: dict[Future, int] = {}
    unsent = iter(enumerate(blocks))
    run = uuid.uuid4().hex

    def submit(count: int) -> None:
        for number, block in islice(unsent, count):
            arguments = pickle.dumps((wanted, block, rows))
            future = engine.client.submit(score, arguments, key=f"score-{run}-{number}")
            waiting[future] = number

    try:
        submit(2 * sum(engine.client.nthreads().values()))
        while waiting:
            try:
                done = wait(list(waiting), timeout=PATIENCE, return_when="FIRST_COMPLETED").done
            except TimeoutError as error:
                if not engine.client.nthreads():
                    raise UserError("no worker is left") from error
                continue
            for future in done:
                yield waiting.pop(future), pickle.loads(future.result())
            submit(len(done))
    except (CancelledError, CommClosedError) as error:
        raise UserError("the connection to the scheduler is lost") from error
    except KilledWorker as error:
        raise UserError(
            f"{error.allowed_failures + 1} workers died of the same block, the last one"
            f" {error.last_worker.address}: is its memory too small for {rows:,} rows?"
        ) from error


def _make_task(artifact: str) -> Callable[[bytes], bytes]:
    """Return what a worker runs. A scheduler has none of our modules and sees only bytes."""

    def score(arguments: bytes) -> bytes:
        import pickle
        from importlib import import_module
        from pathlib import Path

        from distributed import get_worker

        path = Path(get_worker().local_directory).resolve() / artifact
        scored = import_module("knn_metric.history.scoring").score_block(
            str(path), *pickle.loads(arguments)
        )
        return pickle.dumps(scored)

    return score
