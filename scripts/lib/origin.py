"""Where a model's training rows came from, which are held out, and what may replace it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lib.census import Census, encode
from lib.command import Parser, UserError, shorten

import numpy as np
from sklearn.model_selection import train_test_split

if TYPE_CHECKING:
    from portable_knn import PortableKNN

TEST_SIZE, SEED = 0.2, 0  # of the split behind the published figures
FILE, UNKNOWN = "a file", "data that cannot be told"  # kinds of source besides uci and sample


def split(
    rows: np.ndarray, test_size: float = TEST_SIZE, seed: int = SEED
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows at random into a training and a held-out part.

    Parameters
    ----------
    rows : ndarray, shape (n, ...)
    test_size : float
        Share of the held-out part, between 0 and 1; its size is rounded up.
    seed : int
        From 0 to 2**32 - 1.

    Raises
    ------
    UserError
        If a part would be empty.
    """
    try:
        return tuple(train_test_split(rows, test_size=test_size, random_state=seed))
    except ValueError as error:
        raise UserError(f"{len(rows)} rows cannot be split: {error}") from error


def add_split_options(parser: Parser) -> None:
    parser.number("--seed", int, 0, 2**32 - 1, default=SEED, help="of the split")
    parser.number(
        "--test-size", float, 0.0001, 0.9999, default=TEST_SIZE, help="share of held-out rows"
    )


def require_same_kind(artifact: Path, old_source: str | None, data: Census) -> None:
    """Refuse to replace what was trained on UCI's or the user's own data by another kind.

    Parameters
    ----------
    artifact : Path
    old_source : str or None
        Of the artifact that is there, `UNKNOWN` if it cannot be told, None if there is none.
    data : Census
        What the new one would be trained on.

    Raises
    ------
    UserError
        Names both sources.
    """
    old, new = old_source and _kind(old_source), _kind(data.source)
    if not (old in (None, "sample", new) or (old == UNKNOWN and new != "sample")):
        raise UserError(
            f"{shorten(artifact)} is trained on {old_source}, and {data.source} would replace it:"
            " --force does, and keeps it as .previous"
        )


def _kind(source: str) -> str:
    return source if source in ("uci", "sample", UNKNOWN) else FILE


def describe_origin(data: Census, test_size: float, seed: int) -> dict[str, str | float]:
    """Say where the training part of a split came from, for an artifact to keep as `origin_`."""
    return {"source": data.source, "sha256": data.sha256, "test_size": test_size, "seed": seed}


def hold_out(data: Census, origin: dict[str, str | float]) -> Census:
    """Leave out the rows that a model of that origin was trained on, if this is its file."""
    if data.sha256 != origin.get("sha256"):
        return data
    numbers = np.arange(len(data.records))
    held_out = split(numbers, origin["test_size"], origin["seed"])[1]
    return replace(data, records=[data.records[number] for number in held_out])


def describe_traffic(data: Census, detector: PortableKNN) -> str:
    """Say how many rows there are, and how many the detector's training had the like of."""
    training = set(map(tuple, detector.training_rows_.tolist()))
    known = sum(tuple(row) in training for row in encode(data.records).tolist())
    held_out = " held out by training" if data.sha256 == detector.origin_.get("sha256") else ""
    rows = f"{len(data.records):,} rows"
    return f"{data.source}, {rows}{held_out}, {known:,} of them equal to a training row"
