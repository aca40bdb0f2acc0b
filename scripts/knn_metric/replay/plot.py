"""The picture of a replay: each score against the threshold, and the evidence of a change below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from knn_metric.detection.change import ALERT
from knn_metric.plotting import add_title, mark, save
from knn_metric.replay.outcome import ALARM, PASSED, Replay
from knn_metric.replay.report import corruption_start, describe


def plot(replay: Replay, path: Path) -> None:
    """Draw a replay."""
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _plot_scores(top, replay)
    _plot_evidence(bottom, [one.row for one in replay.outcomes], replay.evidence)
    end = replay.outcomes[-1].row + 1
    bottom.set_xlim(-0.01 * end, 1.01 * end)
    start = corruption_start(replay.outcomes)
    if start is not None:
        mark((top, bottom), start, f"corruption begins, {start:,}", "black")
    for change in replay.verdict.changes[:1]:
        detected = replay.outcomes[change.detected].row
        mark((top, bottom), detected, f"change detected, {detected:,}", "tab:green")
    rows = "a sample of synthetic people" if replay.source == "sample" else replay.source
    add_title(figure, "\n".join([*describe(replay), f"rows: {rows}"]))
    figure.legend(loc="outside lower center", ncols=4, markerscale=2)
    save(figure, path)


def _plot_scores(axes: Axes, replay: Replay) -> None:
    for result, color in ((PASSED, "tab:blue"), (ALARM, "tab:red")):
        points = [(one.row, one.value) for one in replay.outcomes if one.result == result]
        if points:
            rows, scores = zip(*points, strict=True)
            axes.scatter(rows, scores, s=7, color=color, label=result, clip_on=False)
    threshold = replay.threshold
    axes.axhline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.3g}")
    # Scores of corrupted rows span decades: logarithms begin at the next power of ten.
    begin = 10 ** np.ceil(np.log10(max(threshold, 0.01)))
    axes.set_yscale("symlog", linthresh=begin)
    axes.set_ylim(0, max(1.1 * begin, axes.get_ylim()[1]))  # the tick there is always shown
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("score")


def _plot_evidence(axes: Axes, rows: Sequence[int], evidence: np.ndarray) -> None:
    axes.plot(rows, np.maximum(evidence, 0.01), color="tab:purple", linewidth=1)
    axes.axhline(ALERT, color="tab:red", linestyle=":", label=f"alert, {ALERT:,}")
    axes.set_yscale("log")
    axes.set_ylim(0.01, 100 * ALERT)
    axes.set_ylabel("evidence\nof a change")
    axes.set_xlabel("request")
