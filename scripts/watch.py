"""Say whether a target's traffic is still what its metrics know, by the rate of their alarms.

examples:
  watch.py adult:1                         the newest 1,000 requests, all metrics
  watch.py adult:1 --since 2h --plot reports/watch.png
  watch.py adult:1 --metric census_monitoring --requests 5000
  watch.py adult:1 --follow 60             a line for new batches, until Ctrl-C
  watch.py adult:1 --json                  for a program

exit status:
  0  the rate is normal
  1  alert: a rate beyond chance (p < 0.001), or half of the requests or more unscored
  2  it could not tell: no such model or metric, no checks yet, the cluster does not answer

Whole batches are read, the newest first: until --requests are covered, or back to --since; if both
are given, to whichever comes first. The normal rate of a metric that alarms above the artifact's
threshold is that of the artifact's held-out rows. On an alert the last alarms are scored again by
the artifact, to say which features they are because of.

--json prints an object with target, cluster, alert, line, and metrics: a list of objects with name,
alert, requests, checked, unscored, alarms, rate (null if none is checked), normal, p, since and
until (epoch seconds, as all times), worst (of the batches: checked, alarms, since, until), noticed
(end of the first batch that is news, or null), because (last alarms by feature) and last (the last
alarm's request, or null).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lib import command
from lib.alarm_rate import BLOCK
from lib.platform import Manager, reference, selected_cluster
from lib.sonar import Sonar, format_time
from lib.watch_report import Verdict, describe, format_table, show, to_json

if TYPE_CHECKING:
    from portable_knn import PortableKNN

REQUESTS = 1000
NORMAL = 0.05
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST_PAUSE = 10  # times the usual one


@command.entry
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    if arguments.plot:
        command.require_writable(arguments.plot)
    target = find_target(arguments)
    if arguments.follow:
        return follow(target, arguments)
    verdicts = judge(target, arguments)
    report(verdicts, target, arguments)
    return int(is_alert(verdicts))


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.make_parser(__file__, __doc__)
    option, number = parser.add_argument, parser.number
    parser.required("target", "adult:1", type=reference, help="the watched model, NAME:VERSION")
    option("--metric", help="its name on the target (default: all that are attached)")
    number("--requests", int, 1, 10**6, help=f"to cover (default: {REQUESTS:,} without --since)")
    option("--since", type=duration, help="how long ago at most: 90s, 30m, 2h, 7d")
    option("--cluster", help="address (default: the one that hs has selected)")
    option("--artifact", type=Path, help="the metric's (default: this package's, if it is there)")
    number("--normal", float, 0, 1, help=f"rate of alarms (default: the artifact's, or {NORMAL})")
    option("--plot", type=Path, help="draw the rate of each batch to this file")
    number("--follow", float, 0.01, UNITS["d"], help="go on, this many seconds apart")
    option("--json", action="store_true", help="print a JSON object instead of the table")
    arguments = parser.parse_args(argv)
    if arguments.requests is None:
        arguments.requests = float("inf") if arguments.since else REQUESTS
    return arguments


def duration(text: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]{0,4})([smhd])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"expected a number and s, m, h or d, got {text!r}")
    return int(match[1]) * UNITS[match[2]]


class Target(NamedTuple):
    """The version, the thresholds of its metrics, those to watch, and the artifact at hand."""

    name: str
    id: int
    sonar: Sonar
    thresholds: dict[str, float]
    metrics: list[str]
    detector: PortableKNN | None

    def may_explain(self, metric: str) -> bool:
        """Tell whether the artifact has the metric's threshold, or that of none here."""
        if self.detector is None:
            return False
        ours, threshold = self.detector.threshold_, self.thresholds[metric]
        return threshold == ours or ours not in self.thresholds.values()

    def normal_rate(self, metric: str) -> float:
        if self.detector is None or self.thresholds[metric] != self.detector.threshold_:
            return NORMAL
        from lib.detector import normal_rate

        return normal_rate(self.detector, self.detector.threshold_)


