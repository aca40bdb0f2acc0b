"""The speed and memory of score.py on histories, beside pyod's own search."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import psutil
import pyarrow as pa
from distributed import LocalCluster
from pyarrow import parquet
from pyod.models.knn import KNN
from tqdm import tqdm

from monitoring.cli import UserError
from monitoring.data.rows import Rows
from monitoring.files import ROOT

if TYPE_CHECKING:
    from portable_knn import PortableKNN

FILE_ROWS = 1_000_000
BEGIN, STEP = 1_700_000_000_000, 3000  # milliseconds
FEW = 100  # pyod scores one row in so many
TOOK = r"took (\S+) s, (\S+) rows a second, (\d+%)"


class Run(NamedTuple):
    """Of score.py: the seconds and the speed that it printed, and the memory of all processes."""

    seconds: float
    speed: str
    search: str
    resident_mb: float


def write_history(rows: Rows, count: int, folder: Path) -> None:
    """Write rows drawn at random as Parquet, with the platform's ids and times."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for first in tqdm(range(0, count, FILE_ROWS), "drawing", disable=None, leave=False):
        numbers = np.arange(first, min(first + FILE_ROWS, count))
        drawn = rows.values[random.integers(len(rows), size=len(numbers))].astype(np.int64)
        columns: dict[str, Any] = dict(zip(rows.names, drawn.T, strict=True))
        columns["_hs_request_id"] = [f"{number:024x}" for number in numbers.tolist()]
        columns["_hs_timestamp"] = BEGIN + STEP * numbers
        parquet.write_table(pa.table(columns), folder / f"{first:012}.parquet")


def run_score(folder: Path, *options: str) -> Run:
    """Run score.py, and add up the memory of this process' children meanwhile."""
    line = [sys.executable, str(ROOT / "scripts" / "score.py"), str(folder / "history")]
    line += ["--out", str(folder / "scores"), "--overwrite", *options]
    most = 0
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            most = max(most, measure_children())
            time.sleep(0.1)
        found = re.search(TOOK, process.stdout.read() if process.stdout else "")
    if found is None:
        raise UserError("score.py did not end well")
    return Run(float(found[1]), found[2], found[3], most / 2**20)


def measure_children() -> int:
    total = 0
    for child in psutil.Process().children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def run_cluster(folder: Path, workers: int) -> Run:
    with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster:
        return run_score(folder, "--scheduler", cluster.scheduler_address)


def run_pyod(detector: PortableKNN, rows: Rows, count: int) -> Run:
    """Score rows with pyod's own search of the same training rows, on two cores."""
    names = ("n_neighbors", "p", "contamination")
    pyod = KNN(n_jobs=2, **{name: getattr(detector, name) for name in names})
    pyod.fit(detector.training_rows_)
    drawn = rows.values[np.random.default_rng(0).integers(len(rows), size=count)]
    began = time.perf_counter()
    pyod.decision_function(drawn)
    seconds = time.perf_counter() - began
    return Run(
        seconds, f"{count / seconds:,.0f}", "100%", psutil.Process().memory_info().rss / 2**20
    )
