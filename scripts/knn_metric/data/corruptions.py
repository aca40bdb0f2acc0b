"""How a pipeline of rows breaks: corruptions, written as ``OPERATION:FIELD:...``.

A source of rows may have names for some.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from knn_metric.cli import UserError
from knn_metric.data.rows import Rows

Columns = dict[str, np.ndarray]


class Corruption(NamedTuple):
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
# are given, or else the usual ones.
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
    coded = (one for one, is_code in zip(rows.names, rows.is_code, strict=True) if is_code)
    usual = {"zero-codes": coded, "mix": rows.names, **dict.fromkeys(OF_ANSWERS, rows.names[-1:])}
    words = words or [*usual.get(name, ())]
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
