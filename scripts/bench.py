"""Measure latency, start, training, batches and growth beside pyod and a constant, in one run.

examples:
  bench.py                    with the rows of UCI's data that training held out
  bench.py --data adult.test  with another file's rows
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from monitoring import cli, files
from monitoring.bench.report import format_tables, plot
from monitoring.bench.requests import Bench, describe_machine, measure
from monitoring.contract import Contract
from monitoring.data.loading import load_rows
from monitoring.data.provenance import describe_traffic, hold_out
from monitoring.detection.detectors import load_detector


@cli.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.make_parser(__file__, __doc__)
    parser.data()
    what = "where bench.json and bench.png go"
    parser.add_argument("--reports", type=Path, default=files.REPORTS, help=what)
    arguments = parser.parse_args(argv)
    figures, picture = arguments.reports / "bench.json", arguments.reports / "bench.png"
    files.require_writable(figures, picture, inputs=[arguments.data])
    contract = Contract.read(files.ROOT)
    detector = load_detector(files.artifact_path(files.ROOT), contract.input_names)
    rows = hold_out(load_rows(arguments.data, contract, arguments.most_rejected), detector.origin_)
    print(f"machine: {describe_machine()}\ndata: {describe_traffic(rows, detector)}\n")
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Bench(Path(folder), detector, rows))
    with files.replacing_file(figures) as new:
        new.write_text(json.dumps(results, indent=1))
    print(format_tables(results))
    plot(results, rows.source, picture)
    print(f"\nfigures: {files.shorten(figures)}, picture: {files.shorten(picture)}")


if __name__ == "__main__":
    sys.exit(main())
