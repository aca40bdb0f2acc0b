"""The picture of an evaluation: after how many requests each corruption is detected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from knn_metric.detection.evaluation import MOST, Result
from knn_metric.plotting import add_title, save

MISSED = 2 * MOST  # where a bar ends that has no end


def plot(results: Sequence[Result], title: str, path: Path) -> None:
    """Draw when each change is detected: as bars, or by field and operation."""
    corrupted = results[1:]
    if sum(":" in one.name for one in corrupted) > len(corrupted) / 2:
        _plot_fields(corrupted, title, path)
    else:
        _plot_bars(corrupted, title, path)


def _plot_fields(results: Sequence[Result], title: str, path: Path) -> None:
    """Draw fields by corruptions, the cell's number the requests until the change is detected."""
    cells = {one.name: _split(one.name) for one in results}
    fields = list(dict.fromkeys(field for field, _ in cells.values()))
    operations = list(dict.fromkeys(operation for _, operation in cells.values()))
    figure = Figure(
        figsize=(4 + 0.7 * len(operations), 2 + 0.32 * len(fields)), layout="constrained"
    )
    axes = figure.add_subplot()
    grid = np.full((len(fields), len(operations)), np.nan)
    for one in results:
        field, operation = cells[one.name]
        place = fields.index(field), operations.index(operation)
        grid[place] = np.log10(one.median or MISSED)
        text = f"{one.median:,}" if one.median else "missed"
        axes.text(*place[::-1], text, ha="center", va="center", fontsize=8)
    axes.imshow(grid, cmap="RdYlGn_r", vmin=0, vmax=np.log10(MISSED), aspect="auto", alpha=0.6)
    axes.set_xticks(range(len(operations)), operations, rotation=45, ha="right")
    axes.set_yticks(range(len(fields)), fields)
    add_title(figure, f"{title}\nrequests until the change is detected, median")
    save(figure, path)


def _split(name: str) -> tuple[str, str]:
    """Return the field and the operation of a corruption, as in ``scale:age:12``."""
    operation, _, words = name.partition(":")
    field, _, number = words.partition(":")
    return (
        field or "all fields",
        f"{operation} {number}".strip() if operation == "scale" else operation,
    )


def _plot_bars(results: Sequence[Result], title: str, path: Path) -> None:
    """Draw a bar for each corruption, on a logarithmic axis: shorter is better."""
    upwards = results[::-1]
    figure = Figure(figsize=(9, 2 + 0.4 * len(upwards)), layout="constrained")
    axes = figure.add_subplot()
    lengths = [(one.median or MISSED) - 1 for one in upwards]
    bars = axes.barh(range(len(upwards)), lengths, 0.76, left=1, color="tab:blue")
    for bar, one in zip(bars, upwards, strict=True):
        bar.set_alpha(1.0 if one.median else 0.3)
    axes.bar_label(bars, [_describe(one) for one in upwards], padding=4, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(1, 20 * MISSED)
    axes.set_xticks([1, 10, 100, 1000, MISSED], ["1", "10", "100", "1,000", "missed"])
    axes.set_yticks(range(len(upwards)), [one.name for one in upwards])
    axes.set_xlabel("requests until the change is detected, median")
    add_title(figure, title)
    save(figure, path)


def _describe(result: Result) -> str:
    alarms = f"{result.alarm_rate:.0%} alarms"
    if result.median is None:
        return f"missed, {alarms}"
    field = f", {result.field}" if result.field else ""
    return f"{result.median:,}{field}, {alarms}"
