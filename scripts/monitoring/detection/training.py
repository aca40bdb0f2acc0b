"""Fit a detector."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from monitoring.cli import UserError
from monitoring.data import provenance
from monitoring.data.rows import Rows
from monitoring.detection.attribution import Attribution
from monitoring.detection.change_detection import measure_levels

if TYPE_CHECKING:
    from portable_knn import PortableKNN

# Of the detector that Hydrosphere published.
PARAMS: dict[str, float] = {"n_neighbors": 15, "p": 5, "contamination": 0.05}


def train(
    rows: Rows,
    test_size: float = provenance.TEST_SIZE,
    seed: int = provenance.SEED,
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
    training, held_out = provenance.split(rows, test_size, seed)
    origin = provenance.describe_origin(rows, test_size, seed)
    detector = fit_detector(training, origin, **params)
    scores = detector.decision_function(held_out.values)
    detector.origin_["held_out_rate"] = float(np.mean(scores > detector.threshold_))
    detector.calibration_ = calibrate(detector, held_out.values, scores)
    return detector, scores


def calibrate(detector: PortableKNN, rows: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """Learn what healthy traffic looks like from held-out rows, for the artifact to keep.

    Returns
    -------
    dict
        Of `measure_levels`, and `top_features`: of how many alarms each feature is the top one.
    """
    alarms = rows[scores > detector.threshold_]
    top_features = Attribution(detector).top_features(alarms) if len(alarms) else []
    counts = sorted(Counter(top_features).items())
    return {**measure_levels(detector.decision_scores_, scores), "top_features": dict(counts)}


def fit_detector(rows: Rows, origin: dict[str, Any] | None = None, **params: float) -> PortableKNN:
    """Fit the detector on all rows; `train` says the rest."""
    from portable_knn import PortableKNN

    try:
        return PortableKNN(**{**PARAMS, **params}).fit(rows.values, None, rows.names, origin)
    except ValueError as error:
        raise UserError(str(error)) from error
