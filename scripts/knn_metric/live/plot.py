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
from knn_metric.plotting import add_title, mark, save


def plot(metrics: Sequence[Metric], title: str, path: Path) -> None:
    """Draw a metric below the other: its scores, and below them the evidence."""
    figure = Figure(figsize=(11, 2 + 4 * len(metrics)), layout="constrained")
    axes = figure.subplots(2 * len(metrics), 1, sharex=True, squeeze=False)[:, 0]
    for first, metric in enumerate(metrics):
        scores, evidence = axes[2 * first : 2 * first + 2]
        # A label that begins with an underscore stands in no legend: one of each is enough.
        hidden = "_" if first else ""
        requests = list(metric.requests.values())
        times = [datetime.fromtimestamp(request.second) for request in requests]
        values = [request.score for request in requests]
        scores.plot(times, values, ".", markersize=4, label=f"{hidden}scores")
        scores.axhline(metric.threshold, color="black", linestyle="--", label=f"{hidden}threshold")
        scores.set_yscale("symlog", linthresh=max(metric.threshold, 1e-9))
        scores.set_ylabel("score")
        scores.set_title(show(metric.name), loc="left", fontsize=10, parse_math=False)
        if metric.is_tested:
            reached = np.maximum([request.evidence for request in requests], 0.01)
            evidence.plot(times, reached, color="tab:purple")
        label = f"{hidden}alert, {ALERT:,}"
        evidence.axhline(ALERT, color="tab:red", linestyle=":", label=label)
        evidence.set_yscale("log")
        evidence.set_ylabel("evidence")
        if metric.change:
            moment = datetime.fromtimestamp(metric.at(metric.change.onset).second)
            label = f"change began at {metric.describe_begin(metric.change)}"
            mark([scores, evidence], moment, label, "tab:green")
    axes[-1].set_xlabel("time of the check")
    add_title(figure, title)
    figure.legend(loc="outside lower center", ncols=4, markerscale=2)
    save(figure, path)
