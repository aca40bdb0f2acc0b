"""The pictures of a training's scores, and of an evaluation's delays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from knn_metric.detection.evaluation import MOST, Result
from knn_metric.plotting import add_title, save
from portable_knn import PortableKNN

MISSED = 2 * MOST  # where a bar ends that has no end


def plot_training(
    metric: str, detector: PortableKNN, held_out_scores: np.ndarray, path: Path
) -> None:
    """Overlay the densities of training and held-out scores and mark the threshold."""
    threshold, training = detector.threshold_, detector.decision_scores_
    # The last thousandth of the scores would squeeze the rest into a corner.
    end = max(2 * threshold, np.percentile(training, 99.9)) or 1.0
    bins = np.linspace(0, end, 61)
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.add_subplot()
    filled: dict[str, Any] = {"color": "tab:blue", "alpha": 0.45}
    outlined: dict[str, Any] = {"color": "tab:orange", "histtype": "step"}
    parts = ("training", training, filled), ("held-out", held_out_scores, outlined)
    for name, scores, style in parts:
        above = np.mean(scores > threshold)
        style["label"] = f"{name}: {len(scores):,} rows, {above:.2%} above the threshold"
        axes.hist(np.minimum(scores, end).tolist(), bins.tolist(), density=True, lw=1.8, **style)
    axes.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.3f}")
    axes.axvspan(threshold, end, color="tab:red", alpha=0.08, label="alarm")
    source = detector.origin_["source"]
    rows = "synthetic people of the sample" if source == "sample" else f"rows of {source}"
    add_title(figure, f"{metric}: anomaly scores of {rows}, training and held-out")
    axes.set_xlabel(
        f"score: distance to neighbor {detector.n_neighbors} among the training rows"
        f" (the last bar holds all above {bins[-2]:.1f})"
    )
    axes.set_ylabel("density")
    axes.set_xlim(0, end)
    figure.legend(loc="outside lower center", ncols=2)
    save(figure, path)


def plot_evaluation(results: Sequence[Result], title: str, path: Path) -> None:
    """Draw when each change is detected: as bars, or by field and operation."""
    corrupted = results[1:]
    is_by_field = sum(":" in one.name for one in corrupted) > len(corrupted) / 2
    figure = _plot_fields(corrupted, title) if is_by_field else _plot_bars(corrupted, title)
    save(figure, path)


def _plot_fields(results: Sequence[Result], title: str) -> Figure:
    """Draw fields by corruptions, the cell's number the requests until the change is detected."""
    cells = {one.name: _split(one.name) for one in results}
    fields = list(dict.fromkeys(field for field, _ in cells.values()))
    operations = list(dict.fromkeys(operation for _, operation in cells.values()))
    size = 4 + 0.7 * len(operations), 2 + 0.32 * len(fields)
    figure = Figure(figsize=size, layout="constrained")
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
    return figure


def _split(name: str) -> tuple[str, str]:
    """Return the field and the operation of a corruption, as in ``scale:age:12``."""
    operation, field, number, *_ = [*name.split(":", 2), "", ""]
    is_scale = operation == "scale"
    return field or "all fields", f"{operation} {number}".strip() if is_scale else operation


def _plot_bars(results: Sequence[Result], title: str) -> Figure:
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
    return figure


def _describe(result: Result) -> str:
    found = "missed" if result.median is None else f"{result.median:,}"
    field = f", {result.field}" if result.field else ""
    return f"{found}{field}, {result.alarm_rate:.0%} alarms"
