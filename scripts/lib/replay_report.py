"""What is said of a replay: when its alarms became news, its table, its picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lib.alarm_rate import BLOCK, is_news
from lib.detector import count_reasons
from lib.picture import draw_rate, mark, save
from lib.replay import ALARM, FAILED, PASSED, REJECTED, Outcome

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def split_at_drift(outcomes: Sequence[Outcome]) -> tuple[list[Outcome], list[Outcome]]:
    """Return the requests before the drift, and those since."""
    before = [outcome for outcome in outcomes if not outcome.drift]
    return before, [outcome for outcome in outcomes if outcome.drift]


class News(NamedTuple):
    """The first block of requests with too many alarms: its end, and the alarms in it."""

    request: int
    alarms: list[Outcome]


def find_news(outcomes: Sequence[Outcome], normal: float) -> News | None:
    """Find the first block of scored requests whose alarms are too many for the normal rate."""
    scored = [outcome for outcome in outcomes if outcome.is_scored]
    for first in range(0, len(scored) - BLOCK + 1, BLOCK):
        block = scored[first : first + BLOCK]
        alarms = [outcome for outcome in block if outcome.result == ALARM]
        if is_news(len(alarms), BLOCK, normal):
            return News(block[-1].row + 1, alarms)
    return None


def count_features(alarms: Sequence[Outcome]) -> list[tuple[str, int]]:
    """Count alarms by the feature that they are mostly because of, the most frequent first."""
    return count_reasons(alarm.because for alarm in alarms if alarm.because).most_common()


def describe(outcomes: Sequence[Outcome], normal: float | None) -> list[str]:
    """Say what was lost, what share of the requests raised an alarm, and when that was news.

    Without the normal rate it cannot be told when.
    """
    lines = []
    for result in (REJECTED, FAILED):
        lost = [outcome.reason for outcome in outcomes if outcome.result == result]
        if lost:
            lines.append(f"{len(lost):,} of {len(outcomes):,} {result}: {lost[0]}")
    if any(outcome.is_scored for outcome in outcomes):
        lines += [_describe_rate(outcomes), _describe_news(outcomes, normal)]
    return lines


def _describe_rate(outcomes: Sequence[Outcome]) -> str:
    before, since = split_at_drift(outcomes)
    if not since:
        return f"{_percent(outcomes)} of {len(outcomes):,} requests raise an alarm"
    start = f"{since[0].drift} from request {since[0].row:,} on"
    if not before:
        return f"{start}: alarms {_percent(since)}"
    rates = f"{_percent(before)} before, {_percent(since)} since, {_percent(outcomes)} in all"
    return f"{start}: alarms {rates}"


def _describe_news(outcomes: Sequence[Outcome], normal: float | None) -> str:
    n_scored = sum(outcome.is_scored for outcome in outcomes)
    if normal is None:
        return "when it was noticed is not known: the requests have no p-values"
    if n_scored < BLOCK:
        return f"too few requests to notice anything: a block has {BLOCK}"
    news, expected = find_news(outcomes, normal), f"{100 * normal:.0f} expected"
    if news is None:
        return f"not noticed: no block of {BLOCK} requests has too many alarms ({expected})"
    since = split_at_drift(outcomes)[1]
    after = news.request - since[0].row if since else 0
    when = f", {abs(after):,} {'after' if after > 0 else 'before'} the drift began" if since else ""
    features = count_features(news.alarms)
    because = ", most often because of {} ({})".format(*features[0]) if features else ""
    counts = f"({len(news.alarms)} alarms in {BLOCK}, {expected})"
    return f"{'noticed':<12}at request {news.request:,}{when} {counts}{because}"


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
    alarms = [outcome for outcome in outcomes if outcome.result == ALARM]
    features = ", ".join(f"{feature} {count:,}" for feature, count in count_features(alarms))
    lines += [f"{'because of':<12}{features}"] if features else []
    lines.append(f"{'latency':<12}{'p50':>8}{'p95':>8}{'p99':>8}  ms")
    for hop in ("target", "metric"):
        taken = np.array([getattr(outcome, f"{hop}_ms") for outcome in outcomes])
        taken = taken[~np.isnan(taken)]
        if len(taken):
            cells = "".join(f"{cell:>8.2f}" for cell in np.percentile(taken, [50, 95, 99]))
            lines.append(f"{hop:<12}{cells}")
    return "\n".join(lines)


def plot(outcomes: Sequence[Outcome], threshold: float, normal: float | None, path: Path) -> None:
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
        mark((top, bottom), since[0].row, f"drift begins, {since[0].row:,}", "black")
    news = None if normal is None else find_news(outcomes, normal)
    if news:
        mark((top, bottom), news.request, f"noticed, {news.request:,}", "tab:green")
    title = [" ".join(line.split()) for line in describe(outcomes, normal)]
    source = outcomes[0].source
    title.append("a sample of synthetic people" if source == "sample" else f"rows of {source}")
    save(figure, "\n".join(title), path)


def _plot_scores(axes: Axes, scored: Sequence[Outcome], threshold: float) -> None:
    for result, color in ((PASSED, "tab:blue"), (ALARM, "tab:red")):
        points = [(outcome.row, outcome.value) for outcome in scored if outcome.result == result]
        if points:
            axes.scatter(*zip(*points, strict=True), s=7, color=color, label=result, clip_on=False)
    axes.axhline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.3g}")
    # Scores of drifted rows span decades: logarithms begin at the next power of ten.
    begin = 10 ** np.ceil(np.log10(max(threshold, 0.01)))
    axes.set_yscale("symlog", linthresh=begin)
    axes.set_ylim(0, max(1.1 * begin, axes.get_ylim()[1]))  # the tick there is always shown
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("score")


def _plot_rate(axes: Axes, scored: Sequence[Outcome]) -> None:
    window = max(min(BLOCK, len(scored)), 1)
    alarms = np.array([outcome.result == ALARM for outcome in scored], dtype=float)
    rows = [outcome.row for outcome in scored][window - 1 :]
    rate = np.convolve(alarms, np.ones(window) / window, mode="valid") if scored else []
    draw_rate(axes, rows, rate, f"the\nlast {window} requests")
    axes.set_xlabel("request")
