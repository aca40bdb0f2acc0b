"""Fit the detector, learn from held-out rows what healthy traffic looks like, say and draw it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from knn_metric.cli import PARAMS, SAMPLE, SEED, TEST_SIZE, UserError
from knn_metric.data.cells import NO_TIME
from knn_metric.data.rows import Rows, count_copies, describe_origin, split
from knn_metric.detection.calibration import FEW_ROWS, calibrate, describe_clock, group_by_clock
from knn_metric.detection.detectors import describe_detector
from knn_metric.detection.surprise import FieldSurprise
from knn_metric.detection.verdict import Stream
from knn_metric.files import command, shorten
from knn_metric.plotting import add_title, save
from knn_metric.tables import format_fields
from portable_knn import PortableKNN

LAST = 0.1  # of a log, which is tested for a change since the rest
REPLAYED = 10_000  # rows of it at most, evenly spread
FEW_REQUESTS = 20  # a window in which not every client that retries is recognised
COMPARED = 2_000  # training rows whose score is taken apart, at most
DECIDING = 0.6  # the proportion of the score that so few of so many fields may decide
FEW_FIELDS, MANY_FIELDS = 3, 8
UNIQUE = 0.99  # the proportion of rows with a value of their own, of ids and counters


class Drift(NamedTuple):
    """A change within a log: the epoch second since when, and the field."""

    since: int
    field: str


def train(
    rows: Rows, test_size: float = TEST_SIZE, seed: int = SEED, **params: float
) -> tuple[PortableKNN, np.ndarray]:
    """Fit the detector on the training part of rows, and score the held-out part.

    The parameters are those given, else as in `PARAMS`. The detector has the proportion of held-out
    rows above its threshold as ``origin_["held_out_rate"]``, and its ``calibration_``. A UserError
    says that the rows are too few or will not do, or that a parameter is out of its range.
    """
    training, held_out = split(rows, test_size, seed)
    k = int({**PARAMS, **params}["n_neighbors"])
    if len(training) < 2 * k:
        needed = f"expected {2 * k} or more to train on"
        many = f"{len(training)} of {len(rows)} rows are in the training part"
        raise UserError(f"{many}, too few for {k} neighbors: {needed}")
    origin = describe_origin(rows, test_size, seed)
    detector = fit_detector(training, origin, **params)
    scores = detector.decision_function(held_out.values)
    detector.origin_["held_out_rate"] = float(np.mean(scores > detector.threshold_))
    n_rejected = sum(rows.rejected.values())
    detector.calibration_ = calibrate(
        detector,
        rows.is_code,
        held_out.values,
        group_by_clock(held_out.times),
        rejected=(n_rejected, len(rows) + n_rejected),
        copies=count_copies(held_out),
    )
    return detector, scores


def fit_detector(rows: Rows, origin: dict[str, Any] | None = None, **params: float) -> PortableKNN:
    """Fit the detector on all rows; `train` says the rest."""
    try:
        return PortableKNN(**{**PARAMS, **params}).fit(rows.values, None, rows.names, origin)
    except ValueError as error:
        raise UserError(str(error)) from error


def find_drift(rows: Rows, seed: int = SEED, **params: float) -> Drift | None:
    """Test the last tenth of a log by what the rest of it was like, if the rows have times."""
    if rows.times is None:
        return None
    timed = np.flatnonzero(rows.times != NO_TIME)
    in_order = timed[np.argsort(rows.times[timed], kind="stable")]
    n_last = int(LAST * len(in_order))
    if not n_last:
        return None
    try:
        detector, _ = train(rows.take(in_order[:-n_last]), seed=seed, **params)
    except UserError:  # too few without the last ones
        return None
    tested = in_order[-n_last :: -(-n_last // REPLAYED)]
    values = rows.values[tested]
    stream = Stream(detector.calibration_, detector.threshold_, FieldSurprise.of(detector))
    stream.feed(values, detector.decision_function(values))
    for change in stream.verdict().changes:
        return Drift(int(rows.times[tested[change.onset]]), change.field)
    return None


def share_score(detector: PortableKNN) -> dict[str, float]:
    """Return by field its mean proportion of what the training rows' scores are made up of."""
    training = detector.training_rows_.astype(np.float64)
    rows = training[:: -(-len(training) // COMPARED)]
    _, positions = detector.index_.nearest(rows, detector.n_neighbors + 1)
    neighbors = training[positions[:, -1]]
    gaps = np.abs(rows - neighbors)
    parts = (gaps / (gaps.max(axis=1, keepdims=True) + (gaps == 0))) ** detector.p
    apart = parts[gaps.any(axis=1)]
    shares = (apart / apart.sum(axis=1, keepdims=True)).sum(axis=0) / max(len(apart), 1)
    return dict(zip(detector.feature_names_in_.tolist(), shares.tolist(), strict=True))


def find_unfit(rows: Rows) -> dict[str, str]:
    """Return by field why the metric should not take it: an id, a timestamp, a counter."""
    n_last = max(int(LAST * len(rows)), 1)
    values = rows.values if rows.times is None else rows.values[np.argsort(rows.times)]
    found = {}
    for name, column in zip(rows.names, values.T, strict=True):
        earlier, later = column[:-n_last], column[-n_last:]
        if len(earlier) and np.mean((later < earlier.min()) | (later > earlier.max())) > 0.5:
            found[name] = "leaves in the last tenth of the rows the range that it had before"
        elif (column % 1 == 0).all() and len(np.unique(column)) > UNIQUE * len(column):
            found[name] = "has a value of its own in nearly each row"
    return found


def format_training(
    detector: PortableKNN,
    held_out_scores: np.ndarray,
    rows: Rows,
    drift: Drift | None,
    artifact: Path,
    picture: Path,
) -> str:
    """Say what the detector was trained on, its threshold, how many rows are above it, and more."""
    origin, rejected = detector.origin_, rows.rejected
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
    rate = float(np.mean(detector.decision_scores_ > detector.threshold_))
    if rate < detector.contamination / 2:
        fields["ties"] = (
            f"{rate:.2%} are above the threshold and not the {detector.contamination:.2%} asked"
            " for, since so many rows have that very score"
        )
    fields |= _describe_fields(share_score(detector), find_unfit(rows))
    if len(held_out_scores) < FEW_ROWS:
        few = f"{len(held_out_scores):,} held-out rows are few, so that changes are detected late"
        fields["calibration"] = few
    fields |= _describe_calibration(detector.calibration_)
    if drift:
        fields["drift"] = _describe_drift(drift)
    fields["artifact"] = f"{shorten(artifact)} ({artifact.stat().st_size / 1000:.0f} KB)"
    fields["picture"] = shorten(picture)
    serve, upload = (command(word, artifact.parent) for word in ("serve", "upload"))
    fields["next"] = f"{serve} to try it here, {upload} to put it on the platform"
    if origin["source"] == SAMPLE:
        fields["next"] = f"{serve} to try it here; for use, train it on requests of your own"
    return format_fields(fields)


def _describe_fields(shares: Mapping[str, float], unfit: Mapping[str, str]) -> dict[str, str]:
    """Say what share of the score each field has, and which fields should be left out."""
    highest = sorted(shares, key=lambda name: -shares[name])
    listed = ", ".join(f"{name} {shares[name]:.0%}" for name in highest if shares[name] >= 0.005)
    made_up = f"make up the score: {listed}" if listed else "add nothing: all rows are equal"
    described = {"fields": made_up}
    few = highest[:FEW_FIELDS]
    share = sum(shares[name] for name in few)
    if len(shares) >= MANY_FIELDS and share > DECIDING:
        described["scale"] = (
            f"{', '.join(few)} decide {share:.0%} of the score, since their numbers differ most:"
            " other fields raise an alert, and hardly an alarm"
        )
    if unfit:
        reasons = "; ".join(f"{name} {reason}" for name, reason in unfit.items())
        described["unfit"] = (
            f"{reasons}: leave such a field out of serving.yaml, or later requests raise alarms"
        )
    return described


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


def plot(metric: str, detector: PortableKNN, held_out_scores: np.ndarray, path: Path) -> None:
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
