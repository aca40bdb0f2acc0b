"""Replay census rows through a target model and its metric as Hydrosphere shadows them.

examples:
  shadow.py --drift age-in-months@1000        local runtimes, drift from request 1000 on
  shadow.py --data adult.test --rows 16281    each row of a file once
  shadow.py --target HOST:PORT --metric HOST:PORT   runtimes that are running already
  shadow.py --from reports/shadow.csv --threshold 5   what another threshold would have done
"""

from __future__ import annotations

import argparse
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path

from lib import INTERRUPTED, census, command, drift, origin
from lib.detector import load_detector, normal_rate
from lib.gateway import Gateway
from lib.replay import Outcome, account, normal_rate_of, read_csv, write_csv
from lib.replay_report import describe, format_table, plot
from lib.runtime import read_definition, serving

import numpy as np
from tqdm import tqdm

Request = tuple[int, str, list[int]]  # position, name of the drift or '', codes


@command.entry
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    return review(arguments) if arguments.csv else shadow(arguments)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.make_parser(__file__, __doc__)
    option = parser.add_argument
    option("--data", **command.DATA)
    number = parser.number
    number("--rows", int, 1, 1_000_000, default=2000, help="to send")
    number("--rate", float, 0, 1e6, default=0, help="requests a second, 0 for no limit")
    number("--concurrency", int, 1, 1000, default=4, help="requests at a time")
    number("--seed", int, 0, 2**32 - 1, default=0, help="of the rows' order")
    option("--drift", type=drift_start, help=f"NAME@ROW, of {', '.join(drift.DRIFTS)}")
    target = command.ROOT / "examples" / "adult"
    option("--target", default=target, help="HOST:PORT or a folder to serve")
    option("--metric", default=command.ROOT, help="HOST:PORT or a folder")
    option("--artifact", type=Path, help="the metric's (default: the one in its folder)")
    number("--threshold", float, 0, float("inf"), help="of the alarm, else the artifact's")
    option("--from", type=Path, dest="csv", help="review this replay instead of sending one")
    option("--reports", type=Path, default=command.REPORTS, help="where files go")
    arguments = parser.parse_args(argv)
    if arguments.csv and arguments.threshold is None:
        parser.error("--from needs --threshold")
    if arguments.drift and arguments.drift[1] >= arguments.rows:
        parser.error(f"--drift: only {arguments.rows:,} requests are sent, see --rows")
    return arguments


def drift_start(text: str) -> tuple[str, int]:
    name, _, row = text.partition("@")
    if name not in drift.DRIFTS or not (row.isascii() and row.isdigit()):
        names = ", ".join(drift.DRIFTS)
        raise argparse.ArgumentTypeError(f"expected NAME@ROW with NAME of {names}, got {text!r}")
    return name, int(row)


def review(arguments: argparse.Namespace) -> int:
    """Hold an earlier replay against another threshold; its own picture stays."""
    outcomes = read_csv(arguments.csv, arguments.threshold)
    picture = arguments.csv.with_name(f"{arguments.csv.stem}-{arguments.threshold:g}.png")
    normal = normal_rate_of(outcomes)
    return report(outcomes, arguments.threshold, normal, arguments.csv, picture)


