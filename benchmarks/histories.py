"""Measure the speed and memory of `score`, in threads of one process and on one and two workers.

The rows are drawn at random from those of UCI's data that training held out.

examples:
  python benchmarks/histories.py                  10 million rows, which take some minutes
  python benchmarks/histories.py --rows 1000000   fewer
"""

import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from distributed import LocalCluster
from pyarrow import parquet

from knn_metric import cli, files
from knn_metric.data.rows import Rows, hold_out, load_census
from knn_metric.detection.detectors import load_detector

FILE_ROWS = 1_000_000
BEGIN, STEP = 1_700_000_000_000, 3000  # milliseconds


@cli.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.Parser(__doc__, prog="histories.py")
    parser.number("--rows", int, 1000, 10**9, default=10_000_000, help="to score")
    arguments = parser.parse_args(argv)
    detector = load_detector(files.ROOT)
    rows = hold_out(load_census("uci"), detector.origin_)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_history(rows, arguments.rows, folder / "history")
        measure(folder, "threads of one process")
        most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        print(f"{'memory of these, at most':<28}{most:,} MB", flush=True)
        for workers in (1, 2):
            with LocalCluster(workers, threads_per_worker=1, dashboard_address=None) as cluster:
                measure(folder, f"workers: {workers}", "--scheduler", cluster.scheduler_address)


def write_history(rows: Rows, count: int, folder: Path) -> None:
    """Write rows drawn at random as Parquet, with the platform's ids and times."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for first in range(0, count, FILE_ROWS):
        numbers = np.arange(first, min(first + FILE_ROWS, count))
        drawn = rows.values[random.integers(len(rows), size=len(numbers))].astype(np.int64)
        columns = dict(zip(rows.names, drawn.T, strict=True))
        columns["_hs_request_id"] = [f"{number:024x}" for number in numbers.tolist()]
        columns["_hs_timestamp"] = BEGIN + STEP * numbers
        parquet.write_table(pa.table(columns), folder / f"{first:012}.parquet")


def measure(folder: Path, label: str, *options: str) -> None:
    """Run `score`, and print what it says it took."""
    line = [sys.executable, "-m", "knn_metric", "score", str(folder / "history")]
    line += ["--out", str(folder / "scores"), "--overwrite", *options]
    found = re.search("took .*", subprocess.run(line, stdout=subprocess.PIPE, text=True).stdout)
    if found is None:
        raise cli.UserError("`knn-metric score` did not end well")
    print(f"{label:<28}{found[0]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
