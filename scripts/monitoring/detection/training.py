"""Fit a detector with either distance."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from monitoring.cli import UserError
from monitoring.data import provenance
from monitoring.data.rows import Rows
from monitoring.detection.attribution import Attribution
from monitoring.detection.change_detection import measure_levels
from monitoring.files import PUBLISHED

if TYPE_CHECKING:
    from portable_knn import PortableKNN

# The published detector searches the codes as they are; HVDM is Euclid's distance of coordinates.
DISTANCES: dict[str, dict[str, float]] = {
    "minkowski": {"n_neighbors": 15, "p": 5},
    "hvdm": {"n_neighbors": 5, "p": 2},
}
PARAMS = ("n_neighbors", "p", "contamination")
CONTAMINATION = 0.05


def train(
    rows: Rows,
    test_size: float = provenance.TEST_SIZE,
    seed: int = provenance.SEED,
    distance: str = PUBLISHED,
    outcome: str | None = None,
    answers: str | None = None,
    **params: float,
) -> tuple[PortableKNN, np.ndarray]:
    """Fit the detector on the training part of rows, and score the held-out part.

    Parameters
    ----------
    rows : Rows
    test_size, seed
        Of the split.
    distance : str
        One of `DISTANCES`.
    outcome : str, optional
        The column by which the heterogeneous distance tells codes apart (default: the last one).
    answers : str, optional
        Whose answers the rows have; recorded ones if it is not given.
    **params
        Of the detector; those that are left out are the distance's usual ones.

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
    if answers:
        origin["answers"] = answers
    detector = fit_detector(training, distance, outcome, origin, **params)
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


def fit_detector(
    rows: Rows,
    distance: str = PUBLISHED,
    outcome: str | None = None,
    origin: dict[str, Any] | None = None,
    **params: float,
) -> PortableKNN:
    """Fit the detector on all rows; `train` says the rest."""
    from portable_knn import PortableKNN

    given: dict[str, Any] = {"contamination": CONTAMINATION, **DISTANCES[distance], **params}
    try:
        encodings = _learn_encodings(rows, outcome) if distance == "hvdm" else None
        return PortableKNN(**given).fit(rows.values, None, rows.names, origin, encodings)
    except ValueError as error:
        raise UserError(str(error)) from error


def _learn_encodings(rows: Rows, outcome: str | None) -> list[Any]:
    from portable_knn.hvdm import learn_encodings

    outcome = outcome or rows.names[-1]
    if outcome not in rows.names:
        raise UserError(f"--outcome={outcome} is not one of {', '.join(rows.names)}")
    numbers = [column for column, is_code in enumerate(rows.is_code) if not is_code]
    return learn_encodings(rows.values, numbers, rows.names.index(outcome))
