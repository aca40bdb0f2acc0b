"""Score a history of requests, in Parquet, CSV or JSON lines, here or on a Dask cluster.

OUT/*.parquet get the kept columns, file, row, value, alarm, p_value and top_feature; OUT/rejected
the rows that cannot be scored, with the reason. The alarm rate is drawn beside, as OUT.png.
The exit status is 1 if no row could be scored.

examples:
  score.py requests.parquet --out reports/history
  score.py feature-lake/adult/1 --out reports/history     a folder, with its partitions
  score.py '*.csv' --keep user --keep time --out scores   columns to keep beside the scores
  score.py s3://bucket/history --out scores --scheduler tcp://HOST:8786
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from monitoring import cli, files
from monitoring.contract import Contract
from monitoring.data.readers import TIME
from monitoring.data.sources import KEPT, plan
from monitoring.detection.calibration import require_calibration
from monitoring.detection.detectors import load_detector
from monitoring.history.executor import connecting
from monitoring.history.output import require_no_input_in, require_replaceable, write_scores
from monitoring.history.periods import find_changes
from monitoring.history.report import format_history, plot


@cli.entry
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    out = arguments.out.resolve()
    picture = out.parent / f"{out.name}.png"
    require_replaceable(out, picture, arguments.overwrite)
    files.require_writable(picture, inputs=arguments.data)
    began = time.perf_counter()
    artifact = arguments.artifact or files.artifact_path(files.ROOT)
    detector = load_detector(artifact)
    calibration = require_calibration(detector)
    types = name_types(detector.feature_names_in_.tolist())
    rows = arguments.rows_per_block
    wanted, blocks = plan(arguments.data, types, arguments.keep, rows, arguments.time)
    require_no_input_in(out, blocks)
    with files.replacing_folder(out) as folder:
        with connecting(arguments.scheduler, artifact) as engine:
            total = write_scores(engine, wanted, blocks, rows, folder)
        n_rows = total.scored + total.rejected.total()
        if not n_rows:
            raise cli.UserError(f"{', '.join(arguments.data)}: no rows")
    changed = find_changes(detector, total.periods())
    expected = calibration["alarms"] / calibration["rows"]
    seconds = time.perf_counter() - began
    print(format_history(total, changed, expected))
    searching = f"{total.search_seconds / total.seconds:.0%} of the threads' time in the search"
    print(f"took {seconds:.1f} s, {n_rows / seconds:,.0f} rows a second, {searching}")
    print(f"scores are in {files.shorten(out)}")
    if not total.scored:
        picture.unlink(missing_ok=True)  # of an earlier run
        return 1
    plot(total, changed, expected, picture)
    print(f"the picture is {files.shorten(picture)}")
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.make_parser(__file__, __doc__)
    option = parser.add_argument
    what = "files, folders, globs or URLs"
    parser.required("data", "requests.parquet", nargs="+", help=what)
    out = files.REPORTS / "history"
    option("--out", type=Path, default=out, metavar="FOLDER", help="(default: reports/history)")
    option("--overwrite", action="store_true", help="replace what an earlier run put there")
    what = f"to keep beside {' and '.join(KEPT)}"
    option("--keep", action="append", default=[], metavar="COLUMN", help=what)
    what = f"that days come from (default: {TIME}, else the only one that holds times)"
    option("--time", metavar="COLUMN", help=what)
    option("--artifact", type=Path, help="the trained detector (default: this package's)")
    option("--scheduler", metavar="tcp://HOST:PORT", help="of a Dask cluster to use")
    number = parser.number
    number("--rows-per-block", int, 1, 10**7, default=100_000, metavar="N", help="at a time")
    return parser.parse_args(argv)


def name_types(features: Sequence[str]) -> dict[str, str]:
    """Return the type of each feature as the contract has it; a double where it has none."""
    inputs = Contract.read(files.ROOT).inputs
    types = {field.name: np.dtype(field.numpy_type).name for field in inputs}
    return {name: types.get(name, "float64") for name in features}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as a Ctrl-C does
    sys.exit(main())
