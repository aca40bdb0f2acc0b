"""What is printed and drawn of a trained detector."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from knn_metric.data.rows import SAMPLE
from knn_metric.detection.calibration import FEW_ROWS
from knn_metric.detection.clock import describe_clock
from knn_metric.detection.detectors import describe_detector
from knn_metric.detection.training import Drift
from knn_metric.files import shorten
from knn_metric.plotting import add_title, save
from knn_metric.tables import format_fields

if TYPE_CHECKING:
    from portable_knn import PortableKNN

FEW_REQUESTS = 20  # a window in which not every client that retries is recognised


def format_training(
    detector: PortableKNN,
    held_out_scores: np.ndarray,
    rejected: Mapping[str, int],
    drift: Drift | None,
    artifact: Path,
    picture: Path,
) -> str:
    """Say what the detector was trained on, its threshold, how many rows are above it, and more."""
    origin = detector.origin_
    parts = {"training": detector.decision_scores_, "held-out": held_out_scores}
    n_rows = sum(map(len, parts.values()))
    fields = {"data": f"{origin['source']}, {n_rows} rows, SHA-256 {origin['sha256']}"}
    if rejected:
        reasons = "; ".join(f"{reason} ({count:,})" for reason, count in rejected.items())
        fields["left out"] = f"{sum(rejected.values()):,} rows: {reasons}"
    fields["detector"] = describe_detector(detector)
    fields["threshold_"] = repr(float(detector.threshold_))
    for name, scores in parts.items():
        above = int(np.sum(scores > detector.threshold_))
        fields[name] = f"{above}/{len(scores)} rows above it ({above / len(scores):.2%})"
    if len(held_out_scores) < FEW_ROWS:
        few = f"{len(held_out_scores):,} held-out rows are few, so that changes are detected late"
        fields["calibration"] = few
    fields |= _describe_calibration(detector.calibration_)
    if drift:
        fields["drift"] = _describe_drift(drift)
    fields["artifact"] = f"{shorten(artifact)} ({artifact.stat().st_size / 1000:.0f} KB)"
    fields["picture"] = shorten(picture)
    fields["next"] = (
        "`knn-metric serve` to try it here, `knn-metric upload` to put it on the platform"
    )
    if origin["source"] == SAMPLE:
        fields["next"] = (
            "a sample of synthetic people is for trying out: `knn-metric train` for use"
        )
    return format_fields(fields)


def _describe_calibration(calibration: Mapping[str, Any]) -> dict[str, str]:
    """Say for which traffic the bounds hold, and which requests make no bet."""
    chance, window = calibration["chance"], calibration["window"]
    repeats = f"a request that equals one of the last {window:,} makes no bet; two rows are equal"
    repeats += f" with a probability of {chance:.3g}"
    if window < FEW_REQUESTS:
        repeats += ": the rows are so alike that clients that retry may raise an alert"
    return {"bounds": f"hold {describe_clock(calibration['clock'])}", "repeats": repeats}


def _describe_drift(drift: Drift) -> str:
    since = datetime.fromtimestamp(drift.since, UTC).isoformat(" ", "minutes")
    field = f" in {drift.field}" if drift.field else ""
    return (
        f"the traffic of these rows changed at about {since}{field}: train on what came after, or"
        " what is usual now may raise an alert"
    )


def plot_scores(detector: PortableKNN, held_out_scores: np.ndarray, path: Path) -> None:
    """Overlay the densities of training and held-out scores and mark the threshold."""
    parts = {"training": detector.decision_scores_, "held-out": held_out_scores}
    # The last thousandth of the scores would squeeze the rest into a corner.
    end = max(2 * detector.threshold_, np.percentile(detector.decision_scores_, 99.9)) or 1.0
    bins = np.linspace(0, end, 61)
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.add_subplot()
    styles: tuple[dict[str, Any], ...] = (
        {"color": "tab:blue", "alpha": 0.45},
        {"color": "tab:orange", "histtype": "step"},
    )
    for (name, scores), style in zip(parts.items(), styles, strict=True):
        above = np.mean(scores > detector.threshold_)
        label = f"{name}: {len(scores):,} rows, {above:.2%} above the threshold"
        axes.hist(
            np.minimum(scores, end).tolist(),
            bins.tolist(),
            density=True,
            lw=1.8,
            label=label,
            **style,
        )
    label = f"threshold {detector.threshold_:.3f}"
    axes.axvline(detector.threshold_, color="black", linestyle="--", label=label)
    axes.axvspan(detector.threshold_, end, color="tab:red", alpha=0.08, label="alarm")
    source = detector.origin_["source"]
    rows = "synthetic people of the sample" if source == "sample" else f"rows of {source}"
    add_title(figure, f"Anomaly scores of {rows}, training and held-out")
    axes.set_xlabel(
        f"score: distance to neighbor {detector.n_neighbors} among the training rows"
        f" (the last bar holds all above {bins[-2]:.1f})"
    )
    axes.set_ylabel("density")
    axes.set_xlim(0, end)
    figure.legend(loc="outside lower center", ncols=2)
    save(figure, path)
