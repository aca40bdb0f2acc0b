"""The picture of a watched target: each metric's scores and the evidence of a change, over time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from monitoring.cli import show
from monitoring.detection.change_detection import ALERT, Bets, ChangeDetector
from monitoring.hydrosphere.sonar import format_time
from monitoring.live.verdict import Metric, Verdict
from monitoring.plotting import add_title, mark, save


def plot(metrics: Sequence[Metric], verdicts: Sequence[Verdict], title: str, path: Path) -> None:
    """Draw a metric below the other: its scores, and below them the evidence."""
    figure = Figure(figsize=(11, 2 + 4 * len(metrics)), layout="constrained")
    axes = figure.subplots(2 * len(metrics), 1, sharex=True, squeeze=False)[:, 0]
    for number, (metric, verdict) in enumerate(zip(metrics, verdicts, strict=True)):
        scores, evidence = axes[2 * number : 2 * number + 2]
        requests = [metric.requests[place] for place in metric.scored]
        times = [datetime.fromtimestamp(request.second) for request in requests]
        values = [metric.check(request).value for request in requests]
        first = number == 0
        scores.plot(times, values, ".", markersize=4, label="scores" if first else None)
        label = "threshold" if first else None
        scores.axhline(metric.threshold, color="black", linestyle="--", label=label)
        scores.set_yscale("symlog", linthresh=max(metric.threshold, 1e-9))
        scores.set_ylabel("score")
        scores.set_title(show(metric.name), loc="left", fontsize=10, parse_math=False)
        if metric.calibration:
            detector = ChangeDetector(Bets.of(metric.calibration))
            reached = np.array([detector.add(value) for value in values])
            evidence.plot(times, np.maximum(reached, 0.01), color="tab:purple")
        label = f"alert, {ALERT:,}" if first else None
        evidence.axhline(ALERT, color="tab:red", linestyle=":", label=label)
        evidence.set_yscale("log")
        evidence.set_ylabel("evidence")
        if verdict.detected:
            second = verdict.detected.onset.second
            label = f"change began at about {format_time(second)}"
            mark([scores, evidence], datetime.fromtimestamp(second), label, "tab:green")
    axes[-1].set_xlabel("time of the check")
    add_title(figure, title)
    figure.legend(loc="outside lower center", ncols=4, markerscale=2)
    save(figure, path)
