"""The detector as the commands use it: loaded, fitted with either distance, put into words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lib import census
from lib.command import UserError, importing_compiled

import numpy as np

if TYPE_CHECKING:
    from portable_knn import PortableKNN

# The published detector searches the codes as they are; HVDM is Euclid's distance of coordinates.
DISTANCES = {"minkowski": {"n_neighbors": 15, "p": 5}, "hvdm": {"n_neighbors": 5, "p": 2}}
PUBLISHED = "minkowski"
PARAMS = ("n_neighbors", "p", "contamination")
CONTAMINATION = 0.05


def load_detector(path: Path) -> PortableKNN:
    """Load an artifact as src/ does, its one line of error a `UserError`."""
    try:
        with importing_compiled():
            from portable_knn import load

            return load(path)
    except RuntimeError as error:
        raise UserError(str(error)) from error


def fit_detector(
    rows: np.ndarray,
    distance: str = PUBLISHED,
    origin: dict[str, str | float] | None = None,
    **params: float,
) -> PortableKNN:
    """Fit the detector.

    Parameters
    ----------
    rows : ndarray, shape (n, 13)
        Codes, one column for each of `census.FEATURES`.
    distance : str
        One of `DISTANCES`.
    origin : dict, optional
        Where the rows came from.
    **params
        Of the detector; those that are left out are the distance's usual ones.

    Raises
    ------
    UserError
        If the rows are too few or will not do, or a parameter is out of its range.
    """
    with importing_compiled():
        from portable_knn import PortableKNN

    params = {"contamination": CONTAMINATION, **DISTANCES[distance], **params}
    try:
        measures = _learn_measures(rows) if distance == "hvdm" else None
        return PortableKNN(**params).fit(rows, None, census.FEATURES, origin, measures)
    except ValueError as error:
        raise UserError(str(error)) from error


def _learn_measures(rows: np.ndarray) -> list:
    with importing_compiled():
        from heterogeneous_distance import learn_measures

    numbers = [census.FEATURES.index(name) for name in census.NUMBERS]
    return learn_measures(rows, numbers, census.FEATURES.index("classes"))


def fit_other(detector: PortableKNN) -> PortableKNN:
    """Fit the other distance's detector, as it usually is, on the same training rows."""
    (other,) = DISTANCES.keys() - {distance_of(detector)}
    try:
        return fit_detector(detector.training_rows_, other, contamination=detector.contamination)
    except UserError as error:
        raise UserError(f"{other} cannot be fitted beside: {error}") from error


def distance_of(detector: PortableKNN) -> str:
    return "minkowski" if detector.measures_ is None else "hvdm"


def describe_detector(detector: PortableKNN) -> str:
    return f"{distance_of(detector)}, k = {detector.n_neighbors}, p = {detector.p:g}"


def normal_rate(detector: PortableKNN, threshold: float) -> float:
    """Return the share of healthy rows above a threshold: of held-out ones at the trained one."""
    if threshold == detector.threshold_:
        return detector.origin_.get("held_out_rate") or detector.contamination
    return float(detector.p_value([threshold])[0])


def explain(detector: PortableKNN, rows: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Account for scores as the detector does, its one line of error a `UserError`."""
    try:
        return detector.explain(rows)
    except ValueError as error:
        raise UserError(str(error)) from error


def reasons(detector: PortableKNN, rows: Sequence[Sequence[float]]) -> list[str]:
    """Name the feature that each score is mostly made of, with its share; '' for a score of 0."""
    shares, _ = explain(detector, rows)
    names, tops = detector.feature_names_in_[shares.argmax(axis=1)], shares.max(axis=1)
    return [f"{name} {top:.0%}" if top else "" for name, top in zip(names, tops, strict=True)]
