"""Measure the speed and memory of `score`, beside pyod's search, with one and two workers.

The rows are drawn at random from those of UCI's data that training held out.

examples:
  histories.py                  10 million rows, which take some minutes
  histories.py --rows 1000000   fewer
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import psutil
import pyarrow as pa
from distributed import LocalCluster
from pyarrow import parquet
from pyod.models.knn import KNN

from knn_metric import cli, files
from knn_metric.cli import PARAMS
from knn_metric.contract import Contract
from knn_metric.data.loading import load_rows
from knn_metric.data.rows import Rows, describe_traffic, hold_out
from knn_metric.detection.detectors import load_detector

if TYPE_CHECKING:
    from portable_knn import PortableKNN

FILE_ROWS = 1_000_000
BEGIN, STEP = 1_700_000_000_000, 3000  # milliseconds
FEW = 100  # pyod scores one row in so many
TOOK = r"took (\S+) s, (\S+) rows a second, (\d+%)"


class Run(NamedTuple):
    """Of `score`: the seconds and the speed that it printed, and the memory of all processes."""

    seconds: float
    speed: str
    search: str
    resident: int

    def show(self, label: str) -> None:
        cells = f"{self.speed:>10}{self.seconds:>8.1f}{self.search:>9}{self.resident / 2**20:>8.0f}"
        print(f"{label:<28}{cells}", flush=True)


@cli.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.Parser(__doc__, prog="histories.py")
    parser.data()
    parser.number("--rows", int, 1000, 10**9, default=10_000_000, help="to score")
    arguments = parser.parse_args(argv)
    contract = Contract.read(files.ROOT)
    detector = load_detector(files.artifact_path(files.ROOT), contract.input_names)
    rows = hold_out(load_rows(arguments.data, contract, arguments.most_rejected), detector.origin_)
    print(f"data: {describe_traffic(rows, detector)}, drawn {arguments.rows:,} times")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_history(rows, arguments.rows, folder / "history")
        print(f"{'':<28}{'rows/s':>10}{'s':>8}{'search':>9}{'MB':>8}", flush=True)
        run_score(folder).show("threads of one process")
        run_pyod(detector, rows, arguments.rows // FEW).show("pyod, one row in a hundred")
        one, two = (run_cluster(folder, workers) for workers in (1, 2))
        one.show("one worker")
        two.show("two workers")
        print(f"{'two workers to one':<28}{one.seconds / two.seconds:>9.2f}x")


def write_history(rows: Rows, count: int, folder: Path) -> None:
    """Write rows drawn at random as Parquet, with the platform's ids and times."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for first in range(0, count, FILE_ROWS):
        numbers = np.arange(first, min(first + FILE_ROWS, count))
        drawn = rows.values[random.integers(len(rows), size=len(numbers))].astype(np.int64)
        columns: dict[str, Any] = dict(zip(rows.names, drawn.T, strict=True))
        columns["_hs_request_id"] = [f"{number:024x}" for number in numbers.tolist()]
        columns["_hs_timestamp"] = BEGIN + STEP * numbers
        parquet.write_table(pa.table(columns), folder / f"{first:012}.parquet")


def run_score(folder: Path, *options: str) -> Run:
    """Run `score`, and add up the memory of this process' children meanwhile."""
    line = [sys.executable, "-m", "knn_metric", "score", str(folder / "history")]
    line += ["--out", str(folder / "scores"), "--overwrite", *options]
    most = 0
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            most = max(most, measure_children())
            time.sleep(0.1)
        found = re.search(TOOK, process.stdout.read() if process.stdout else "")
    if found is None:
        raise cli.UserError("`knn-metric score` did not end well")
    return Run(float(found[1]), found[2], found[3], most)


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
    pyod = KNN(n_jobs=2, **{name: getattr(detector, name) for name in PARAMS})
    pyod.fit(detector.training_rows_)
    drawn = rows.values[np.random.default_rng(0).integers(len(rows), size=count)]
    began = time.perf_counter()
    pyod.decision_function(drawn)
    seconds = time.perf_counter() - began
    return Run(seconds, f"{count / seconds:,.0f}", "100%", psutil.Process().memory_info().rss)


if __name__ == "__main__":
    sys.exit(main())
