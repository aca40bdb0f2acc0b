"""Fit the detector with either distance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib import census
from lib.command import UserError, importing_compiled
from lib.detector import distance_of

import numpy as np

if TYPE_CHECKING:
    from portable_knn import PortableKNN

# The published detector searches the codes as they are; HVDM is Euclid's distance of coordinates.
DISTANCES = {"minkowski": {"n_neighbors": 15, "p": 5}, "hvdm": {"n_neighbors": 5, "p": 2}}
PUBLISHED = "minkowski"
PARAMS = ("n_neighbors", "p", "contamination")
CONTAMINATION = 0.05


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
