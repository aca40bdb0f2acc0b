"""The detector as the commands use it: loaded, and put into words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lib.command import UserError, advise, importing_compiled

import numpy as np

if TYPE_CHECKING:
    from portable_knn import PortableKNN


def load_detector(path: Path) -> PortableKNN:
    """Load an artifact as src/ does, its one line of error a `UserError`."""
    try:
        with importing_compiled():
            from portable_knn import load

            return load(path)
    except RuntimeError as error:
        raise UserError(advise(error)) from error


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


def count_reasons(reasons: Iterable[str]) -> Counter[str]:
    """Count reasons by the feature that they name."""
    return Counter(reason.split()[0] for reason in reasons)
