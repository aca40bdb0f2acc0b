"""Print and draw the alarms of a replay that shadow.py has kept in a CSV file."""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import census

EXAMPLES = """\
examples:
  alarms.py 4.2367                               reports/shadow.csv against a threshold
  alarms.py 5 --checks mine.csv --plot mine.png  other files, another threshold
"""
WINDOW = 100  # requests in the rolling alarm rate
PASSED, ALARM, REJECTED, FAILED = "passed", "alarm", "rejected", "failed"
OWN = ("value", "result", "reason", "target_ms", "metric_ms")


@dataclass
class Check:
    """What became of one request.

    Attributes
    ----------
    row : int
        Position in the replay, from 0.
    drift : str
        Name of the drift that the row was sent with, or ''.
    sent : dict of str to int
        The metric's inputs: the request and the target's answer.
    value : float
        The score, 0.0 if the metric returned none in `double_val`, as sonar reads it.
    result : str
        ``'passed'``, ``'alarm'``, ``'rejected'`` by the contract, or ``'failed'`` in a function.
    target_ms, metric_ms : float
        Latency of each hop in milliseconds, NaN for a hop that was not taken.
    """

    row: int
    drift: str
    sent: dict[str, int]
    value: float = float("nan")
    result: str = FAILED
    reason: str = ""
    target_ms: float = float("nan")
    metric_ms: float = float("nan")


def report(checks: Sequence[Check]) -> str:
    """Return the table: what became of the requests, and how long each hop took."""
    counts = Counter(check.result for check in checks)
    lines = [f"requests    {len(checks):>8}"]
    lines += [f"{name:<12}{counts[name]:>8}" for name in (PASSED, ALARM)]
    for name in (REJECTED, FAILED):
        if counts[name]:
            first = next(check for check in checks if check.result == name)
            lines.append(f"{name:<12}{counts[name]:>8}  first: {first.reason}")
    drifted = [check for check in checks if check.drift]
    before = find_alarm_rate([check for check in checks if not check.drift])
    lines.append(f"alarm rate  {before:>8.2%}" + ("  before the drift" if drifted else ""))
    if drifted:
        since = f"since {drifted[0].drift} at request {drifted[0].row}"
        lines.append(f"            {find_alarm_rate(drifted):>8.2%}  {since}")
    lines.append(f"{'latency':<12}{'p50':>8}{'p95':>8}{'p99':>8}  ms")
    for hop in ("target", "metric"):
        taken = np.array([getattr(check, f"{hop}_ms") for check in checks])
        taken = taken[~np.isnan(taken)]
        cells = np.percentile(taken, [50, 95, 99]) if len(taken) else [np.nan] * 3
        lines.append(f"{hop:<12}" + "".join(f"{cell:>8.2f}" for cell in cells))
    return "\n".join(lines)


def find_alarm_rate(checks: Sequence[Check]) -> float:
    """Return the share of alarms among the checks that came to a value."""
    made = [check.result == ALARM for check in checks if check.result in (PASSED, ALARM)]
    return sum(made) / len(made) if made else float("nan")


def write_checks(checks: Sequence[Check], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "drift", *census.FEATURES, *OWN])
        for check in checks:
            sent = [check.sent.get(name, "") for name in census.FEATURES]
            writer.writerow([check.row, check.drift, *sent, *(getattr(check, n) for n in OWN)])


def read_checks(path: Path, threshold: float) -> list[Check]:
    """Read what `write_checks` wrote, and check the values against a threshold again."""
    checks = []
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            sent = {name: int(line[name]) for name in census.FEATURES if line[name]}
            numbers = [float(line[name]) for name in ("value", "target_ms", "metric_ms")]
            check = Check(int(line["row"]), line["drift"], sent, reason=line["reason"])
            check.value, check.target_ms, check.metric_ms = numbers
            check.result = line["result"]
            if check.result in (PASSED, ALARM):
                check.result = PASSED if check.value <= threshold else ALARM
            checks.append(check)
    return checks


def plot(checks: Sequence[Check], threshold: float, path: Path) -> None:
    """Draw each score against the threshold, and the rolling alarm rate below."""
    made = [check for check in checks if check.result in (PASSED, ALARM)]
    figure = Figure(figsize=(11, 6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _plot_scores(top, made, threshold)
    _plot_rate(bottom, made)
    title = f"{find_alarm_rate(checks):.1%} of {len(checks):,} requests raise an alarm"
    drifted = [check for check in checks if check.drift]
    if drifted:
        first = drifted[0]
        before = find_alarm_rate([check for check in checks if not check.drift])
        after = find_alarm_rate(drifted)
        title = f"Alarms: {before:.0%} of requests, {after:.0%} since {first.drift} began"
        for axes in (top, bottom):
            axes.axvline(
                first.row, color="black", linewidth=2, label=f"drift begins, {first.row:,}"
            )
    top.set_title(title, fontsize=15, fontweight="bold", loc="left")
    top.legend(loc="upper left", framealpha=0.9, markerscale=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _plot_scores(axes: Axes, made: Sequence[Check], threshold: float) -> None:
    for result, color in ((PASSED, "tab:blue"), (ALARM, "tab:red")):
        points = [(check.row, check.value) for check in made if check.result == result]
        axes.scatter(*zip(*points, strict=True), s=7, color=color, label=result) if points else None
    axes.axhline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.2f}")
    axes.set_yscale("symlog", linthresh=10)  # scores of drifted rows span three decades
    axes.margins(x=0.01)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("score")


def _plot_rate(axes: Axes, made: Sequence[Check]) -> None:
    window = max(min(WINDOW, len(made)), 1)
    alarms = np.array([check.result == ALARM for check in made], dtype=float)
    rows = [check.row for check in made][window - 1 :]
    rate = 100 * np.convolve(alarms, np.ones(window) / window, mode="valid") if made else []
    axes.fill_between(rows, rate, color="tab:red", alpha=0.3)
    axes.plot(rows, rate, color="tab:red")
    axes.set_ylim(0, 105)
    axes.set_ylabel(f"alarms, % of the\nlast {window} requests")
    axes.set_xlabel("request")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="alarms.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    reports = census.ROOT / "reports"
    parser.add_argument("threshold", type=float, help="alarm above it")
    parser.add_argument("--checks", type=Path, default=reports / "shadow.csv", help="CSV to read")
    parser.add_argument("--plot", type=Path, default=reports / "shadow.png", help="picture to draw")
    arguments = parser.parse_args()
    try:
        checks = read_checks(arguments.checks, arguments.threshold)
        plot(checks, arguments.threshold, arguments.plot)
    except OSError as error:
        parser.exit(2, f"alarms.py: {error.filename}: {error.strerror}\n")
    except (KeyError, TypeError, ValueError) as error:
        parser.exit(2, f"alarms.py: {arguments.checks} is not of shadow.py's making: {error!r}\n")
    print(report(checks))


if __name__ == "__main__":
    main()
