"""Seven ways in which a broken pipeline corrupts census rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lib import census

import numpy as np

COLUMN = {name: index for index, name in enumerate(census.FEATURES)}
Records = Sequence[Sequence[str]]


def multiply_age(rows: np.ndarray, records: Records, random: np.random.Generator) -> None:
    rows[:, COLUMN["age"]] *= 12


def multiply_hours(rows: np.ndarray, records: Records, random: np.random.Generator) -> None:
    hours = rows[:, COLUMN["hours_per_week"]]
    rows[:, COLUMN["hours_per_week"]] = np.rint(hours * 52 / 12)


def lose_age(rows: np.ndarray, records: Records, random: np.random.Generator) -> None:
    rows[:, COLUMN["age"]] = 0


def swap_age_and_hours(rows: np.ndarray, records: Records, random: np.random.Generator) -> None:
    both = [COLUMN["age"], COLUMN["hours_per_week"]]
    rows[:, both] = rows[:, both[::-1]]


def shuffle_country(rows: np.ndarray, records: Records, random: np.random.Generator) -> None:
    rows[:, COLUMN["country"]] = random.permutation(rows[:, COLUMN["country"]])


def send_dollars(rows: np.ndarray, records: Records, random: np.random.Generator) -> None:
    gain = census.COLUMNS.index("capital_gain")
    rows[:, COLUMN["capital_gain"]] = [int(record[gain]) for record in records]


def flip_classes(rows: np.ndarray, records: Records, random: np.random.Generator) -> None:
    rows[:, COLUMN["classes"]] = corrupt_answer("classes-flipped", rows[:, COLUMN["classes"]])


DRIFTS: dict[str, Callable[[np.ndarray, Records, np.random.Generator], None]] = {
    "age-in-months": multiply_age,
    "hours-per-month": multiply_hours,
    "age-missing": lose_age,
    "age-hours-swapped": swap_age_and_hours,
    "country-shuffled": shuffle_country,
    "gain-in-dollars": send_dollars,
    "classes-flipped": flip_classes,
}


def corrupt(name: str, rows: np.ndarray, records: Records, seed: int = 0) -> np.ndarray:
    """Return a corrupted copy of encoded rows.

    Parameters
    ----------
    name : str
        One of `DRIFTS`.
    rows : ndarray, shape (n, 13), dtype int64
        Codes, one column for each of `census.FEATURES`.
    records : sequence of sequences of str, length n
        The raw fields that `rows` were encoded from.
    seed : int
        Of the shuffle, where there is one.

    Returns
    -------
    ndarray, shape (n, 13), dtype int64
    """
    corrupted = rows.copy()
    DRIFTS[name](corrupted, records, np.random.default_rng(seed))
    return corrupted


def corrupt_answer(name: str, classes):
    """Return what becomes of the target's answer, one or an array; most drifts leave it alone."""
    return 1 - classes if name == "classes-flipped" else classes
