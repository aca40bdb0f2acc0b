"""Rows of numbers under the contract's names: where they came from, and which a model has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.model_selection import train_test_split

from knn_metric.cli import SEED, TEST_SIZE, UserError
from knn_metric.files import shorten

if TYPE_CHECKING:
    from portable_knn import PortableKNN

SAMPLE = "sample"


@dataclass(frozen=True)
class Rows:
    """Rows, and what their source knows of them: n rows of m columns."""

    names: tuple[str, ...]  # in the contract's order
    values: np.ndarray  # (n, m), float64
    is_code: tuple[bool, ...]  # which columns hold codes of categories
    types: tuple[str, ...]  # numpy's name of each column's type in the contract
    source: str  # 'uci', 'sample' or the name of another file
    sha256: str  # of the source, in hexadecimal
    # By name, a way in which a pipeline of such rows breaks, as `corruptions` spells it, and what
    # it stands for in practice; only where the source knows.
    corruptions: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    # By column, the (n,) numbers that were encoded as its codes; only where the source has them.
    raw: Mapping[str, np.ndarray] = field(default_factory=dict)
    # By reason, how many rows of the source cannot be used, and are not among these.
    rejected: Mapping[str, int] = field(default_factory=dict)
    # (n,), int64: epoch seconds, `NO_TIME` where a row has none; None if no row has one.
    times: np.ndarray | None = None
    # Whether each row is a person's, split as the published figures are: one by one. Equal rows of
    # others are copies of one, and stay together.
    is_published: bool = False

    def __len__(self) -> int:
        return len(self.values)

    def take(self, positions: np.ndarray) -> Rows:
        """Return the rows at some positions, in their order."""
        raw = {name: column[positions] for name, column in self.raw.items()}
        times = None if self.times is None else self.times[positions]
        return replace(self, values=self.values[positions], raw=raw, times=times)

    def number_distinct(self) -> np.ndarray:
        """Number the distinct rows as they come; return the number of each row."""
        _, firsts, numbers = np.unique(self.values, axis=0, return_index=True, return_inverse=True)
        order = np.empty(len(firsts), np.int64)
        order[np.argsort(firsts)] = np.arange(len(firsts))
        return order[numbers.ravel()]

    def column(self, name: str) -> np.ndarray:
        return self.values[:, self.names.index(name)]


def split(rows: Rows, test_size: float = TEST_SIZE, seed: int = SEED) -> tuple[Rows, Rows]:
    """Split rows at random into a training and a held-out part, whose size is rounded up.

    Equal rows come into the same, else held-out rows would be better known than new ones are. UCI's
    are split one by one, as Hydrosphere did.
    """
    numbers = np.arange(len(rows)) if rows.is_published else rows.number_distinct()
    n_distinct = int(numbers.max()) + 1 if len(rows) else 0
    try:
        parts = train_test_split(np.arange(n_distinct), test_size=test_size, random_state=seed)
    except ValueError as error:
        raise UserError(f"{n_distinct} different rows cannot be split: {error}") from error
    ranks = np.empty(n_distinct, np.int64)
    ranks[np.concatenate(parts)] = np.arange(n_distinct)
    order = np.argsort(ranks[numbers], kind="stable")
    n_training = int(np.sum(ranks[numbers] < len(parts[0])))
    return rows.take(order[:n_training]), rows.take(order[n_training:])


def count_copies(rows: Rows) -> float:
    """Return how many times a row stands there, as the variance of a proportion counts them.

    Kish, L. (1965), Survey Sampling: the design effect of clusters of unequal size.
    """
    if rows.is_published:
        return 1.0
    counts = np.bincount(rows.number_distinct())
    return float(np.sum(counts.astype(float) ** 2) / len(rows))


def require_replaceable(artifact: Path, old: str | None, new: str) -> None:
    """Raise UserError if an artifact of another source would be replaced by one of the sample."""
    if new == SAMPLE and old not in (None, SAMPLE):
        raise UserError(
            f"{shorten(artifact)} is trained on {old}, and the sample would replace it:"
            " --force does, and keeps it as .previous"
        )


def describe_origin(rows: Rows, test_size: float, seed: int) -> dict[str, Any]:
    """Describe the training part of a split, for an artifact to keep as `origin_`."""
    return {"source": rows.source, "sha256": rows.sha256, "test_size": test_size, "seed": seed}


def hold_out(rows: Rows, origin: dict[str, Any]) -> Rows:
    """Leave out the rows that a model of that origin was trained on, if they are of its source."""
    is_known = rows.sha256 == origin.get("sha256")
    return split(rows, origin["test_size"], origin["seed"])[1] if is_known else rows


def describe_traffic(rows: Rows, detector: PortableKNN) -> str:
    """Say how many rows there are, and how many are equal to a training row."""
    training = set(map(tuple, detector.training_rows_.tolist()))
    known = sum(tuple(row) in training for row in rows.values.tolist())
    held_out = " held out by training" if rows.sha256 == detector.origin_.get("sha256") else ""
    count = f"{len(rows):,} rows"
    return f"{rows.source}, {count}{held_out}, {known:,} of them equal to a training row"
