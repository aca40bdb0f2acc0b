"""What pictures have in common: a stream of scores, marks across axes, the title, the file."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from knn_metric.files import replacing_file


def mark(axes: Sequence[Axes], where: Any, label: str, color: str) -> None:
    """Draw an upright line through all axes, once in the legend."""
    for number, one in enumerate(axes):
        one.axvline(where, color=color, linewidth=2, label=label if number == 0 else None)


def plot_stream(
    axes: Sequence[Axes],
    places: Sequence[Any],
    scores: np.ndarray,
    evidence: Sequence[float] | np.ndarray,
    threshold: float,
    alert: float,
) -> None:
    """Draw the scores of n requests against the threshold, and their evidence, if any, below.

    `places` are numbers or datetimes on the axis that both share; a score may be NaN.
    """
    top, bottom = axes
    where = np.asarray(places)
    passed, alarms = scores <= threshold, scores > threshold
    for label, color, own in (("passed", "tab:blue", passed), ("alarm", "tab:red", alarms)):
        if own.any():
            top.scatter(where[own], scores[own], s=7, color=color, label=label, clip_on=False)
    top.axhline(threshold, color="black", linestyle="--", label=f"threshold {threshold:,.6g}")
    # Scores of corrupted rows span decades: logarithms begin at the next power of ten.
    begin = 10 ** np.ceil(np.log10(max(threshold, 0.01)))
    top.set_yscale("symlog", linthresh=begin)
    top.set_ylim(0, max(1.1 * begin, top.get_ylim()[1]))  # the tick there is always shown
    top.yaxis.set_major_formatter("{x:g}")
    top.set_ylabel("score")
    if len(evidence):
        bottom.plot(where, np.maximum(evidence, 0.01), color="tab:purple", linewidth=1)
    bottom.axhline(alert, color="tab:red", linestyle=":", label=f"alert, {alert:,}")
    bottom.set_yscale("log")
    bottom.set_ylim(0.01, 100 * alert)
    bottom.set_ylabel("evidence\nof a change")


def add_title(figure: Figure, title: str) -> None:
    """Write lines above all axes, broken where they would run over the edge; no mathematics."""
    figure.suptitle(title, fontsize=11, wrap=True, parse_math=False)


def add_legend(figure: Figure) -> None:
    """Name below all axes what they have, each once."""
    named: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    figure.legend(named.values(), named, loc="outside lower center", ncols=4, markerscale=2)


def save(figure: Figure, path: Path) -> None:
    """Write a picture in the format of its name; what a font lacks is drawn as a box."""
    with replacing_file(path) as new, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(new, dpi=110)
