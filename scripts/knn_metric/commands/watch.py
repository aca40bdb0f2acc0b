"""Say whether a target's traffic has changed since its metrics were trained.

examples:
  knn-metric watch adult:1                         the newest 1,000 requests, all metrics
  knn-metric watch adult:1 --since 2h --plot reports/watch.png
  knn-metric watch adult:1 --metric census_monitoring --requests 5000
  knn-metric watch adult:1 --follow 60             a line for new requests, until Ctrl-C
  knn-metric watch adult:1 --notify                tell the platform's Alertmanager too
  knn-metric watch adult:1 --json                  for a program

exit status:
  0  no change was detected
  1  alert: a change was detected, or checks are missing
  2  it could not tell: no such model or metric, no checks yet, the cluster does not answer

Each request bets against healthy traffic, and the evidence is what the bets have won. It may be
looked at any time: on average, at least 100,000 healthy requests pass between false alerts, however
often they are read. The same requests give the same verdict, read one by one or all at once. The
levels to bet on come from held-out rows of the artifact that the metric was uploaded with, or of
the one at hand. Only with that at hand are fields tested beside the score, and one is named. Checks
before the metric's first one are not missing.

--json prints an object with target, cluster, alert, line, and metrics: a list of objects with name,
alert, requests, checked, missing, missing_since, alarms, rate and expected_rate (null if not
known), evidence, since and until (epoch seconds, as all times), change (null, or onset,
began_earlier, detected, last, goes_on, field and request: the id of one that shows it) and note
(what is tested if not all is, or null).
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knn_metric.cli import FOUND, Parser, UserError, complain, show

if TYPE_CHECKING:
    from knn_metric.live.monitor import Monitor

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_arguments(parser: Parser) -> None:
    option, number = parser.add_argument, parser.number
    parser.target()
    option("--metric", help="its name on the target (default: all that are attached)")
    number("--requests", int, 1, 10**6, default=1000, help="the newest, at most")
    what = "how long ago at most: 90s, 30m, 2h, 7d"
    option("--since", type=duration, metavar="AGE", help=what)
    parser.package(default=None)
    parser.cluster()
    parser.picture("--plot", help="draw scores and evidence to this file")
    number("--follow", float, 0.01, UNITS["d"], help="go on, this many seconds apart")
    option("--notify", action="store_true", help="send alerts to the platform's Alertmanager")
    option("--json", action="store_true", help="print a JSON object instead of the table")


def duration(text: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]{0,4})([smhd])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"expected a number and s, m, h or d, got {text!r}")
    return int(match[1]) * UNITS[match[2]]


def run(arguments: argparse.Namespace) -> int:
    import time

    from knn_metric import files
    from knn_metric.live.monitor import Monitor
    from knn_metric.live.report import is_alert
    from knn_metric.platform.sonar import format_time

    if arguments.plot:
        files.require_writable(arguments.plot)
    asked = arguments.package is not None
    artifact = files.artifact_path(arguments.package if asked else Path())
    monitor = Monitor(arguments.target, arguments.metric, arguments.cluster, artifact, asked)
    if arguments.follow:
        return follow(monitor, arguments)
    since = time.time() - arguments.since if arguments.since else 0
    if not monitor.read(arguments.requests, since):
        when = f" since {format_time(since)}" if since else " yet"
        raise UserError(f"no checks of {monitor.target}{when}")
    show_report(monitor, arguments)
    return FOUND if is_alert(monitor.metrics) else 0


def follow(monitor: Monitor, arguments: argparse.Namespace) -> int:
    """Report on new requests until Ctrl-C; what goes wrong meanwhile is said once."""
    said: set[str] = set()
    try:
        for error in monitor.follow(arguments.requests, arguments.follow):
            if error:
                complain(f"{error}; waiting")
                continue
            for metric in monitor.metrics:
                if metric.note and metric.name not in said:
                    complain(f"{show(metric.name)}: {metric.note}")
                    said.add(metric.name)
            show_report(monitor, arguments)
    except KeyboardInterrupt:
        pass
    return 0


def show_report(monitor: Monitor, arguments: argparse.Namespace) -> None:
    """Print what was found, draw it and notify if that was asked for."""
    import json

    from knn_metric.live import report
    from knn_metric.platform.sonar import format_time

    metrics = monitor.metrics
    line = report.describe(metrics)
    if arguments.json:
        content: dict[str, Any] = {"target": monitor.target, "cluster": monitor.cluster}
        content |= {"alert": report.is_alert(metrics), "line": line}
        content["metrics"] = [report.to_json(metric) for metric in metrics]
        print(json.dumps(content), flush=True)
    elif arguments.follow:
        print(f"{format_time(monitor.newest)}  {line}", flush=True)
    else:
        print(report.format_metrics(metrics))
        print(line if report.is_alert(metrics) else "ok")
    step = report.describe_next_step(metrics, monitor.target)
    if step and not arguments.json:
        print(step, flush=True)
    if arguments.notify:
        notify(monitor)
    if arguments.plot:
        from knn_metric.live.plot import plot

        plot(metrics, f"{monitor.target}, {line}", arguments.plot)


def notify(monitor: Monitor) -> None:
    """Send alerts; that Alertmanager does not take them changes no verdict."""
    from knn_metric.live.notify import Alertmanager

    try:
        Alertmanager(monitor.cluster).send(monitor.metrics, monitor.target)
    except UserError as error:
        complain(str(error))
