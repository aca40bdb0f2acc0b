"""The picture of a watched target: each metric's rate of alarms by batch, over time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from lib.alarm_rate import most_usual
from lib.picture import draw_rate, mark, save
from lib.sonar import format_time
from lib.watch_report import Verdict, show

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def plot(verdicts: Sequence[Verdict], title: str, path: Path) -> None:
    """Draw a metric below the other, and mark the first batch that is news in those that alert."""
    figure = Figure(figsize=(11, 2 + 3 * len(verdicts)), layout="constrained")
    rows = figure.subplots(len(verdicts), 1, sharex=True, squeeze=False)[:, 0]
    for number, (axes, verdict) in enumerate(zip(rows, verdicts, strict=True)):
        _plot_rate(axes, verdict, is_first=number == 0)
        name = f"{show(verdict.metric)}, normal rate {verdict.normal:.1%}"
        axes.set_title(name, loc="left", fontsize=10, parse_math=False)
        if verdict.is_news and verdict.noticed:
            second = verdict.noticed.end
            label = f"noticed, {format_time(second)}"
            mark([axes], datetime.fromtimestamp(second), label, "tab:green")
    rows[-1].set_xlabel("last request of each batch")
    save(figure, title, path)


def _plot_rate(axes: Axes, verdict: Verdict, is_first: bool) -> None:
    times = [datetime.fromtimestamp(batch.end) for batch in verdict.batches]
    checked, alarms = np.array([verdict.count(batch) for batch in verdict.batches], dtype=float).T
    checked[checked == 0] = np.nan  # a batch without a rate
    draw_rate(axes, times, alarms / checked, "each batch")
    usual = most_usual(checked, verdict.normal) / checked
    labels = ("alarms", "normal: not news in a batch", "normal rate") if is_first else (None,) * 3
    axes.plot(times, 100 * alarms / checked, ".", color="tab:red", label=labels[0])
    axes.fill_between(times, 100 * usual, color="tab:blue", alpha=0.2, label=labels[1])
    axes.axhline(100 * verdict.normal, color="black", linestyle="--", label=labels[2])
