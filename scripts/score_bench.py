"""Measure the speed and memory of score.py, beside pyod's own search, with one and two workers.

The rows are drawn at random from those of UCI's data that training held out.

examples:
  score_bench.py                  10 million rows, which take some minutes
  score_bench.py --rows 1000000   fewer
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lib import census, command, origin
from lib.detector import load_detector

import numpy as np
import psutil
import pyarrow as pa
from distributed import LocalCluster
from pyarrow import parquet
from pyod.models.knn import KNN
from tqdm import tqdm

if TYPE_CHECKING:
    from portable_knn import PortableKNN

FILE_ROWS = 1_000_000
BEGIN, STEP = 1_700_000_000_000, 3000  # milliseconds
FEW = 100  # pyod scores one row in so many
TOOK = r"took +(\S+) s, (\S+) rows a second, (\d+%)"


class Run(NamedTuple):
    """Of score.py: the seconds and the speed that it printed, and the memory of all processes."""

    seconds: float
    speed: str
    search: str
    resident_mb: float


@command.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = command.make_parser(__file__, __doc__)
    parser.add_argument("--data", **command.DATA)
    parser.number("--rows", int, 1000, 10**9, default=10_000_000, help="to score")
    arguments = parser.parse_args(argv)
    detector = load_detector(command.ARTIFACT)
    data = origin.hold_out(census.load(arguments.data), detector.origin_)
    rows = census.encode(data.records)
    print(f"data: {origin.describe_traffic(data, detector)}, drawn {arguments.rows:,} times")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_history(rows, arguments.rows, folder / "history")
        print(f"{'':<28}{'rows/s':>10}{'s':>8}{'search':>9}{'MB':>8}", flush=True)
        show("threads of one process", run_score(folder))
        show("pyod, one row in a hundred", run_pyod(detector, rows, arguments.rows // FEW))
        one, two = (run_cluster(folder, workers) for workers in (1, 2))
        show("one worker", one)
        show("two workers", two)
        print(f"{'two workers to one':<28}{one.seconds / two.seconds:>9.2f}x")


def write_history(rows: np.ndarray, count: int, folder: Path) -> None:
    """Write rows drawn at random as Parquet, with the platform's ids and times."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for first in tqdm(range(0, count, FILE_ROWS), "drawing", disable=None, leave=False):
        numbers = np.arange(first, min(first + FILE_ROWS, count))
        drawn = rows[random.integers(len(rows), size=len(numbers))]
        columns = dict(zip(census.FEATURES, drawn.T, strict=True))
        columns["_hs_request_id"] = [f"{number:024x}" for number in numbers.tolist()]
        columns["_hs_timestamp"] = BEGIN + STEP * numbers
        parquet.write_table(pa.table(columns), folder / f"{first:012}.parquet")


def run_score(folder: Path, *options: str) -> Run:
    """Run score.py, and add up the memory of this process' children meanwhile."""
    line = [sys.executable, command.ROOT / "scripts" / "score.py", folder / "history"]
    line += ["--out", folder / "scores", "--overwrite", *options]
    most = 0
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            most = max(most, measure_children())
            time.sleep(0.1)
        found = re.search(TOOK, process.stdout.read())
    if found is None:
        raise command.UserError("score.py did not end well")
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


def run_pyod(detector: PortableKNN, rows: np.ndarray, count: int) -> Run:
    """Score rows with pyod's own search of the same training rows, on two cores."""
    names = ("n_neighbors", "p", "contamination")
    pyod = KNN(n_jobs=2, **{name: getattr(detector, name) for name in names})
    pyod.fit(detector.training_rows_)
    drawn = rows[np.random.default_rng(0).integers(len(rows), size=count)]
    began = time.perf_counter()
    pyod.decision_function(drawn)
    seconds = time.perf_counter() - began
    return Run(
        seconds, f"{count / seconds:,.0f}", "100%", psutil.Process().memory_info().rss / 2**20
    )


def show(label: str, run: Run) -> None:
    print(
        f"{label:<28}{run.speed:>10}{run.seconds:>8.1f}{run.search:>9}{run.resident_mb:>8.0f}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
