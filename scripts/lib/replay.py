"""What became of the requests of a replay: the record, its CSV file, table and picture."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from lib import census
from lib.command import UserError, replacing

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import fisher_exact

WINDOW = 100  # requests in the rolling alarm rate
PASSED, ALARM, REJECTED, FAILED = "passed", "alarm", "rejected", "failed"
CHANCE = 0.01  # how rarely a drift that changes nothing may be called noticed


@dataclass(slots=True)
class Outcome:
    """What became of one request.

    Attributes
    ----------
    row : int
        Position in the replay, from 0.
    source : str
        Where the replayed rows are from: ``'uci'``, ``'sample'`` or a file's name.
    drift : str
        Name of the drift that the row was sent with, or ''.
    sent : tuple of int
        The metric's inputs, in the order of `census.FEATURES`: the request and the target's
        answer; without the answer if there was none.
    value : float
        The score, 0.0 if the metric returned none in `double_val`, as sonar reads it.
    result : str
        ``'passed'``, ``'alarm'``, ``'rejected'`` by the contract, or ``'failed'`` in a function.
    reason : str
        Why it was rejected or failed, or ''.
    target_ms, metric_ms : float
        Latency of each hop in milliseconds, NaN for a hop that was not taken.
    """

    row: int
    source: str
    drift: str
    sent: tuple[int, ...]
    value: float = float("nan")
    result: str = FAILED
    reason: str = ""
    target_ms: float = float("nan")
    metric_ms: float = float("nan")

    @property
    def is_scored(self) -> bool:
        return self.result in (PASSED, ALARM)

    def judge(self, value: float, threshold: float) -> None:
        """Take the metric's value as the platform does: healthy if value <= threshold."""
        self.value = value
        self.result = PASSED if value <= threshold else ALARM


def split_at_drift(outcomes: Sequence[Outcome]) -> tuple[list[Outcome], list[Outcome]]:
    """Return the requests before the drift, and those since."""
    before = [outcome for outcome in outcomes if not outcome.drift]
    return before, [outcome for outcome in outcomes if outcome.drift]


def is_noticed(before: Sequence[Outcome], since: Sequence[Outcome]) -> bool:
    """Tell whether more requests alarm since than before, by Fisher's exact test."""
    counts = [Counter(outcome.result for outcome in part) for part in (since, before)]
    table = [[count[ALARM], count[PASSED]] for count in counts]
    return fisher_exact(table, alternative="greater").pvalue < CHANCE


def describe(outcomes: Sequence[Outcome]) -> list[str]:
    """Say what share of the requests raised an alarm, what a drift changed, and what was lost."""
    lines = []
    before, since = split_at_drift(outcomes)
    if any(outcome.is_scored for outcome in outcomes):
        in_all = f"{_percent(outcomes)} of {len(outcomes):,} requests raise an alarm"
        lines.append(in_all if not since else _describe_drift(before, since))
    for result in (REJECTED, FAILED):
        lost = [outcome.reason for outcome in outcomes if outcome.result == result]
        if lost:
            lines.append(f"{len(lost):,} of {len(outcomes):,} {result}: {lost[0]}")
    return lines


def _describe_drift(before: list[Outcome], since: list[Outcome]) -> str:
    start = f"{since[0].drift} from request {since[0].row:,} on"
    if not before:
        return f"{start}: alarms {_percent(since)}"
    noticed = "noticed" if is_noticed(before, since) else "not noticed"
    rates = f"{_percent(before)} before, {_percent(since)} since, {_percent(before + since)} in all"
    return f"{start}: {noticed}, alarms {rates}"


def _percent(outcomes: Sequence[Outcome]) -> str:
    alarms = [outcome.result == ALARM for outcome in outcomes if outcome.is_scored]
    return f"{np.mean(alarms):.1%}" if alarms else "none scored"


def format_table(outcomes: Sequence[Outcome]) -> str:
    """Return the table: what became of the requests, and how long each hop took."""
    counts = Counter(outcome.result for outcome in outcomes)
    lines = [f"{'requests':<12}{len(outcomes):>8}"]
    for result in (PASSED, ALARM, REJECTED, FAILED):
        if counts[result] or result in (PASSED, ALARM):
            lines.append(f"{result:<12}{counts[result]:>8}")
    lines.append(f"{'latency':<12}{'p50':>8}{'p95':>8}{'p99':>8}  ms")
    for hop in ("target", "metric"):
        taken = np.array([getattr(outcome, f"{hop}_ms") for outcome in outcomes])
        taken = taken[~np.isnan(taken)]
        if len(taken):
            cells = "".join(f"{cell:>8.2f}" for cell in np.percentile(taken, [50, 95, 99]))
            lines.append(f"{hop:<12}{cells}")
    return "\n".join(lines)


