"""Score a history of requests, in Parquet, CSV or JSON lines, here or on a Dask cluster.

OUT/*.parquet get the kept columns, file, row, value, alarm, p_value and top_feature; OUT/rejected
the rows that cannot be scored, with the reason. The alarm rate is drawn beside, as OUT.png.
The exit status is 2 if no row could be scored.

examples:
  knn-metric score requests.parquet
  knn-metric score feature-lake/adult/1 --overwrite        a folder, with its partitions
  knn-metric score '*.csv' --keep user --keep time --out scores
  knn-metric score s3://bucket/history --scheduler tcp://HOST:8786
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from knn_metric.cli import FAILED, REPORTS, Parser, UserError, complain


def add_arguments(parser: Parser) -> None:
    option = parser.add_argument
    what = "files, folders, globs or URLs"
    parser.required("data", "requests.parquet", nargs="+", metavar="FILE", help=what)
    parser.package()
    parser.out(REPORTS / "history")
    parser.report()
    option("--overwrite", action="store_true", help="replace what an earlier run put there")
    what = "to keep beside _hs_request_id and _hs_timestamp"
    option("--keep", action="append", default=[], metavar="COLUMN", help=what)
    parser.time()
    option("--scheduler", metavar="tcp://HOST:PORT", help="of a Dask cluster to use")
    parser.number("--rows-per-block", int, 1, 10**7, default=100_000, help="scored at a time")


def run(arguments: argparse.Namespace) -> int:
    import signal
    import time

    from knn_metric import files
    from knn_metric.data.survey import plan, stream
    from knn_metric.detection.calibration import require_calibration
    from knn_metric.detection.detectors import load_detector
    from knn_metric.history.output import (
        Threads,
        require_no_input_in,
        require_replaceable,
        write_scores,
    )
    from knn_metric.history.periods import find_changes
    from knn_metric.history.report import format_history, plot, write_report

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as a Ctrl-C does
    out = arguments.out.resolve()
    picture = out.parent / f"{out.name}.png"
    require_replaceable(out, picture, arguments.overwrite)
    page = [arguments.report] if arguments.report else []
    files.require_writable(picture, *page, inputs=arguments.data)
    began = time.perf_counter()
    artifact = files.artifact_path(arguments.package)
    detector = load_detector(artifact)
    calibration = require_calibration(detector)
    types = name_types(arguments.package, detector.feature_names_in_.tolist())
    rows = arguments.rows_per_block
    wanted, blocks = plan(arguments.data, types, arguments.keep, rows, arguments.time)
    require_no_input_in(out, blocks)
    with files.replacing_folder(out) as folder:
        if arguments.scheduler:
            from knn_metric.history.cluster import connecting

            with connecting(arguments.scheduler, artifact, wanted, rows) as cluster:
                total = write_scores(cluster, blocks, folder, len(blocks))
        else:
            with Threads(detector, wanted, rows) as threads:
                streamed = stream(blocks, wanted, rows)
                total = write_scores(threads, streamed, folder, len(blocks))
        n_rows = total.scored + total.rejected.total()
        if not n_rows:
            raise UserError(f"{', '.join(arguments.data)}: no rows")
        if wanted.time and total.scored and not total.days:
            problem = f"{wanted.time}: no cell of that column is a time"
            if arguments.time:
                raise UserError(f"--time {problem}")
            complain(problem)
    changed = find_changes(detector, total.periods())
    expected = calibration["alarms"] / calibration["rows"]
    seconds = time.perf_counter() - began
    print(format_history(total, changed, expected))
    searching = f"{total.search_seconds / total.seconds:.0%} of the threads' time in the search"
    print(f"took {seconds:.1f} s, {n_rows / seconds:,.0f} rows a second, {searching}")
    if not total.scored:
        print(f"the rejected rows are in {files.shorten(out)}")
        picture.unlink(missing_ok=True)  # of an earlier run
        return FAILED
    plot(total, changed, expected, picture)
    for path in page:
        write_report(path, total, changed, expected, picture)
    written = map(files.shorten, (out, picture, *page))
    print(f"written  {', '.join(written)}")
    return 0


def name_types(package: Path, features: Sequence[str]) -> dict[str, str]:
    """Return the type of each feature as the contract has it; a double where it has none."""
    import numpy as np

    from knn_metric.contract import Contract

    inputs = Contract.read(package).inputs
    types = {field.name: np.dtype(field.numpy_type).name for field in inputs}
    return {name: types.get(name, "float64") for name in features}