def find_target(arguments: argparse.Namespace) -> Target:
    """Look up the version and its metrics, and load the artifact if there is one."""
    manager = Manager(arguments.cluster or selected_cluster())
    with manager.reading():
        version = manager.version(arguments.target)
        thresholds = {
            str(spec["name"]): float((spec.get("config") or {}).get("threshold") or 0)
            for spec in manager.metrics(version)
        }
    if not thresholds:
        how = f"`make metric TARGET={arguments.target}` attaches one"
        raise command.UserError(f"no metric on {arguments.target}: {how}")
    if arguments.metric not in (None, *thresholds):
        there = ", ".join(map(show, thresholds))
        problem = f"no metric {arguments.metric} on {arguments.target}, there is {there}"
        raise command.UserError(problem)
    metrics = list(thresholds) if arguments.metric is None else [arguments.metric]
    sonar = Sonar(manager.address)
    detector = load_artifact(arguments.artifact)
    return Target(arguments.target, version["id"], sonar, thresholds, metrics, detector)


def load_artifact(path: Path | None) -> PortableKNN | None:
    """Load the artifact that is named, or this package's if it is there."""
    if path is None and not command.ARTIFACT.exists():
        return None
    # What loads it is not there where watch.py runs by itself.
    from lib.detector import load_detector

    return load_detector(path or command.ARTIFACT)


def judge(target: Target, arguments: argparse.Namespace) -> list[Verdict]:
    """Read the target's batches, and hold each metric's alarms against its normal rate."""
    since = time.time() - arguments.since if arguments.since else 0
    batches = target.sonar.batches(target.id, arguments.requests, since)
    if not batches:
        when = f" since {format_time(since)}" if arguments.since else " yet"
        raise command.UserError(f"no checks of {target.name}{when}")
    verdicts = []
    for metric in target.metrics:
        normal = target.normal_rate(metric) if arguments.normal is None else arguments.normal
        verdicts.append(Verdict(metric, normal, batches))
    return verdicts


def report(verdicts: Sequence[Verdict], target: Target, arguments: argparse.Namespace) -> None:
    """Say what was found, why if it can be told, and draw it if that was asked for."""
    for verdict in verdicts:
        if verdict.is_news:
            add_reasons(verdict, target)
    line = describe(verdicts)
    if arguments.json:
        metrics = [to_json(verdict) for verdict in verdicts]
        content = {"target": target.name, "cluster": target.sonar.address}
        content |= {"alert": is_alert(verdicts), "line": line, "metrics": metrics}
        print(json.dumps(content), flush=True)
    elif arguments.follow:
        print(f"{format_time(verdicts[0].batches[-1].end)}  {line}", flush=True)
    else:
        print(format_table(verdicts))
        print(line if is_alert(verdicts) else "ok")
    if arguments.plot:
        # Neither is this.
        from lib.watch_picture import plot

        plot(verdicts, f"{target.name}, {line}", arguments.plot)


def add_reasons(verdict: Verdict, target: Target) -> None:
    """Look at the last alarms; what cannot be told of them does not take back the alert."""
    try:
        alarms = target.sonar.alarms(target.id, verdict.metric, BLOCK, verdict.requests)
    except command.UserError as error:
        warn(f"{error}, so it is not known why")
        return
    verdict.last = alarms[0] if alarms else None
    if alarms and target.may_explain(verdict.metric):
        from lib.alarm_reasons import explain_alarms

        verdict.because, problem = explain_alarms(target.detector, alarms)
        if problem:
            warn(f"{show(verdict.metric)}: {problem}")


def is_alert(verdicts: Sequence[Verdict]) -> bool:
    return any(verdict.is_alert for verdict in verdicts)


def follow(target: Target, arguments: argparse.Namespace) -> int:
    """Report whenever there are new batches or another verdict, until Ctrl-C."""
    known, pause = None, arguments.follow
    try:
        while True:
            try:
                verdicts = judge(target, arguments)
                found = verdicts[0].batches[-1].id, is_alert(verdicts)
                if known != found:
                    report(verdicts, target, arguments)
                known, pause = found, arguments.follow
            except command.UserError as error:
                if pause == arguments.follow:
                    warn(f"{error}; waiting")
                # Once it answers again, that is told too.
                known, pause = None, min(2 * pause, LONGEST_PAUSE * arguments.follow)
            time.sleep(pause)
    except KeyboardInterrupt:
        return 0


def warn(text: str) -> None:
    command.complain("watch.py", text)


if __name__ == "__main__":
    sys.exit(main())
