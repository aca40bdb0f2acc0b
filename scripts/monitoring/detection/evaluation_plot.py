"""The picture of an evaluation: after how many requests each corruption is detected."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from monitoring.detection.detectors import describe_detector, distance_of
from monitoring.detection.evaluation import MOST, Result
from monitoring.plotting import add_title, save

if TYPE_CHECKING:
    from portable_knn import PortableKNN

COLORS = {"minkowski": "tab:gray", "hvdm": "tab:blue"}
MISSED = 2 * MOST  # where a bar ends that has no end


def plot(both: dict[PortableKNN, list[Result]], title: str, path: Path) -> None:
    """Draw when each change is detected: as bars, or by field and operation."""
    names = [result.name for result in next(iter(both.values()))[1:]]
    if sum(":" in name for name in names) > len(names) / 2:
        _plot_fields(both, title, path)
    else:
        _plot_bars(both, title, path)


def _plot_fields(both: dict[PortableKNN, list[Result]], title: str, path: Path) -> None:
    """Draw fields by corruptions, the cell's number the requests until the change is detected."""
    cells = {name: _split(name) for name in (one.name for one in next(iter(both.values()))[1:])}
    fields = list(dict.fromkeys(field for field, _ in cells.values()))
    operations = list(dict.fromkeys(operation for _, operation in cells.values()))
    width = 3 + len(both) * (1 + 0.7 * len(operations))
    figure = Figure(figsize=(width, 2 + 0.32 * len(fields)), layout="constrained")
    panels = figure.subplots(1, len(both), sharey=True, squeeze=False)[0]
    for axes, (detector, results) in zip(panels, both.items(), strict=True):
        grid = np.full((len(fields), len(operations)), np.nan)
        for one in results[1:]:
            field, operation = cells[one.name]
            place = fields.index(field), operations.index(operation)
            grid[place] = np.log10(one.median or MISSED)
            text = f"{one.median:,}" if one.median else "missed"
            axes.text(*place[::-1], text, ha="center", va="center", fontsize=8)
        axes.imshow(grid, cmap="RdYlGn_r", vmin=0, vmax=np.log10(MISSED), aspect="auto", alpha=0.6)
        axes.set_xticks(range(len(operations)), operations, rotation=45, ha="right")
        axes.set_yticks(range(len(fields)), fields)
        axes.set_title(describe_detector(detector), fontsize=10)
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


def _plot_bars(both: dict[PortableKNN, list[Result]], title: str, path: Path) -> None:
    """Draw a bar for each corruption and detector, on a logarithmic axis: shorter is better."""
    names = [result.name for result in next(iter(both.values()))[1:]][::-1]
    figure = Figure(figsize=(9, 2 + 0.4 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    height = 0.8 / len(both)
    for number, (detector, results) in enumerate(both.items()):
        found = {result.name: result for result in results}
        places = np.arange(len(names)) + 0.4 - height * (number + 0.5)
        lengths = [(found[name].median or MISSED) - 1 for name in names]
        color, label = COLORS[distance_of(detector)], describe_detector(detector)
        bars = axes.barh(places, lengths, 0.95 * height, left=1, color=color, label=label)
        for bar, name in zip(bars, names, strict=True):
            bar.set_alpha(1.0 if found[name].median else 0.3)
        notes = [_describe(found[name]) for name in names]
        axes.bar_label(bars, notes, padding=4, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(1, 20 * MISSED)
    axes.set_xticks([1, 10, 100, 1000, MISSED], ["1", "10", "100", "1,000", "missed"])
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("requests until the change is detected, median")
    add_title(figure, title)
    figure.legend(loc="outside lower center", ncols=2)
    save(figure, path)


def _describe(result: Result) -> str:
    alarms = f"{result.alarms:.0%} alarms"
    if result.median is None:
        return f"missed, {alarms}"
    field = f", {result.field}" if result.field else ""
    return f"{result.median:,}{field}, {alarms}"
