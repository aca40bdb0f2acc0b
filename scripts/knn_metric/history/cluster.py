"""A Dask cluster that scores blocks of a history.

Its workers read the same files by the same names. They need the packages that are pinned here; the
artifact and the code that scores a block are sent to them.
"""

import logging
import pickle
import re
import shutil
import sys
import uuid
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import cloudpickle
from distributed import Client, KilledWorker, Worker, WorkerPlugin, get_worker
from distributed.comm.core import CommClosedError

from knn_metric.cli import UserError
from knn_metric.data.validation import Block, Wanted
from knn_metric.files import ARTIFACT
from knn_metric.history.output import complete
from knn_metric.history.scoring import AT_ONCE, Scored
from portable_knn import PortableKNN

PATIENCE = 10  # seconds, for the scheduler to answer and for a worker to be there
# Packages whose versions must match: on the scheduler; on each worker.
SENDING = ("python", "dask", "distributed", "cloudpickle")
SCORING = (*SENDING, "pyarrow", "pyod", "numpy", "scipy", "numba", "joblib")
MICRO = re.compile(r"\.\d+\.final\.\d+$")  # of Python's own version, which may differ
# The packages that are sent to workers.
SHIPPED = ("portable_knn", "knn_metric")


@contextmanager
def scoring_there(
    scheduler: str, detector: PortableKNN, wanted: Wanted, blocks: Sequence[Block], rows: int
) -> Iterator[Iterator[tuple[int, Scored]]]:
    """Yield the number of each block and what came of it on a cluster; leave nothing behind there.

    A scheduler has none of our modules and is sent only bytes.
    """
    shipment, ours = Shipment(detector), sys.modules[__name__]
    with _connect(scheduler) as client:

        def look() -> None:
            if not client.nthreads():
                raise UserError("no worker is left")

        cloudpickle.register_pickle_by_value(ours)  # which the workers do not have yet
        try:
            client.register_plugin(shipment, shipment.name)  # to workers that come later, too
            submit = partial(client.get_executor().submit, _score_there, shipment.name)
            futures = (
                submit(pickle.dumps((wanted, block, min(rows, AT_ONCE)))) for block in blocks
            )
            yield complete(futures, sum(client.nthreads().values()), PATIENCE, look)
        except (CancelledError, CommClosedError) as error:
            raise UserError("the connection to the scheduler is lost") from error
        except KilledWorker as error:
            raise UserError(
                f"{error.allowed_failures + 1} workers died of the same block, the last one"
                f" {error.last_worker.address}: is its memory too small for {rows:,} rows?"
            ) from error
        finally:
            if client.status == "running":
                client.unregister_worker_plugin(shipment.name)
            cloudpickle.unregister_pickle_by_value(ours)


def _score_there(folder: str, work: bytes) -> Any:
    """Score a block on a worker, by the modules that are there by now."""
    reading = import_module("knn_metric.data.validation")
    scoring = import_module("knn_metric.history.scoring")
    path = Path(get_worker().local_directory).resolve() / folder / ARTIFACT
    # The digest of the artifact is checked.
    return scoring.score_block(scoring.load_once(str(path)), reading.read_rows(*pickle.loads(work)))


@contextmanager
def _connect(scheduler: str) -> Iterator[Client]:
    # What Dask says of a lost cluster is one line of ours.
    logging.getLogger("distributed").handlers = [logging.NullHandler()]
    warnings.filterwarnings("ignore", module="distributed")
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
    places = {"the scheduler": versions["scheduler"]["packages"]}
    places |= {f"worker {name}": one["packages"] for name, one in versions["workers"].items()}
    for place, there in places.items():
        others = [
            f"{name} {there.get(name) or 'none'} ({here[name]} here)"
            for name in (SENDING if place == "the scheduler" else SCORING)
            if MICRO.sub("", str(there.get(name))) != MICRO.sub("", str(here[name]))
        ]
        if others:
            raise UserError(f"{place} has other packages than are pinned here: {', '.join(others)}")


class Shipment(WorkerPlugin):
    """The packages and the artifact that a worker needs, in a folder of its own."""

    def __init__(self, detector: PortableKNN) -> None:
        self.name = f"knn-metric-{uuid.uuid4().hex}"
        folders = [Path(str(import_module(name).__file__)).parent for name in SHIPPED]
        self.files = {
            str(path.relative_to(folder.parent)): path.read_bytes()
            for folder in folders
            for path in folder.rglob("*.py")
        }
        # As `PortableKNN.save` writes it: the file may have been replaced since it was read.
        self.files[ARTIFACT] = pickle.dumps(detector, protocol=4)

    def setup(self, worker: Worker) -> None:
        self.folder = Path(worker.local_directory).resolve() / self.name
        for name, content in self.files.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(content)
        self._forget_modules()
        sys.path.insert(0, str(self.folder))

    def teardown(self, worker: Worker) -> None:
        sys.path[:] = [path for path in sys.path if path != str(self.folder)]
        self._forget_modules()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _forget_modules(self) -> None:
        """Let the next import find these files, whatever a worker ran before."""
        for name in list(sys.modules):
            if name.split(".")[0] in SHIPPED:
                del sys.modules[name]
