"""Score a history of requests, in Parquet, CSV or JSON lines, here or on a Dask cluster.

OUT/*.parquet get the kept columns, value, alarm, p_value and because; OUT/rejected the rows that
cannot be scored, with the reason. A picture of the alarm rate is drawn beside, OUT.png.

examples:
  score.py requests.parquet --out reports/history
  score.py feature-lake/adult/1 --out reports/history     a folder, with its partitions
  score.py '*.csv' --keep user --keep time --out scores   columns to keep beside the scores
  score.py s3://bucket/history --out scores --scheduler tcp://HOST:8786
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lib import command
from lib.cluster import connecting, score_blocks
from lib.detector import load_detector, normal_rate
from lib.history import Block, Columns, shorten_url
from lib.history_files import KEPT, plan
from lib.history_report import format_table, plot
from lib.scoring import Tally

from pyarrow import ArrowException
from pyarrow.parquet import read_schema
from tqdm import tqdm

PART = re.compile(r"part-\d{5,}\.parquet")
SCORES = ["value", "alarm", "p_value", "because"]  # the last columns of each part


@command.entry
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    out = arguments.out.resolve()
    if not out.name:
        raise command.UserError(f"--out: {out} cannot be replaced")
    picture = out.with_name(f"{out.name}.png")
    require_replaceable(out, arguments.overwrite)
    command.require_writable(picture)
    began = time.perf_counter()
    detector = load_detector(arguments.artifact)
    features = detector.feature_names_in_.tolist()
    wanted, blocks = plan(arguments.data, features, arguments.keep, arguments.rows_per_block)
    inputs = {Path(shorten_url(piece.url)).resolve() for block in blocks for piece in block}
    if any(path.is_relative_to(out) for path in inputs):
        raise command.UserError(f"{command.shorten(out)} holds an input: not replaced")
    with replacing_folder(out) as folder:
        tallies = score(arguments, wanted, blocks, folder)
        total = sum_tallies(tallies)
        n_rows = total.scored + total.rejected.total()
        if not n_rows:
            raise command.UserError(f"{', '.join(arguments.data)}: no rows")
    seconds = time.perf_counter() - began
    normal = normal_rate(detector, detector.threshold_)
    print(format_table(total, normal))
    searching = f"{total.search_seconds / total.seconds:.0%} of the threads' time in the search"
    print(f"{'took':<12}{seconds:.1f} s, {n_rows / seconds:,.0f} rows a second, {searching}")
    print(f"{'output':<12}{command.shorten(out)}")
    if not total.scored:
        return 1
    plot(tallies, total, normal, picture)
    print(f"{'picture':<12}{command.shorten(picture)}")
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.make_parser(__file__, __doc__)
    option = parser.add_argument
    what = "files, folders, globs or URLs"
    parser.required("data", "requests.parquet", nargs="+", help=what)
    out = command.REPORTS / "history"
    option("--out", type=Path, default=out, metavar="FOLDER", help="where the scores go")
    option("--overwrite", action="store_true", help="replace what an earlier run put there")
    option("--keep", action="append", metavar="COLUMN", help=f"(default: {', '.join(KEPT)})")
    option("--artifact", **command.ARTIFACT_OPTION)
    option("--scheduler", metavar="tcp://HOST:PORT", help="of a Dask cluster to use")
    number = parser.number
    number("--rows-per-block", int, 1, 10**7, default=100_000, metavar="N", help="at a time")
    return parser.parse_args(argv)


def require_replaceable(out: Path, overwrite: bool) -> None:
    """Raise UserError if a folder is there and may not be replaced, or holds what is not ours."""
    if not out.exists():
        return
    if not overwrite:
        raise command.UserError(f"{command.shorten(out)} is there: --overwrite replaces it")
    if not out.is_dir() or not all(map(is_ours, out.iterdir())):
        raise command.UserError(f"{command.shorten(out)} holds more than scores: not replaced")


def is_ours(path: Path) -> bool:
    """Tell whether a file or folder in an output is one that an earlier run put there."""
    if path.name == "rejected":
        return path.is_dir() and all(PART.fullmatch(part.name) for part in path.iterdir())
    try:
        return bool(PART.fullmatch(path.name)) and read_schema(path).names[-4:] == SCORES
    except (OSError, ArrowException):
        return False


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder; it takes the place of `path` once it is whole, or never."""
    new = Path(tempfile.mkdtemp(dir=path.parent, prefix=".tmp-"))
    command.make_readable(new)
    old = new.with_name(f"{new.name}-old")
    try:
        yield new
        if path.exists():
            path.rename(old)
        new.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for left in (old, new):
            shutil.rmtree(left, ignore_errors=True)


def score(
    arguments: argparse.Namespace, wanted: Columns, blocks: Sequence[Block], folder: Path
) -> list[Tally]:
    """Score all blocks into a folder; return the tally of each."""
    tallies = [Tally()] * len(blocks)
    bar = tqdm(total=len(blocks), desc="scoring", unit="block", disable=None)
    with bar, connecting(arguments.scheduler, arguments.artifact) as engine:
        for number, scored in score_blocks(engine, wanted, blocks, arguments.rows_per_block):
            name = f"part-{number:05}.parquet"
            try:
                write(folder / name, scored.scores)
                write(folder / "rejected" / name, scored.rejects)
            except OSError as error:
                problem = f"{arguments.out} cannot be written: {error.strerror}"
                raise command.UserError(problem) from error
            tallies[number] = scored.tally
            bar.update()
    return tallies


def write(path: Path, content: bytes) -> None:
    if content:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


def sum_tallies(tallies: Sequence[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as a Ctrl-C does
    sys.exit(main())
