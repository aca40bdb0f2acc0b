"""Fit the detector, learn from held-out rows what healthy traffic looks like, and say it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from knn_metric.cli import PARAMS, SEED, TEST_SIZE, UserError
from knn_metric.data import provenance
from knn_metric.data.rows import Rows
from knn_metric.data.times import NO_TIME
from knn_metric.detection.calibration import FEW_ROWS, calibrate, describe_clock, group_by_clock
from knn_metric.detection.detectors import describe_detector
from knn_metric.detection.surprise import FieldSurprise
from knn_metric.detection.verdict import Stream
from knn_metric.files import command, shorten
from knn_metric.tables import format_fields

if TYPE_CHECKING:
    from portable_knn import PortableKNN

LAST = 0.1  # of a log, which is tested for a change since the rest
REPLAYED = 10_000  # rows of it at most, evenly spread
FEW_REQUESTS = 20  # a window in which not every client that retries is recognised


class Drift(NamedTuple):
    """A change within a log: the epoch second since when, and the field."""

    since: int
    field: str


def train(
    rows: Rows, test_size: float = TEST_SIZE, seed: int = SEED, **params: float
) -> tuple[PortableKNN, np.ndarray]:
    """Fit the detector on the training part of rows, and score the held-out part.

    Returns
    -------
    detector : PortableKNN
        Its parameters those given, else as in `PARAMS`; with the proportion of held-out rows above
        its threshold as ``origin_["held_out_rate"]``, and its ``calibration_``.
    scores : ndarray, shape (n,), dtype float64
        Of the held-out rows.

    Raises
    ------
    UserError
        If the rows are too few or will not do, or a parameter is out of its range.
    """
    training, held_out = provenance.split(rows, test_size, seed)
    origin = provenance.describe_origin(rows, test_size, seed)
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
        copies=provenance.count_copies(held_out),
    )
    return detector, scores


def fit_detector(rows: Rows, origin: dict[str, Any] | None = None, **params: float) -> PortableKNN:
    """Fit the detector on all rows; `train` says the rest."""
    from portable_knn import PortableKNN

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
    detector, _ = train(rows.take(in_order[:-n_last]), seed=seed, **params)
    tested = in_order[-n_last :: -(-n_last // REPLAYED)]
    values = rows.values[tested]
    stream = Stream(detector.calibration_, detector.threshold_, FieldSurprise.of(detector))
    stream.feed(values, detector.decision_function(values))
    for change in stream.verdict().changes:
        return Drift(int(rows.times[tested[change.onset]]), change.field)
    return None


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
    serve, upload = (command(word, artifact.parent) for word in ("serve", "upload"))
    fields["next"] = f"{serve} to try it here, {upload} to put it on the platform"
    if origin["source"] == provenance.SAMPLE:
        fields["next"] = f"{serve} to try it here; for use, train it on requests of your own"
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
