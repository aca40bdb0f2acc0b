"""Replay rows through a target model and its metric as Hydrosphere shadows them.

examples:
  knn-metric replay --target examples/adult --corrupt age-in-months@1000
  knn-metric replay --target examples/adult --data adult.test --rows 16281
  knn-metric replay --target path/to/model --data requests.parquet --pattern hours
  knn-metric replay --target path/to/model --repeat 20     as clients that poll
  knn-metric replay --target HOST:PORT --runtime HOST:PORT     runtimes that are running already
"""

from knn_metric.cli import FAILED, Arguments, Parser, UserError, matching, show


def add_arguments(parser: Parser) -> None:
    option, number = parser.add_argument, parser.number
    parser.data()
    parser.time()
    what = "the model: the folder of its package, which is served, or HOST:PORT"
    parser.required("--target", "--target path/to/model", help=what)
    parser.package()
    what = "a running function of the package (default: it is served)"
    option("--runtime", type=matching(r"[^/]+:\d+", "HOST:PORT"), metavar="HOST:PORT", help=what)
    number("--rows", int, 1, 1_000_000, default=2000, help="to send")
    number("--rate", float, 0, 1e6, default=0, help="requests a second, 0 for no limit")
    number("--concurrency", int, 1, 1000, default=4, help="requests at a time")
    number("--seed", int, 0, 2**32 - 1, default=0, help="of the rows' order")
    number("--repeat", int, 1, 1_000_000, default=1, help="times in a row that each row is sent")
    what = "send rows by the hour of their time, around the day"
    option("--pattern", choices=["hours"], help=what)
    what = "a corruption, from that request on"
    kind = matching("(?s).+@[0-9]{1,18}", "NAME@ROW, as in scale:age:12@1000")
    option("--corrupt", type=kind, metavar="NAME@ROW", help=what)
    number("--threshold", float, 0, float("inf"), help="of the alarm (default: the artifact's)")
    parser.out()


def run(arguments: Arguments) -> int:
    from knn_metric import files
    from knn_metric.data.corruptions import parse_corruption
    from knn_metric.data.rows import hold_out, load_rows
    from knn_metric.detection.detectors import describe_traffic, open_package
    from knn_metric.platform.target import Target
    from knn_metric.replay.report import describe, format_summary, judge, plot, write_csv
    from knn_metric.replay.sender import Plan, send, take_timed

    name, _, row = (arguments.corrupt or f"@{arguments.rows}").rpartition("@")
    start = int(row)
    if name and start >= arguments.rows:
        raise UserError(f"--corrupt: only {arguments.rows:,} requests are sent, see --rows")
    table, picture = (arguments.out / f"replay.{kind}" for kind in ("csv", "png"))
    files.require_writable(table, picture, inputs=arguments.data)
    contract, detector = open_package(arguments.package)
    target = Target(arguments.target, contract.inputs)
    rejected = arguments.most_rejected
    rows = load_rows(arguments.data, contract, rejected, arguments.time, target.others)
    rows = hold_out(rows, detector.origin_)
    if arguments.pattern:
        rows = take_timed(rows)
    corruption = parse_corruption(name, rows) if name else None
    pattern = arguments.repeat, bool(arguments.pattern)
    plan = Plan(rows, arguments.rows, arguments.seed, corruption, start, *pattern)
    times = arguments.repeat * plan.rounds
    repeated = f", each sent up to {times} times" if times > 1 else ""
    print(f"data  {describe_traffic(rows, detector)}{repeated}", flush=True)
    threshold = detector.threshold_ if arguments.threshold is None else arguments.threshold
    metric, speed = arguments.runtime or arguments.package, (arguments.concurrency, arguments.rate)
    outcomes, status = send(target, metric, plan, float(threshold), *speed)
    if not outcomes:
        return status
    replay = judge(outcomes, rows.source, float(threshold), detector)
    write_csv(replay, table)
    print(format_summary(replay))
    print(f"requests are in {files.shorten(table)}", flush=True)
    if replay.n_others:
        raise UserError(
            f"{replay.n_others:,} of {replay.n_scored:,} scores are not those of the artifact here:"
            " the metric serves another artifact, and what it detects cannot be said"
        )
    title = f"{contract.name} beside {show(arguments.target)}: {len(outcomes):,} requests"
    plot(replay, title, picture)
    print(f"the picture is {files.shorten(picture)}")
    print(*describe(replay), sep="\n")
    return status or (0 if replay.n_scored else FAILED)
