"""Ways in which a broken pipeline corrupts rows, by a small vocabulary for any contract.

A corruption is written as ``OPERATION:FIELD:...``; the census's have names of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from knn_metric.cli import UserError
from knn_metric.data.census import CORRUPTIONS, FEATURES
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


def _scale(field: str, by: float, rows: Rows, _: np.random.Generator) -> Columns:
    return {field: rows.column(field) * by}


def _fill(field: str, value: float, rows: Rows, _: np.random.Generator) -> Columns:
    return {field: np.full(len(rows), value)}


def _swap(first: str, second: str, rows: Rows, _: np.random.Generator) -> Columns:
    return {first: rows.column(second), second: rows.column(first)}


def _shuffle(fields: Sequence[str], rows: Rows, random: np.random.Generator) -> Columns:
    return {field: random.permutation(rows.column(field)) for field in fields}


def _shift(field: str, rows: Rows, _: np.random.Generator) -> Columns:
    codes, places = np.unique(rows.column(field), return_inverse=True)
    return {field: np.roll(codes, -1)[places]}


def _flip(field: str, rows: Rows, _: np.random.Generator) -> Columns:
    codes, places = np.unique(rows.column(field), return_inverse=True)
    return {field: codes[::-1][places]}


def _draw(field: str, rows: Rows, random: np.random.Generator) -> Columns:
    codes = np.unique(rows.column(field))
    return {field: codes[random.integers(0, len(codes), len(rows))]}


def _hold(field: str, rows: Rows, _: np.random.Generator) -> Columns:
    return {field: np.full(len(rows), rows.column(field).max())}


def _zero(fields: Sequence[str], rows: Rows, _: np.random.Generator) -> Columns:
    return {field: np.zeros(len(rows)) for field in fields}


def _send_raw(field: str, rows: Rows, _: np.random.Generator) -> Columns:
    return {field: rows.raw[field]}


# By operation: the function, and how it is written.
OPERATIONS: dict[str, tuple[Callable[..., Columns], str]] = {
    "scale": (_scale, "scale:FIELD:BY"),
    "fill": (_fill, "fill:FIELD:WITH"),
    "swap": (_swap, "swap:FIELD:FIELD"),
    "shuffle": (_shuffle, "shuffle:FIELD"),
    "shift": (_shift, "shift:FIELD"),
    "flip": (_flip, "flip:FIELD"),
    "random": (_draw, "random:FIELD"),
    "constant": (_hold, "constant:FIELD"),
    "raw": (_send_raw, "raw:FIELD"),
    "mix": (_shuffle, "mix"),
    "zero-codes": (_zero, "zero-codes"),
}


OF_ANSWERS = ("flip", "constant", "random")  # of the last field, if none is named


def parse_corruption(text: str, rows: Rows) -> Corruption:
    """Read a corruption of rows as the user writes it.

    Raises
    ------
    UserError
        Names what is wrong: no such operation, field or number.
    """
    spelled, cause = CORRUPTIONS.get(text, (text, ""))
    operation, *words = spelled.split(":")
    if operation in OF_ANSWERS and not words:
        words = [rows.names[-1]]
    if operation not in OPERATIONS:
        raise UserError(
            f"{text!r} is no corruption: expected "
            f"{', '.join(form for _, form in OPERATIONS.values())}, or a census's name"
        )
    change, form = OPERATIONS[operation]
    fields, arguments = _read_words(operation, words, rows, f"{text!r}: expected {form}")
    return Corruption(text, cause, fields, partial(change, *arguments))


def _read_words(
    operation: str, words: list[str], rows: Rows, expected: str
) -> tuple[tuple[str, ...], tuple]:
    """Return the fields that change, and the arguments of the operation's function."""
    if operation in ("mix", "zero-codes"):
        codes = zip(rows.names, rows.is_code, strict=True)
        chosen = rows.names if operation == "mix" else [name for name, is_code in codes if is_code]
        fields = tuple(words or chosen)
        _require_fields(fields, rows, expected)
        return fields, (fields,)
    n_fields = 2 if operation == "swap" else 1
    has_number = operation in ("scale", "fill")
    if len(words) != n_fields + has_number:
        raise UserError(f"{expected}, got {len(words)} words after {operation}")
    fields = tuple(words[:n_fields])
    _require_fields(fields, rows, expected)
    if operation == "raw" and fields[0] not in rows.raw:
        raise UserError(f"{expected}: {rows.source} has no raw numbers of {fields[0]}")
    if operation == "shuffle":
        return fields, (fields,)
    return fields, (*fields, *(_read_number(word, expected) for word in words[n_fields:]))


def _require_fields(fields: Sequence[str], rows: Rows, expected: str) -> None:
    for field in fields:
        if field not in rows.names:
            raise UserError(f"{expected}; {field} is not one of {', '.join(rows.names)}")


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

    Of the census they are those with names; of other rows, those that apply to each field's kind.
    """
    if rows.names == FEATURES:
        return list(CORRUPTIONS)
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
