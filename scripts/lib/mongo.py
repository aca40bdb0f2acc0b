"""How Mongo writes 64-bit integers in JSON."""

from __future__ import annotations

NUMBER_LONG = "$numberLong"


def read_integer(value: object) -> object:
    """Return an integer that stands as ``{"$numberLong": "39"}``; all else as it is."""
    if isinstance(value, dict) and value.keys() == {NUMBER_LONG}:
        try:
            return int(value[NUMBER_LONG])
        except (TypeError, ValueError):
            return value
    return value
