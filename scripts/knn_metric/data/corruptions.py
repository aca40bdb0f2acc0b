"""Ways in which a broken pipeline corrupts rows, by a small vocabulary for any contract.

A corruption is written as ``OPERATION:FIELD:...``; a source of rows may have names for some.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from knn_metric.cli import UserError
from knn_metric.data.rows import Rows

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Corruption:
    """What breaks.

    Attributes
    ----------
    name : str
        As the user writes it.
    cause : str
        What it stands for in practice, or ''.
    fields : tuple of str
        The fields that change.
    change : callable
        Takes `Rows` and a random generator, returns the columns that change, by name.
    """

    name: str
    cause: str
    fields: tuple[str, ...]
    change: Callable[[Rows, np.random.Generator], Columns]


class Operation(NamedTuple):
    """How an operation changes columns, and the words that follow its name.

    `change` takes the fields, the number if there is one, rows and a random generator.
    """

    change: Callable[..., Columns]
    words: tuple[str, ...]


OPERATIONS: dict[str, Operation] = {}


def corruption(form: str) -> Callable[[Callable[..., Columns]], Callable[..., Columns]]:
    """Add a function to `OPERATIONS`, as ``OPERATION:WORD:...`` spells it.

    Its words are FIELD, and last BY or WITH for a number; without words it changes all fields that
    are given, or those that `_choose_fields` says.
    """
    name, *words = form.split(":")

    def add(change: Callable[..., Columns]) -> Callable[..., Columns]:
        OPERATIONS[name] = Operation(change, tuple(words))
        return change

    return add


@corruption("scale:FIELD:BY")
def _scale(fields: Sequence[str], by: float, rows: Rows, _: np.random.Generator) -> Columns:
    return {field: rows.column(field) * by for field in fields}


@corruption("fill:FIELD:WITH")
def _fill(fields: Sequence[str], value: float, rows: Rows, _: np.random.Generator) -> Columns:
    return {field: np.full(len(rows), value) for field in fields}


@corruption("swap:FIELD:FIELD")
def _swap(fields: Sequence[str], rows: Rows, _: np.random.Generator) -> Columns:
    return {one: rows.column(other) for one, other in zip(fields, reversed(fields), strict=True)}


@corruption("shuffle:FIELD")
@corruption("mix")
def _shuffle(fields: Sequence[str], rows: Rows, random: np.random.Generator) -> Columns:
    return {field: random.permutation(rows.column(field)) for field in fields}


@corruption("shift:FIELD")
def _shift(fields: Sequence[str], rows: Rows, _: np.random.Generator) -> Columns:
    codes, places = np.unique(rows.column(fields[0]), return_inverse=True)
    return {fields[0]: np.roll(codes, -1)[places]}


@corruption("flip:FIELD")
def _flip(fields: Sequence[str], rows: Rows, _: np.random.Generator) -> Columns:
    codes, places = np.unique(rows.column(fields[0]), return_inverse=True)
    return {fields[0]: codes[::-1][places]}


@corruption("random:FIELD")
def _draw(fields: Sequence[str], rows: Rows, random: np.random.Generator) -> Columns:
    codes = np.unique(rows.column(fields[0]))
    return {fields[0]: codes[random.integers(0, len(codes), len(rows))]}


@corruption("constant:FIELD")
def _hold(fields: Sequence[str], rows: Rows, _: np.random.Generator) -> Columns:
    return {field: np.full(len(rows), rows.column(field).max()) for field in fields}


@corruption("raw:FIELD")
def _send_raw(fields: Sequence[str], rows: Rows, _: np.random.Generator) -> Columns:
    return {field: rows.raw[field] for field in fields}


@corruption("zero-codes")
def _zero(fields: Sequence[str], rows: Rows, _: np.random.Generator) -> Columns:
    return {field: np.zeros(len(rows)) for field in fields}


OF_ANSWERS = ("flip", "constant", "random")  # of the last field, if none is named


def parse_corruption(text: str, rows: Rows) -> Corruption:
    """Read a corruption of rows as the user writes it.

    Raises
    ------
    UserError
        Names what is wrong: no such operation, field or number.
    """
    spelled, cause = rows.corruptions.get(text, (text, ""))
    name, *words = spelled.split(":")
    forms = {one: ":".join([one, *operation.words]) for one, operation in OPERATIONS.items()}
    if name not in OPERATIONS:
        names = f", or one of {', '.join(rows.corruptions)}" if rows.corruptions else ""
        raise UserError(f"{text!r} is no corruption: expected {', '.join(forms.values())}{names}")
    expected = f"{text!r}: expected {forms[name]}"
    words = words or _choose_fields(name, rows)
    change, places = OPERATIONS[name]
    if places and len(words) != len(places):
        raise UserError(f"{expected}, got {len(words)} words after {name}")
    has_number = bool(places) and places[-1] != "FIELD"
    fields = tuple(words[:-1] if has_number else words)
    for field in fields:
        if field not in rows.names:
            raise UserError(f"{expected}; {field} is not one of {', '.join(rows.names)}")
        if name == "raw" and field not in rows.raw:
            raise UserError(f"{expected}: {rows.source} has no raw numbers of {field}")
    numbers = [_read_number(words[-1], expected)] if has_number else []
    return Corruption(text, cause, fields, partial(change, fields, *numbers))


def _choose_fields(name: str, rows: Rows) -> list[str]:
    """Return the fields of an operation of which none is named."""
    if name == "zero-codes":
        pairs = zip(rows.names, rows.is_code, strict=True)
        return [field for field, is_code in pairs if is_code]
    if name == "mix":
        return list(rows.names)
    return [rows.names[-1]] if name in OF_ANSWERS else []


def _read_number(word: str, expected: str) -> float:
    try:
        number = float(word)
    except ValueError as error:
        raise UserError(f"{expected}, got {word!r} where a number belongs") from error
    if not np.isfinite(number):
        raise UserError(f"{expected}, got {word!r} where a finite number belongs")
    return number


def list_corruptions(rows: Rows, answered: Sequence[str] = ()) -> list[str]:
    """Return the corruptions that are tried where none is asked for.

    They are those that have names, else those that apply to each field's kind.
    """
    if rows.corruptions:
        spelled = {name: form.split(":") for name, (form, _) in rows.corruptions.items()}
        return [name for name, (one, *of) in spelled.items() if one != "raw" or of[0] in rows.raw]
    names = []
    for name, is_code in zip(rows.names, rows.is_code, strict=True):
        column = rows.column(name)
        n_values = len(np.unique(column))
        if is_code:
            names.append(f"fill:{name}:{column.max() + 1:.15g}")
            names += (
                [f"{operation}:{name}" for operation in ("shift", "flip")] if n_values > 1 else []
            )
        else:
            names += [f"scale:{name}:10", f"fill:{name}:0"]
        names += [f"shuffle:{name}"] if n_values > 1 else []
        if name in answered and n_values > 1:
            names += [f"{operation}:{name}" for operation in ("constant", "random")]
    return [*names, "mix", *(["zero-codes"] if any(rows.is_code) else [])]


def corrupt_answer(corruption: Corruption, answer: float, rows: Rows, seed: int) -> float:
    """Corrupt one answer of the target; the rows say which codes a field has.

    Parameters
    ----------
    corruption : Corruption
        Of one field, which the target answers.
    answer : float
    rows : Rows
    seed : int
        Of what is random.
    """
    (field,) = corruption.fields
    codes = np.unique(rows.column(field))
    known = np.append(codes, answer)
    types = (rows.types[rows.names.index(field)],)
    one = replace(rows, names=(field,), values=known[:, None], is_code=(True,), types=types)
    return float(corrupt(corruption, one, seed).values[-1, 0])


def corrupt(corruption: Corruption, rows: Rows, seed: int = 0) -> Rows:
    """Return a corrupted copy of rows, each number the nearest one that its type can hold.

    Raises
    ------
    UserError
        If a number is no longer finite.
    """
    with np.errstate(over="ignore"):
        changed = corruption.change(rows, np.random.default_rng(seed))
    values = rows.values.copy()
    for field, column in changed.items():
        place = rows.names.index(field)
        values[:, place] = _fit(column, np.dtype(rows.types[place]))
        if not np.isfinite(values[:, place]).all():
            raise UserError(f"{corruption.name} leads beyond {rows.types[place]}")
    return replace(rows, values=values)


def _fit(column: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Return numbers as a type holds them: whole ones rounded, and within its range."""
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            return column.astype(kind).astype(np.float64)
    low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    return np.clip(np.rint(column), low, high)
