"""Fit the detector, and learn from held-out rows what healthy traffic looks like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from knn_metric.cli import PARAMS, SEED, TEST_SIZE, UserError
from knn_metric.data.rows import Rows, count_copies, describe_origin, split
from knn_metric.data.times import NO_TIME
from knn_metric.detection.calibration import calibrate
from knn_metric.detection.clock import group_by_clock
from knn_metric.detection.surprise import FieldSurprise
from knn_metric.detection.verdict import Stream

if TYPE_CHECKING:
    from portable_knn import PortableKNN

LAST = 0.1  # of a log, which is tested for a change since the rest
REPLAYED = 10_000  # rows of it at most, evenly spread


class Drift(NamedTuple):
    """A change within a log: the epoch second since when, and the field."""

    since: int
    field: str


def train(
    rows: Rows,
    test_size: float = TEST_SIZE,
    seed: int = SEED,
    **params: float,
) -> tuple[PortableKNN, np.ndarray]:
    """Fit the detector on the training part of rows, and score the held-out part.

    Parameters
    ----------
    rows : Rows
    test_size, seed
        Of the split.
    **params
        Of the detector; those that are left out are as in `PARAMS`.

    Returns
    -------
    detector : PortableKNN
        With the proportion of held-out rows above its threshold as ``origin_["held_out_rate"]``,
        and its ``calibration_``.
    scores : ndarray, shape (n,), dtype float64
        Of the held-out rows.

    Raises
    ------
    UserError
        If the rows are too few or will not do, or a parameter is out of its range.
    """
    training, held_out = split(rows, test_size, seed)
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
    from portable_knn import PortableKNN

    try:
        return PortableKNN(**{**PARAMS, **params}).fit(rows.values, None, rows.names, origin)
    except ValueError as error:
        raise UserError(str(error)) from error


def find_drift(rows: Rows, seed: int = SEED, **params: float) -> Drift | None:
    """Test the last tenth of a log by what the rest of it was like.

    Returns
    -------
    Drift or None
        None where nothing changed, or the rows have no times.
    """
    if rows.times is None:
        return None
    timed = np.flatnonzero(rows.times != NO_TIME)
    in_order = timed[np.argsort(rows.times[timed], kind="stable")]
    n_last = int(LAST * len(in_order))
    if not n_last:
        return None
    detector, _ = train(rows.take(in_order[:-n_last]), seed=seed, **params)
    step = -(-n_last // REPLAYED)
    last = rows.take(in_order[-n_last::step])
    stream = Stream(detector.calibration_, detector.threshold_, FieldSurprise.of(detector))
    stream.feed(last.values, detector.decision_function(last.values))
    changes = stream.verdict().changes
    if not changes:
        return None
    assert last.times is not None
    return Drift(int(last.times[changes[0].onset]), changes[0].field)
