"""What pictures have in common: marks across axes, the title, the file."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from knn_metric.files import replacing_file


def mark(axes: Sequence[Axes], where: Any, label: str, color: str) -> None:
    """Draw an upright line through all axes, once in the legend."""
    for number, one in enumerate(axes):
        one.axvline(where, color=color, linewidth=2, label=label if number == 0 else None)


def add_title(figure: Figure, title: str) -> None:
    """Write lines above all axes, broken where they would run over the edge; no mathematics."""
    figure.suptitle(title, fontsize=11, wrap=True, parse_math=False)


def save(figure: Figure, path: Path) -> None:
    """Write a picture in the format of its name; what a font lacks is drawn as a box."""
    with replacing_file(path) as new, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(new, dpi=110)
