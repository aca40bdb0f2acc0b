"""What pictures of alarm rates share: the rate, marks across all axes, title and legend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lib.command import replacing

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def draw_rate(axes: Axes, where: Sequence, rates: Sequence[float], of: str) -> None:
    """Draw shares of alarms, 0 to 1, as percentages of what `of` says."""
    percent = 100 * np.asarray(rates)
    axes.fill_between(where, percent, color="tab:red", alpha=0.3)
    axes.plot(where, percent, color="tab:red")
    axes.set_ylim(0, 105)
    axes.set_ylabel(f"alarms, % of {of}")


def mark(axes: Sequence[Axes], where: object, label: str, color: str) -> None:
    """Draw an upright line through all axes, once in the legend."""
    for number, one in enumerate(axes):
        one.axvline(where, color=color, linewidth=2, label=label if number == 0 else None)


def save(figure: Figure, title: str, path: Path) -> None:
    figure.suptitle(title, fontsize=12, fontweight="bold", wrap=True, parse_math=False)
    figure.legend(loc="outside lower center", ncols=4, markerscale=2)
    with replacing(path) as new:
        figure.savefig(new, dpi=110)
