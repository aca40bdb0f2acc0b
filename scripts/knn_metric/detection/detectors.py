"""The artifact at hand: loaded, described, and held against what a metric answered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from knn_metric.cli import UserError
from knn_metric.contract import Contract
from knn_metric.files import artifact_path

if TYPE_CHECKING:
    from knn_metric.data.rows import Rows
    from portable_knn import PortableKNN


def load_detector(package: Path) -> PortableKNN:
    """Load a package's artifact as src/ does, its one line of error a `UserError`.

    One that was trained on other fields than those of the serving.yaml beside it is refused.
    """
    path = artifact_path(package)
    detector = _load(path)
    if (package / "serving.yaml").exists():
        contract = Contract.read(package)
        if problem := contract.find_other_fields(detector.feature_names_in_.tolist()):
            raise UserError(f"{path} {problem}")
        contract.require_numbers()
    return detector


def open_package(folder: Path) -> tuple[Contract, PortableKNN]:
    """Read a package's contract and its artifact, which must have levels to detect changes by."""
    from knn_metric.detection.calibration import require_calibration  # compiles, as below

    contract, detector = Contract.read(folder), load_detector(folder)
    require_calibration(detector)
    return contract, detector


def _load(path: Path) -> PortableKNN:
    from portable_knn import load  # compiles for two seconds, for which --help need not wait

    try:
        return load(path)
    except RuntimeError as error:
        # What is loaded here needs no upload.
        raise UserError(str(error).replace(", then upload again", "")) from error


def source_of(artifact: Path) -> str | None:
    """Return where an artifact's rows came from, None if there is no artifact."""
    if not artifact.exists():
        return None
    try:
        source: str = _load(artifact).origin_.get("source", "data that it does not name")
        return source
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


def describe_traffic(rows: Rows, detector: PortableKNN) -> str:
    """Say how many rows there are, and how many are equal to a training row."""
    training = set(map(tuple, detector.training_rows_.tolist()))
    known = sum(tuple(row) in training for row in rows.values.tolist())
    held_out = " held out by training" if rows.sha256 == detector.origin_.get("sha256") else ""
    count = f"{len(rows):,} rows"
    return f"{rows.source}, {count}{held_out}, {known:,} of them equal to a training row"
