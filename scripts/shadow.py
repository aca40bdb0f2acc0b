"""Replay rows through a target model and its metric as Hydrosphere shadows them.

examples:
  shadow.py --drift age-in-months@1000        local runtimes, corrupted from request 1000 on
  shadow.py --data adult.test --rows 16281    each row of a file once
  shadow.py --data requests.parquet --pattern hours   each hour's own requests, around the day
  shadow.py --repeat 20                       each request 20 times in a row, as a client that polls
  shadow.py --target HOST:PORT --metric HOST:PORT   runtimes that are running already
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from monitoring import cli, files
from monitoring.contract import Contract
from monitoring.data.corruptions import parse_corruption
from monitoring.data.loading import load_rows
from monitoring.data.provenance import describe_traffic, hold_out
from monitoring.detection.calibration import require_calibration
from monitoring.detection.detectors import load_detector
from monitoring.hydrosphere.target import answered_by, is_address
from monitoring.replay.gateway import Gateway
from monitoring.replay.outcome import Outcome, judge, write_csv
from monitoring.replay.plot import plot
from monitoring.replay.report import describe, format_summary
from monitoring.replay.sender import Plan, send_all, serve_or_call, take_timed


@cli.entry
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    table, picture = arguments.reports / "shadow.csv", arguments.reports / "shadow.png"
    files.require_writable(table, picture, inputs=[arguments.data])
    folder = files.ROOT if is_address(arguments.metric) else Path(arguments.metric)
    contract = Contract.read(folder)
    artifact = arguments.artifact or files.artifact_path(folder)
    detector = load_detector(artifact, contract.input_names)
    require_calibration(detector)
    rows = load_rows(arguments.data, contract, arguments.most_rejected, arguments.time)
    rows = hold_out(rows, detector.origin_)
    if arguments.pattern:
        rows = take_timed(rows)
    name, start = arguments.drift or ("", arguments.rows)
    corruption = parse_corruption(name, rows) if name else None
    pattern = arguments.repeat, bool(arguments.pattern)
    plan = Plan(rows, arguments.rows, arguments.seed, corruption, start, *pattern)
    times = arguments.repeat * plan.rounds
    repeated = f", each sent up to {times} times" if times > 1 else ""
    print(f"data  {describe_traffic(rows, detector)}{repeated}", flush=True)
    threshold = detector.threshold_ if arguments.threshold is None else arguments.threshold
    outcomes, status = send(arguments, plan, contract, float(threshold))
    if not outcomes:
        return status
    replay = judge(outcomes, rows.source, float(threshold), detector)
    write_csv(replay, table)
    print(format_summary(replay))
    print(f"requests are in {files.shorten(table)}", flush=True)
    if replay.n_others:
        raise cli.UserError(
            f"{replay.n_others:,} of {replay.n_scored:,} scores are not those of the artifact here:"
            " the metric serves another artifact, and what it detects cannot be said"
        )
    plot(replay, picture)
    print(f"the picture is {files.shorten(picture)}")
    print(*describe(replay), sep="\n")
    return status or int(not replay.n_scored)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.make_parser(__file__, __doc__)
    option, number = parser.add_argument, parser.number
    parser.data()
    parser.time()
    number("--rows", int, 1, 1_000_000, default=2000, help="to send")
    number("--rate", float, 0, 1e6, default=0, help="requests a second, 0 for no limit")
    number("--concurrency", int, 1, 1000, default=4, help="requests at a time")
    number("--seed", int, 0, 2**32 - 1, default=0, help="of the rows' order")
    number("--repeat", int, 1, 1_000_000, default=1, help="times in a row that each row is sent")
    what = "send rows by the hour of their time, around the day"
    option("--pattern", choices=["hours"], help=what)
    option("--drift", type=corruption_start, help="NAME@ROW: a corruption from that request on")
    target = files.ROOT / "examples" / "adult"
    option("--target", default=target, help="HOST:PORT or a folder to serve")
    option("--metric", default=files.ROOT, help="HOST:PORT or a folder")
    option("--artifact", type=Path, help="the metric's (default: the one in its folder)")
    number("--threshold", float, 0, float("inf"), help="of the alarm, else the artifact's")
    option("--reports", type=Path, default=files.REPORTS, help="where files go")
    arguments = parser.parse_args(argv)
    if arguments.drift and arguments.drift[1] >= arguments.rows:
        parser.error(f"--drift: only {arguments.rows:,} requests are sent, see --rows")
    return arguments


def corruption_start(text: str) -> tuple[str, int]:
    name, _, row = text.rpartition("@")
    if not name or not (row.isascii() and row.isdigit()):
        raise argparse.ArgumentTypeError(f"expected NAME@ROW, got {text!r}")
    return name, int(row)


def send(
    arguments: argparse.Namespace, plan: Plan, contract: Contract, threshold: float
) -> tuple[list[Outcome], int]:
    """Serve what is not running yet, and send all requests; return what became of those sent."""
    outcomes: list[Outcome] = []
    answered = answered_by(arguments.target, contract.inputs)
    try:
        with (
            tqdm(total=plan.n_requests, desc="starting", unit="request", disable=None) as bar,
            serve_or_call(arguments.target) as target,
            serve_or_call(arguments.metric) as metric,
        ):
            bar.set_description("shadowing")
            gateway = Gateway(target, metric, contract.inputs, answered, threshold, plan.change())
            for outcome in send_all(gateway, plan, arguments.concurrency, arguments.rate):
                outcomes.append(outcome)
                bar.update()
    except KeyboardInterrupt:
        sent = f"{len(outcomes):,} of {plan.n_requests:,} requests"
        cli.complain("shadow.py", f"interrupted after {sent}")
        return outcomes, cli.INTERRUPTED
    except cli.UserError as error:
        if not outcomes:
            raise
        cli.complain("shadow.py", f"{error}, after {len(outcomes)} requests")
        return outcomes, 2
    return outcomes, 0


if __name__ == "__main__":
    sys.exit(main())
