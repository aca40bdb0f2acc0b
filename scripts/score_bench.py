"""Measure the speed and memory of score.py, beside pyod's own search, with one and two workers.

The rows are drawn at random from those of UCI's data that training held out.

examples:
  score_bench.py                  10 million rows, which take some minutes
  score_bench.py --rows 1000000   fewer
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from monitoring import cli, files
from monitoring.bench.histories import FEW, Run, run_cluster, run_pyod, run_score, write_history
from monitoring.contract import Contract
from monitoring.data.loading import load_rows
from monitoring.data.provenance import describe_traffic, hold_out
from monitoring.detection.detectors import load_detector


@cli.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.make_parser(__file__, __doc__)
    parser.data()
    parser.number("--rows", int, 1000, 10**9, default=10_000_000, help="to score")
    arguments = parser.parse_args(argv)
    detector = load_detector(files.artifact_path(files.ROOT))
    contract = Contract.read(files.ROOT)
    rows = load_rows(arguments.data, contract, arguments.most_rejected)
    rows = hold_out(rows, detector.origin_)
    print(f"data: {describe_traffic(rows, detector)}, drawn {arguments.rows:,} times")
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


def show(label: str, run: Run) -> None:
    cells = f"{run.speed:>10}{run.seconds:>8.1f}{run.search:>9}{run.resident_mb:>8.0f}"
    print(f"{label:<28}{cells}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
