"""The picture of a watched target: each metric's scores and the evidence of a change, over time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from knn_metric.cli import show
from knn_metric.detection.change import ALERT
from knn_metric.live.metric import Metric
from knn_metric.plotting import add_legend, add_title, mark, plot_stream, save


def plot(metrics: Sequence[Metric], title: str, path: Path) -> None:
    """Draw a metric below the other: its scores, and below them the evidence."""
    figure = Figure(figsize=(11, 2 + 4 * len(metrics)), layout="constrained")
    axes = figure.subplots(2 * len(metrics), 1, sharex=True, squeeze=False)[:, 0]
    for number, metric in enumerate(metrics):
        own = axes[2 * number : 2 * number + 2].tolist()
        requests = list(metric.requests.values())
        times = [datetime.fromtimestamp(request.second) for request in requests]
        scores = np.array([request.score for request in requests])
        evidence = [request.evidence for request in requests] if metric.is_tested else []
        plot_stream(own, times, scores, evidence, metric.threshold, ALERT)
        own[0].set_title(show(metric.name), loc="left", fontsize=10, parse_math=False)
        if metric.change:
            moment = datetime.fromtimestamp(metric.at(metric.change.onset).second)
            label = f"change began at {metric.describe_begin(metric.change)}"
            mark(own, moment, label, "tab:green")
    axes[-1].set_xlabel("time of the check")
    add_title(figure, title)
    add_legend(figure)
    save(figure, path)
