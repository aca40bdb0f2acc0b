"""The artifact at hand: loaded, described, and held against what a metric answered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from knn_metric.cli import UserError

if TYPE_CHECKING:
    from portable_knn import PortableKNN


def load_detector(path: Path, names: Sequence[str] = ()) -> PortableKNN:
    """Load an artifact as src/ does, its one line of error a `UserError`.

    With `names`, those of the contract's inputs, an artifact of other features is refused.
    """
    from portable_knn import load  # compiles for two seconds, for which --help need not wait

    try:
        detector = load(path)
    except RuntimeError as error:
        # What is loaded here needs no upload.
        raise UserError(str(error).replace(", then upload again", "")) from error
    features = detector.feature_names_in_.tolist()
    if names and features != list(names):
        raise UserError(
            f"{path} was trained on {', '.join(features)}; the contract has {', '.join(names)}"
        )
    return detector


def source_of(artifact: Path) -> str | None:
    """Return where an artifact's rows came from, None if there is no artifact."""
    if not artifact.exists():
        return None
    try:
        return str(load_detector(artifact).origin_.get("source", "data that it does not name"))
    except UserError:
        return "data that cannot be read"


def describe_detector(detector: PortableKNN) -> str:
    return f"{detector.metric}, k = {detector.n_neighbors}, p = {detector.p:g}"


def count_others(detector: PortableKNN, rows: np.ndarray, scores: np.ndarray) -> tuple[int, int]:
    """Return how many scores can be held against the artifact's own, and how many are others.

    Where one is another, the metric serves another artifact, and nothing is known of its fields.
    """
    known = ~np.isnan(rows).any(axis=1) & ~np.isnan(scores)
    if not known.any():
        return 0, 0
    return int(known.sum()), int(np.sum(detector.decision_function(rows[known]) != scores[known]))
