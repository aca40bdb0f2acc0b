"""Corrupt census rows as a broken pipeline would, and print some rows before and after."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np

import census

EXAMPLES = """\
examples:
  drift.py age-in-months                UCI's rows, downloaded once
  drift.py hours-per-month --data sample --rows 3
"""
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
    rows[:, COLUMN["classes"]] = 1 - rows[:, COLUMN["classes"]]


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


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="drift.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("drift", choices=DRIFTS, metavar="DRIFT", help=", ".join(DRIFTS))
    parser.add_argument("--data", default="uci", help="uci, sample or a file (default: uci)")
    parser.add_argument("--rows", type=int, default=5, help="how many to print (default: 5)")
    arguments = parser.parse_args()
    try:
        records = census.load(arguments.data).records
    except census.DataError as error:
        parser.exit(2, f"drift.py: {error}\n")
    rows = census.encode(records)
    corrupted = corrupt(arguments.drift, rows, records)
    changed = [name for name in census.FEATURES if (rows != corrupted)[:, COLUMN[name]].any()]
    print("  ".join(f"{name:>20}" for name in changed))
    for before, after in zip(rows[: arguments.rows], corrupted, strict=False):
        cells = (f"{before[COLUMN[name]]} -> {after[COLUMN[name]]}" for name in changed)
        print("  ".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
