"""Ways in which a broken pipeline corrupts census rows, and what each stands for in practice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from lib import census

import numpy as np

Columns = dict[str, np.ndarray]
Records = Sequence[Sequence[str]]
ENCODED = [name for name in census.CATEGORIES if name != "classes"]
RELATIONSHIPS = len(census.CATEGORIES["relationship"])


class Drift(NamedTuple):
    """What went wrong, and a function that returns the columns as they become."""

    cause: str
    change: Callable[[Columns, Records, np.random.Generator], Columns]


def send_dollars(columns: Columns, records: Records, random: np.random.Generator) -> Columns:
    gain = census.COLUMNS.index("capital_gain")
    return {"capital_gain": np.array([int(record[gain]) for record in records])}


DRIFTS = {
    "age-in-months": Drift("a unit changes", lambda c, *_: {"age": 12 * c["age"]}),
    "hours-per-month": Drift(
        "a unit changes",
        lambda c, *_: {"hours_per_week": np.rint(c["hours_per_week"] * 52 / 12)},
    ),
    "age-missing": Drift("a default of 0", lambda c, *_: {"age": 0 * c["age"]}),
    "age-hours-swapped": Drift(
        "two fields change places",
        lambda c, *_: {"age": c["hours_per_week"], "hours_per_week": c["age"]},
    ),
    "country-shuffled": Drift(
        "a join gone wrong", lambda c, _, random: {"country": random.permutation(c["country"])}
    ),
    "gain-in-dollars": Drift("a step left out: amounts, not codes", send_dollars),
    "classes-flipped": Drift(
        "the model's answers change meaning", lambda c, *_: {"classes": 1 - c["classes"]}
    ),
    "classes-constant": Drift(
        "the model answers 1 to all", lambda c, *_: {"classes": 0 * c["classes"] + 1}
    ),
    "classes-random": Drift(
        "the model answers at random",
        lambda c, _, random: {"classes": random.integers(0, 2, len(c["classes"]))},
    ),
    "marital-shuffled": Drift(
        "a join gone wrong",
        lambda c, _, random: {"marital_status": random.permutation(c["marital_status"])},
    ),
    "codes-shifted": Drift(
        "a category is inserted, relationship's codes move",
        lambda c, *_: {"relationship": (c["relationship"] + 1) % RELATIONSHIPS},
    ),
    "rows-mixed": Drift(
        "a join gone wrong in every column",
        lambda c, _, random: {name: random.permutation(column) for name, column in c.items()},
    ),
    "codes-zeroed": Drift(
        "an encoder is fitted anew on every request",
        lambda c, *_: {name: 0 * c[name] for name in ENCODED},
    ),
    "sex-flipped": Drift("two codes change places", lambda c, *_: {"sex": 1 - c["sex"]}),
    "country-new": Drift(
        "a code that training never saw", lambda c, *_: {"country": 0 * c["country"] + 99}
    ),
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
        Of what is random.

    Returns
    -------
    ndarray, shape (n, 13), dtype int64
    """
    columns = dict(zip(census.FEATURES, rows.T, strict=True))
    columns.update(DRIFTS[name].change(columns, records, np.random.default_rng(seed)))
    return np.array(list(columns.values()), dtype=np.int64).T.copy()


def corrupt_answer(name: str, answer: int, seed: int) -> int:
    """Return what becomes of the target's answer; most drifts leave it alone."""
    if not name.startswith("classes-"):
        return answer
    columns = {"classes": np.array([answer])}
    return int(DRIFTS[name].change(columns, (), np.random.default_rng(seed))["classes"][0])
