"""Measure the speed and memory of `score`, beside pyod's search, with one and two workers.

The rows are drawn at random from those of UCI's data that training held out.

examples:
  python benchmarks/histories.py                  10 million rows, which take some minutes
  python benchmarks/histories.py --rows 1000000   fewer
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
        show("", "rows/s", "s", "search", "MB")
        show("threads of one process", *run_score(folder))
        show("pyod, one row in a hundred", *run_pyod(detector, rows, arguments.rows // FEW))
        for workers in (1, 2):
            show(f"workers: {workers}", *run_cluster(folder, workers))


def show(label: str, speed: str, seconds: str, search: str, resident: str) -> None:
    print(f"{label:<28}{speed:>10}{seconds:>8}{search:>9}{resident:>8}", flush=True)


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


def run_score(folder: Path, *options: str) -> tuple[str, str, str, str]:
    """Run `score`; return its speed, seconds, share of search, and the most memory in MB."""
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
    return found[2], found[1], found[3], f"{most / 2**20:.0f}"


def measure_children() -> int:
    total = 0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            total += child.memory_info().rss
    return total


def run_cluster(folder: Path, workers: int) -> tuple[str, str, str, str]:
    with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster:
        return run_score(folder, "--scheduler", cluster.scheduler_address)


def run_pyod(detector: PortableKNN, rows: Rows, count: int) -> tuple[str, str, str, str]:
    """Score rows with pyod's own search of the same training rows, on two cores."""
    pyod = KNN(n_jobs=2, **{name: getattr(detector, name) for name in PARAMS})
    pyod.fit(detector.training_rows_)
    drawn = rows.values[np.random.default_rng(0).integers(len(rows), size=count)]
    began = time.perf_counter()
    pyod.decision_function(drawn)
    seconds = time.perf_counter() - began
    resident = psutil.Process().memory_info().rss / 2**20
    return f"{count / seconds:,.0f}", f"{seconds:.1f}", "100%", f"{resident:.0f}"


if __name__ == "__main__":
    sys.exit(main())