# The CSV has the fields of an outcome, and each feature that was sent as a column of its own.
NAMES = [field.name for field in fields(Outcome)]
SENT = NAMES.index("sent")
HEADER = [*NAMES[:SENT], *census.FEATURES, *NAMES[SENT + 1 :]]


def write_csv(outcomes: Sequence[Outcome], path: Path) -> None:
    with replacing(path) as new, new.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for outcome in outcomes:
            cells = astuple(outcome)
            missing = [""] * (len(census.FEATURES) - len(outcome.sent))
            writer.writerow([*cells[:SENT], *outcome.sent, *missing, *cells[SENT + 1 :]])


def read_csv(path: Path, threshold: float) -> list[Outcome]:
    """Read what `write_csv` wrote, and hold the values against a threshold again."""
    try:
        with path.open(newline="") as file:
            outcomes = [_read_line(line) for line in csv.DictReader(file)]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        problem = f"{type(error).__name__}: {error}"
        raise UserError(f"{path} was not written by shadow.py, or is cut: {problem}") from error
    if not outcomes:
        raise UserError(f"{path} holds no requests")
    for outcome in outcomes:
        if outcome.is_scored:
            outcome.judge(outcome.value, threshold)
    return outcomes


def _read_line(line: dict[str, str]) -> Outcome:
    sent = tuple(int(line[name]) for name in census.FEATURES if line[name])
    outcome = Outcome(int(line["row"]), line["source"], line["drift"], sent)
    outcome.result, outcome.reason = line["result"], line["reason"]
    for name in ("value", "target_ms", "metric_ms"):
        setattr(outcome, name, float(line[name]))
    return outcome


def plot(outcomes: Sequence[Outcome], threshold: float, path: Path) -> None:
    """Draw each score against the threshold, and the rolling alarm rate below."""
    scored = [outcome for outcome in outcomes if outcome.is_scored]
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _plot_scores(top, scored, threshold)
    _plot_rate(bottom, scored)
    end = outcomes[-1].row + 1
    bottom.set_xlim(-0.01 * end, 1.01 * end)
    since = split_at_drift(outcomes)[1]
    if since:
        label = f"drift begins, {since[0].row:,}"
        top.axvline(since[0].row, color="black", linewidth=2, label=label)
        bottom.axvline(since[0].row, color="black", linewidth=2)
    title = describe(outcomes)
    source = outcomes[0].source
    title.append("a sample of synthetic people" if source == "sample" else f"rows of {source}")
    figure.suptitle("\n".join(title), fontsize=13, fontweight="bold", wrap=True, parse_math=False)
    figure.legend(loc="outside lower center", ncols=4, markerscale=2)
    with replacing(path) as new:
        figure.savefig(new, dpi=110)


def _plot_scores(axes: Axes, scored: Sequence[Outcome], threshold: float) -> None:
    for result, color in ((PASSED, "tab:blue"), (ALARM, "tab:red")):
        points = [(outcome.row, outcome.value) for outcome in scored if outcome.result == result]
        if points:
            axes.scatter(*zip(*points, strict=True), s=7, color=color, label=result, clip_on=False)
    axes.axhline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.2f}")
    axes.set_yscale("symlog", linthresh=10)  # scores of drifted rows span three decades
    axes.set_ylim(0, max(11, axes.get_ylim()[1]))  # the tick at 10 is always there
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("score")


def _plot_rate(axes: Axes, scored: Sequence[Outcome]) -> None:
    window = max(min(WINDOW, len(scored)), 1)
    alarms = np.array([outcome.result == ALARM for outcome in scored], dtype=float)
    rows = [outcome.row for outcome in scored][window - 1 :]
    rate = 100 * np.convolve(alarms, np.ones(window) / window, mode="valid") if scored else []
    axes.fill_between(rows, rate, color="tab:red", alpha=0.3)
    axes.plot(rows, rate, color="tab:red")
    axes.set_ylim(0, 105)
    axes.set_ylabel(f"alarms, % of the\nlast {window} requests")
    axes.set_xlabel("request")