def shadow(arguments: argparse.Namespace) -> int:
    """Send the requests; keep, draw and print what became of them, also if not all were sent."""
    table, picture = arguments.reports / "shadow.csv", arguments.reports / "shadow.png"
    command.require_writable(table, picture)
    folder = command.ROOT if is_address(arguments.metric) else Path(arguments.metric)
    fields = read_definition(folder)["contract"]["inputs"]
    detector = load_detector(arguments.artifact or folder / command.ARTIFACT.name)
    threshold = detector.threshold_ if arguments.threshold is None else arguments.threshold
    data = origin.hold_out(census.load(arguments.data), detector.origin_)
    times = -(-arguments.rows // len(data.records))
    repeated = f", each sent up to {times} times" if times > 1 else ""
    print(f"{'data':<12}{origin.describe_traffic(data, detector)}{repeated}", flush=True)
    outcomes: list[Outcome] = []
    status = 0
    try:
        for outcome in send_all(arguments, data, fields, float(threshold)):
            outcomes.append(outcome)
    except KeyboardInterrupt:
        sent = f"{len(outcomes):,} of {arguments.rows:,} requests"
        command.complain("shadow.py", f"interrupted after {sent}")
        status = INTERRUPTED
    except command.UserError as error:
        if not outcomes:
            raise
        command.complain("shadow.py", f"{error}, after {len(outcomes)} requests")
        status = 2
    if outcomes:
        outcomes.sort(key=lambda outcome: outcome.row)
        n_others = account(outcomes, detector)
        if n_others:
            print(f"{n_others:,} scores are not those of the artifact here: no reason is given")
        write_csv(outcomes, table)
        normal = normal_rate(detector, threshold)
        unscored = report(outcomes, float(threshold), normal, table, picture)
        return status or unscored
    return status


def report(
    outcomes: Sequence[Outcome],
    threshold: float,
    normal: float | None,
    table: Path,
    picture: Path,
) -> int:
    """Draw and print what became of the requests; return 1 if none was scored."""
    plot(outcomes, threshold, normal, picture)
    print(format_table(outcomes))
    print(f"{'requests in':<12}{command.shorten(table)}\n{'picture':<12}{command.shorten(picture)}")
    print(*describe(outcomes, normal), sep="\n")
    return 0 if any(outcome.is_scored for outcome in outcomes) else 1


def send_all(
    arguments: argparse.Namespace, data: census.Census, fields: dict, threshold: float
) -> Iterator[Outcome]:
    """Serve what is not running yet, send every request, and yield what becomes of it."""
    requests = choose_requests(data, arguments.rows, arguments.seed, arguments.drift)
    with (
        tqdm(total=arguments.rows, desc="starting", unit="request", disable=None) as bar,
        serve_or_call(arguments.target) as target,
        serve_or_call(arguments.metric) as metric,
    ):
        bar.set_description("shadowing")
        gateway = Gateway(target, metric, data.source, fields, threshold)
        for outcome in replay(gateway, requests, arguments.concurrency, arguments.rate):
            bar.update()
            yield outcome


def choose_requests(
    data: census.Census, count: int, seed: int, start: tuple[str, int] | None
) -> Iterator[Request]:
    """Draw rows in a random order, over and over if they are few, corrupted from a drift on."""
    order = np.random.default_rng(seed).permutation(len(data.records))
    records = [data.records[index] for index in order]
    rows = corrupted = census.encode(records)
    drift_name, first = start or ("", count)
    if start:
        corrupted = drift.corrupt(drift_name, rows, records, seed)
    for row in range(count):
        now = row >= first
        codes = (corrupted if now else rows)[row % len(rows)]
        yield row, drift_name if now else "", codes.tolist()


def replay(
    gateway: Gateway, requests: Iterator[Request], concurrency: int, rate: float
) -> Iterator[Outcome]:
    """Send requests, some at a time and at most so many a second; yield outcomes as they come."""
    stop, began = threading.Event(), time.perf_counter()

    def send(request: Request) -> Outcome | None:
        if rate:
            stop.wait(began + request[0] / rate - time.perf_counter())
        return None if stop.is_set() else gateway.send(*request)

    with ThreadPoolExecutor(concurrency) as pool:
        try:
            waiting = {pool.submit(send, request) for request in islice(requests, 2 * concurrency)}
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                waiting |= {pool.submit(send, request) for request in islice(requests, len(done))}
                for future in done:
                    yield future.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def is_address(place: str | Path) -> bool:
    return bool(re.fullmatch(r"[^/]+:\d+", str(place)))


def serve_or_call(place: str | Path) -> AbstractContextManager[str]:
    return nullcontext(place) if is_address(place) else serving(Path(place))


if __name__ == "__main__":
    sys.exit(main())
