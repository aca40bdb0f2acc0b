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
  1  alert: a change was detected, checks are missing, or the target fails
  2  it could not tell: no such model or metric, no checks yet, the cluster does not answer, or no
     metric has a calibration to test by

Each request bets against healthy traffic, and the evidence is what the bets have won, which may be
looked at any time: on average, at least 100,000 healthy requests of a metric pass between false
alerts, if the bounds from its held-out rows hold, as all do with a probability of 99.9%. The levels
to bet on come from the artifact that the metric was uploaded with, or the one at hand; only with
that at hand are fields tested beside the score, and one is named. Up to 200 seconds without a check
of any metric, once an hour, are a restart of the platform's monitoring. While it follows, what is
over is reported once.

--json prints an object with target, cluster, alert, line, newest (the time of the newest request),
and metrics: a list of objects, of the target too if it failed, with name, alert, requests, checked,
missing, missing_since, alarms, rate and expected_rate (null if not known), evidence, since and
until (epoch seconds, as all times), change (null, or onset, began_earlier, detected, last, goes_on,
field and request: the id of one that shows it) and note (what is to be known of it, or null).
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from knn_metric.cli import FOUND, Arguments, Parser, UserError, complain, matching, show

if TYPE_CHECKING:
    from knn_metric.live.monitor import Monitor
    from knn_metric.live.report import Alertmanager

LONGEST_PAUSE = 10  # times the usual one
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_arguments(parser: Parser) -> None:
    option, number = parser.add_argument, parser.number
    parser.target()
    what = "NAME on the target, or NAME:VERSION (default: all that are attached)"
    option("--metric", help=what)
    number("--requests", int, 1, 10**6, default=1000, help="the newest, at most")
    what = "how long ago at most: 90s, 30m, 2h, 7d"
    duration = matching(
        "[1-9][0-9]{0,4}[smhd]",
        "a number and s, m, h or d",
        lambda text: int(text[:-1]) * UNITS[text[-1]],
    )
    option("--since", type=duration, metavar="AGE", help=what)
    parser.package(default=None)
    parser.cluster()
    parser.file("--plot", help="draw scores and evidence to this file")
    number("--follow", float, 0.01, UNITS["d"], help="go on, this many seconds apart")
    option("--notify", action="store_true", help="send alerts to the platform's Alertmanager")
    option("--json", action="store_true", help="print a JSON object instead of the table")


def run(arguments: Arguments) -> int:
    import time

    from knn_metric import files
    from knn_metric.live.monitor import Monitor
    from knn_metric.live.report import Alertmanager
    from knn_metric.platform.sonar import format_time

    if arguments.plot:
        files.require_writable(arguments.plot)
    known = arguments.metric, arguments.cluster, arguments.package
    monitor = Monitor(arguments.target, *known)
    alertmanager = Alertmanager(monitor.sonar.address)
    since = time.time() - arguments.since if arguments.since else 0
    if arguments.follow:
        with suppress(KeyboardInterrupt):
            follow(monitor, alertmanager, since, arguments)
        return 0
    if not monitor.read(arguments.requests, since):
        when = f" since {format_time(since)}" if since else " yet"
        raise UserError(f"no checks of {monitor.target}{when}")
    if not any(metric.requests for metric in monitor.streams):
        why = [*monitor.notes, "none of its requests has one"][0]
        raise UserError(f"no checks of {monitor.target} yet: {why}")
    show_report(monitor, alertmanager, arguments)
    if any(one.is_alert for one in monitor.streams):
        return FOUND
    if not any(one.is_tested for one in monitor.metrics):
        raise UserError(f"it could not be tested: {monitor.metrics[0].notes[0]}")
    return 0


def follow(
    monitor: Monitor, alertmanager: Alertmanager, since: float, arguments: Arguments
) -> None:
    """Report on new requests until Ctrl-C; what goes wrong meanwhile is said once."""
    import time

    said: set[str] = set()
    failures = 0
    while True:
        try:
            new = monitor.read(arguments.requests, since)
        except UserError as error:
            if not failures:
                complain(f"{error}; waiting")
            failures += 1
        else:
            notes = {f"{one.name}: {note}" for one in monitor.metrics for note in one.notes}
            heads = {re.sub("[0-9]", "", note): note for note in notes.union(monitor.notes)}
            for head in heads.keys() - said:
                complain(heads[head])
            said = set(heads)
            if (new or failures) and monitor.newest:
                show_report(monitor, alertmanager, arguments)
                for stream in monitor.streams:
                    stream.forget()
            elif alertmanager.due:
                alertmanager.send(monitor)
            failures = 0
        time.sleep(arguments.follow * min(2**failures, LONGEST_PAUSE))


def show_report(monitor: Monitor, alertmanager: Alertmanager, arguments: Arguments) -> None:
    """Print what was found, draw it and notify if that was asked for."""
    import json

    from knn_metric.live import report
    from knn_metric.platform.sonar import format_time

    line, step = report.describe(monitor), report.describe_next_step(monitor)
    if arguments.json:
        content = {
            "target": monitor.target,
            "cluster": show(monitor.sonar.address),
            "alert": any(one.is_alert for one in monitor.streams),
            "line": line,
            "newest": monitor.newest,
            "metrics": [report.to_json(metric) for metric in monitor.streams],
        }
        line, step = json.dumps(content), ""
    elif arguments.follow:
        line = f"{format_time(monitor.newest)}  {line}"
    else:
        print(report.format_report(monitor))
        line = "ok" if line.startswith("ok: ") else line
    print("\n".join(filter(None, [line, step])), flush=True)
    if arguments.notify:
        alertmanager.send(monitor)
    if arguments.plot:
        report.plot(monitor, arguments.plot)
