"""The detector as the commands use it: loaded, fitted with either distance, put into words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lib.command import UserError, importing_compiled

import numpy as np

if TYPE_CHECKING:
    from portable_knn import PortableKNN

# The published detector searches the codes as they are; HVDM is Euclid's distance of coordinates.
DISTANCES = {"minkowski": {"n_neighbors": 15, "p": 5}, "hvdm": {"n_neighbors": 5, "p": 2}}
PUBLISHED = "minkowski"
CONTAMINATION = 0.05


def load_detector(path: Path) -> PortableKNN:
    """Load an artifact as src/ does, its one line of error a `UserError`."""
    with importing_compiled():
        from portable_knn import load

    try:
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
    # Not above: a Dask worker, which only gives reasons, has not all that the census needs.
    from lib import census

    with importing_compiled():
        from heterogeneous_distance import learn_measures
        from portable_knn import PortableKNN

    params = {"contamination": CONTAMINATION, **DISTANCES[distance], **params}
    if distance == "hvdm" and params["p"] != 2:
        raise UserError(f"HVDM is Euclid's distance, p = 2, got p = {params['p']:g}")
    numbers, outcome = map(census.FEATURES.index, census.NUMBERS), census.FEATURES.index("classes")
    try:
        measures = learn_measures(rows, numbers, outcome) if distance == "hvdm" else None
        return PortableKNN(**params).fit(rows, None, census.FEATURES, origin, measures)
    except ValueError as error:
        raise UserError(str(error)) from error


def distance_of(detector: PortableKNN) -> str:
    return "hvdm" if detector.measures_ else "minkowski"


def describe_detector(detector: PortableKNN) -> str:
    return f"{distance_of(detector)}, k = {detector.n_neighbors}, p = {detector.p:g}"


def normal_rate(detector: PortableKNN, threshold: float) -> float:
    """Return the share of healthy rows above a threshold: of held-out ones at the trained one."""
    if threshold == detector.threshold_:
        return detector.origin_.get("held_out_rate", detector.contamination)
    return float(np.mean(detector.decision_scores_ > threshold))


def reasons(detector: PortableKNN, rows: Sequence[Sequence[int]]) -> list[str]:
    """Name the feature that each row's score is mostly made of, with its share: ``'age 97%'``."""
    shares, _ = detector.explain(rows)
    names, tops = detector.feature_names_in_[shares.argmax(axis=1)], shares.max(axis=1)
    return [f"{name} {share:.0%}" for name, share in zip(names, tops, strict=True)]


def count_reasons(reasons: Iterable[str]) -> Counter[str]:
    """Count reasons by the feature that they name."""
    return Counter(reason.split()[0] for reason in reasons)
