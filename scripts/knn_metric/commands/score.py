"""Score a history of requests, in Parquet, CSV or JSON lines, here or on a Dask cluster.

OUT/*.parquet get the kept columns, file, row, value, alarm, p_value and top_feature; OUT/rejected
the rows that cannot be scored, with the reason. The alarm rate is drawn beside, as OUT.png.
A file that cannot be read is named and left out: the exit status is 1; 2 if no row could be scored.

examples:
  knn-metric score requests.parquet
  knn-metric score feature-lake/adult/1 --overwrite        a folder, with its partitions
  knn-metric score '*.csv' --keep user --keep time --out scores
  knn-metric score s3://bucket/history --scheduler tcp://HOST:8786
"""

from contextlib import AbstractContextManager

from knn_metric.cli import FAILED, FOUND, REPORTS, Arguments, Parser, UserError, show


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
    what = "proportion of files, and of rows, that may be unusable"
    parser.number("--most-rejected", float, 0, 1, default=1, help=what)
    parser.number("--rows-per-block", int, 1, 10**7, default=100_000, help="scored at a time")


def run(arguments: Arguments) -> int:
    import signal
    import time

    began = time.perf_counter()
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))  # ends as a Ctrl-C does
    with _saying("starting"):
        from knn_metric import files
        from knn_metric.data.survey import WRITTEN, plan
        from knn_metric.detection.detectors import open_package
        from knn_metric.history import output, report

        contract, detector = open_package(arguments.package)
    out, pages = arguments.out.resolve(), arguments.report
    data, rows, scheduler = arguments.data, arguments.rows_per_block, arguments.scheduler
    picture = out.parent / f"{out.name}.png"
    if taken := ", ".join(name for name in arguments.keep if name in WRITTEN):
        raise UserError(f"{taken} cannot be kept: a column of that name is written")
    output.require_replaceable(out, picture, arguments.overwrite)
    files.require_writable(picture, *pages, inputs=data)
    with files.replacing_folder(out) as folder:
        with _saying("looking for files"):
            kinds = contract.name_kinds(detector.feature_names_in_.tolist())
            wanted, blocks = plan(data, kinds, arguments.keep, rows, arguments.time)
            read = output.list_files(out, blocks)
            work = detector, wanted, blocks, rows
            if scheduler:
                from knn_metric.history.cluster import scoring_there
        with scoring_there(scheduler, *work) if scheduler else output.scoring_here(*work) as scored:
            total = output.write_scores(scored, folder, len(blocks))
        output.require_usable(total, data, read, arguments.most_rejected)
        if total.scored:
            wanted.require_times(len(total.days), arguments.time)
    changed = report.find_changes(detector, total.periods())
    expected = detector.calibration_["alarms"] / detector.calibration_["rows"]
    seconds = time.perf_counter() - began
    print(report.format_history(total, changed, expected))
    searching = f"{total.search_seconds / total.seconds:.0%} of the threads' time in the search"
    print(f"took {seconds:.1f} s, {total.rows / seconds:,.0f} rows a second, {searching}")
    if not total.scored:
        print(f"the rejected rows are in {files.shorten(out)}")
        picture.unlink(missing_ok=True)  # of an earlier run
        return FAILED
    more = f" and {len(data) - 1:,} more" if len(data) > 1 else ""
    rate = f"{total.alarms / total.scored:.2%} of {total.scored:,} requests raise an alarm"
    title = f"{contract.name} on {show(data[0])}{more}: {rate}"
    report.plot(total, changed, expected, title, picture)
    for path in pages:
        report.write_report(path, title, total, changed, expected, picture)
    print(f"written  {', '.join(map(files.shorten, (out, picture, *pages)))}")
    return FOUND if total.refused else 0


def _saying(what: str) -> AbstractContextManager[object]:
    """Say on a terminal what goes on, until the block ends."""
    from tqdm import tqdm

    return tqdm(desc=what, bar_format="{desc}", disable=None, leave=False)
