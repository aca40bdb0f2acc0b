"""The picture of a watched target: each metric's scores and the evidence of a change, over time."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from knn_metric.detection.change import ALERT
from knn_metric.live.metric import Failures, Metric
from knn_metric.live.report import describe_metric
from knn_metric.plotting import add_legend, add_title, mark, plot_stream, save


def plot(streams: Sequence[Metric], target: str, path: Path) -> None:
    """Draw a metric below the other: its scores, and below them the evidence."""
    metrics = [metric for metric in streams if not isinstance(metric, Failures)]
    figure = Figure(figsize=(11, 2 + 4 * len(metrics)), layout="constrained")
    axes = figure.subplots(2 * len(metrics), 1, sharex=True, squeeze=False)[:, 0]
    for number, metric in enumerate(metrics):
        own = axes[2 * number : 2 * number + 2].tolist()
        requests = list(metric.requests.values())
        times = [datetime.fromtimestamp(request.second) for request in requests]
        scores = np.array([request.score for request in requests])
        evidence = [request.evidence for request in requests] if metric.is_tested else []
        limit = metric.threshold if np.isfinite(metric.threshold) else np.nanmax([1, *scores])
        plot_stream(own, times, scores, evidence, limit, ALERT)
        said = describe_metric(metric, is_one=False)
        own[0].set_title(said, loc="left", fontsize=10, wrap=True, parse_math=False)
        if metric.change:
            moment = datetime.fromtimestamp(metric.at(metric.change.onset).second)
            mark(own, moment, "about where the change began", "tab:green")
    locator = AutoDateLocator()
    axes[-1].xaxis.set_major_locator(locator)
    axes[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes[-1].set_xlabel("time of the check")
    failed = [
        describe_metric(one, is_one=True) for one in streams if one.is_alert and one not in metrics
    ]
    title = f"{target}: the scores of its requests, and the evidence that they have changed"
    add_title(figure, "\n".join([title, *failed]))
    add_legend(figure)
    save(figure, path)
