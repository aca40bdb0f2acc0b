"""Rows of numbers under the contract's names: how they are split, and how a pipeline breaks them.

A corruption is written as ``OPERATION:FIELD:...``; a source of rows may have names for some.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from knn_metric.cli import SEED, TEST_SIZE, UserError

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
    # By name, what a target takes beside the metric's inputs: (n,), in the type of its contract.
    others: Mapping[str, np.ndarray] = field(default_factory=dict)
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
        others = {name: column[positions] for name, column in self.others.items()}
        times = None if self.times is None else self.times[positions]
        return replace(self, values=self.values[positions], raw=raw, others=others, times=times)

    def number_distinct(self) -> np.ndarray:
        """Number the distinct rows as they come; return the number of each row."""
        known: dict[bytes, int] = {}  # of one zero, not two
        return np.array([known.setdefault(row.tobytes(), len(known)) for row in self.values + 0.0])

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


def describe_origin(rows: Rows, test_size: float, seed: int) -> dict[str, Any]:
    """Describe the training part of a split, for an artifact to keep as `origin_`."""
    return {"source": rows.source, "sha256": rows.sha256, "test_size": test_size, "seed": seed}


Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Corruption:
    """What breaks, as a function of `Rows` and a random generator."""

    name: str  # as the user writes it
    cause: str  # what it stands for in practice, or ''
    fields: tuple[str, ...]  # that change
    change: Callable[[Rows, np.random.Generator], Columns]  # these, by name


# What happens to a column, given it, a random generator, and the number if there is one.
Change = Callable[..., np.ndarray]


def _each(change: Change) -> Callable[..., Columns]:
    """Return the operation that changes each of its fields on its own."""
    return lambda fields, number, rows, random: {
        field: change(rows.column(field), random, *number) for field in fields
    }


def _recode(order: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Put in each code's place the one that stands there in another order."""

    def change(column: np.ndarray, _: object) -> np.ndarray:
        codes, places = np.unique(column, return_inverse=True)
        return order(codes)[places]

    return change


# FIELD stands for one, BY or WITH for a number; without words an operation changes all fields that
# are given, or those that `_choose_fields` says.
FORMS: dict[str, Callable[..., Columns]] = {
    "scale:FIELD:BY": _each(lambda column, _, by: column * by),
    "fill:FIELD:WITH": _each(lambda column, _, value: np.full(len(column), value)),
    "swap:FIELD:FIELD": lambda fields, _, rows, __: {
        one: rows.column(other) for one, other in zip(fields, reversed(fields), strict=True)
    },
    "mix": _each(lambda column, random: random.permutation(column)),
    "shuffle:FIELD": _each(lambda column, random: random.permutation(column)),
    "shift:FIELD": _each(_recode(lambda codes: np.roll(codes, -1))),
    "flip:FIELD": _each(_recode(np.flip)),
    "random:FIELD": _each(lambda column, random: random.choice(np.unique(column), len(column))),
    "constant:FIELD": _each(lambda column, _: np.full(len(column), column.max())),
    "raw:FIELD": lambda fields, _, rows, __: {field: rows.raw[field] for field in fields},
    "zero-codes": _each(lambda column, _: np.zeros(len(column))),
}
OF_ANSWERS = ("flip", "constant", "random")  # of the last field, if none is named


def parse_corruption(text: str, rows: Rows) -> Corruption:
    """Read a corruption as the user writes it; a UserError names what is wrong with it."""
    spelled, cause = rows.corruptions.get(text, (text, ""))
    name, *words = spelled.split(":")
    forms = {form.split(":")[0]: form for form in FORMS}
    if name not in forms:
        names = f", or one of {', '.join(rows.corruptions)}" if rows.corruptions else ""
        raise UserError(f"{text!r} is no corruption: expected {', '.join(FORMS)}{names}")
    expected = f"{text!r}: expected {forms[name]}"
    words = words or _choose_fields(name, rows)
    places = forms[name].split(":")[1:]
    if places and len(words) != len(places):
        raise UserError(f"{expected}, got {len(words)} words after {name}")
    has_number = bool(places) and places[-1] != "FIELD"
    fields = tuple(words[:-1] if has_number else words)
    for one in fields:
        if one not in rows.names:
            raise UserError(f"{expected}; {one} is not one of {', '.join(rows.names)}")
        if name == "raw" and one not in rows.raw:
            raise UserError(f"{expected}: {rows.source} has no raw numbers of {one}")
    try:
        numbers = [float(word) for word in words[len(fields) :]]
    except ValueError:
        numbers = [np.nan]
    if not np.isfinite(numbers).all():
        raise UserError(f"{expected}, got {words[-1]!r} where a finite number belongs")
    return Corruption(text, cause, fields, partial(FORMS[forms[name]], fields, numbers))


def _choose_fields(name: str, rows: Rows) -> list[str]:
    """Return the fields of an operation of which none is named."""
    coded = [one for one, is_code in zip(rows.names, rows.is_code, strict=True) if is_code]
    chosen = {"zero-codes": coded, "mix": list(rows.names)}
    return [rows.names[-1]] if name in OF_ANSWERS else chosen.get(name, [])


def list_corruptions(rows: Rows, answered: Sequence[str] = ()) -> list[str]:
    """Return what is tried where none is asked for: what has names, else what suits each field."""
    if rows.corruptions:
        spelled = {name: form.split(":") for name, (form, _) in rows.corruptions.items()}
        return [name for name, (one, *of) in spelled.items() if one != "raw" or of[0] in rows.raw]
    names = []
    for name, is_code in zip(rows.names, rows.is_code, strict=True):
        values = np.unique(rows.column(name))
        applied = ["shift", "flip", "shuffle"] if is_code else ["shuffle"]
        applied += ["constant", "random"] if name in answered else []
        if is_code:
            names.append(f"fill:{name}:{values[-1] + 1:.15g}")
        else:
            names += [f"scale:{name}:10", f"fill:{name}:0"]
        names += [f"{one}:{name}" for one in applied] if len(values) > 1 else []
    return [*names, "mix", *(["zero-codes"] if any(rows.is_code) else [])]


def corrupt_answer(corruption: Corruption, answer: float, rows: Rows, seed: int) -> float:
    """Corrupt one answer of the target; the rows say which codes a field has."""
    (field,) = corruption.fields
    known = np.append(np.unique(rows.column(field)), answer)
    types = (rows.types[rows.names.index(field)],)
    one = replace(rows, names=(field,), values=known[:, None], is_code=(True,), types=types)
    return float(corrupt(corruption, one, seed).values[-1, 0])


def corrupt(corruption: Corruption, rows: Rows, seed: int = 0) -> Rows:
    """Return a corrupted copy of rows, each number the nearest one that its type can hold."""
    values = rows.values.copy()
    with np.errstate(over="ignore"):
        for field, column in corruption.change(rows, np.random.default_rng(seed)).items():
            place = rows.names.index(field)
            values[:, place] = _fit(column, np.dtype(rows.types[place]))
            if not np.isfinite(values[:, place]).all():
                raise UserError(f"{corruption.name} leads beyond {rows.types[place]}")
    return replace(rows, values=values)


def _fit(column: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Return numbers as a type holds them: whole ones rounded, and within its range."""
    if kind.kind == "f":
        return column.astype(kind).astype(np.float64)
    low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    return np.asarray(np.clip(np.rint(column), low, high))
