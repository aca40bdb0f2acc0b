"""Numbers and times as MongoDB's Extended JSON writes them."""

from __future__ import annotations

import re
from collections.abc import Callable

# By the key of an object of one entry, what its text must be and what it stands for.
SPELLINGS: dict[str, tuple[str, Callable[[str], int | float]]] = {
    "$numberLong": (r"[+-]?[0-9]{1,19}", int),
    "$numberInt": (r"[+-]?[0-9]{1,10}", int),
    "$numberDouble": (r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?|-?Infinity|NaN", float),
}


def read_number(value: object) -> object:
    """Return a number that stands as ``{"$numberLong": "39"}`` or the like; all else as it is."""
    if not isinstance(value, dict) or len(value) != 1:
        return value
    ((key, text),) = value.items()
    pattern, kind = SPELLINGS.get(key, ("", float))
    if key in SPELLINGS and isinstance(text, str) and re.fullmatch(pattern, text):
        return kind(text)
    return value
