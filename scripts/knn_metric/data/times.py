"""Times as seconds since 1970, in UTC, and numbers, however a file or MongoDB spells them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NO_TIME = np.iinfo(np.int64).min
DAY = 86_400  # seconds
EPOCH = date(1970, 1, 1).toordinal()
# Placeholders as 0001-01-01 and 9999-12-31 are no days of requests.
FIRST, LAST = (DAY * (date(year, 1, 1).toordinal() - EPOCH) for year in (1900, 2200))
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# Numbers are seconds, milliseconds, microseconds or nanoseconds since 1970 by their size: each
# unit's range begins in March 1973. What is less is no time, but a count or an id.
SMALLEST = (1e8, 1e11, 1e14, 1e17)
NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")

# MongoDB's Extended JSON: by the key of an object of one entry, what its text must be and what it
# stands for.
SPELLINGS: dict[str, tuple[str, Callable[[str], int | float]]] = {
    "$numberLong": (r"[+-]?[0-9]{1,19}", int),
    "$numberInt": (r"[+-]?[0-9]{1,10}", int),
    "$numberDouble": (r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?|-?Infinity|NaN", float),
}


def read_number(value: object) -> object:
    """Return a number that stands as ``{"$numberLong": "39"}`` or the like; all else as it is."""
    if isinstance(value, dict) and len(value) == 1:
        ((key, text),) = value.items()
        pattern, kind = SPELLINGS.get(key, ("", None))
        if kind and isinstance(text, str) and re.fullmatch(pattern, text):
            return kind(text)
    return value


def is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def read_times(column: pa.ChunkedArray) -> np.ndarray:
    """Return the epoch second of each time; `NO_TIME` where there is none.

    Timestamps, dates, numbers, text in ISO 8601, numbers in it, or Mongo's ``$date`` are times.
    Those without an offset count as UTC's.
    """
    kind = column.type
    if pa.types.is_timestamp(kind):
        seconds = _divide(column.cast(pa.int64()), PER_SECOND[kind.unit])
    elif pa.types.is_date(kind):
        seconds = _divide(column.cast(pa.date64()).cast(pa.int64()), 1000)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        seconds = _read_texts(column)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = pc.cast(column, pa.float64(), safe=False).fill_null(np.nan)
        seconds = _read_numbers(numbers.to_numpy())
    else:
        seconds = np.full(len(column), NO_TIME)
    return np.where((seconds >= FIRST) & (seconds < LAST), seconds, NO_TIME)


def _divide(column: pa.ChunkedArray, by: int) -> np.ndarray:
    parts = column.fill_null(0).to_numpy().astype(np.int64) // by
    return np.where(column.is_null().to_numpy(), NO_TIME, parts)


def _read_numbers(values: np.ndarray) -> np.ndarray:
    sizes = np.searchsorted(SMALLEST, np.abs(values), side="right")  # NaN is larger than all
    is_one = (sizes > 0) & np.isfinite(values)
    units = np.array([np.nan, *PER_SECOND.values()])
    seconds = np.floor(np.where(is_one, values, 0.0) / units[sizes])
    return np.where(is_one & (seconds < LAST), np.nan_to_num(seconds), NO_TIME).astype(np.int64)


def _read_texts(column: pa.ChunkedArray) -> np.ndarray:
    encoded = column.combine_chunks().dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    seconds = np.array([*(_read_text(text) for text in texts), NO_TIME], np.int64)
    places = encoded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)
    return np.array(seconds[places])


def _read_text(text: str) -> int:
    text = text.strip()
    try:
        if text.startswith("{"):
            return _read_mongo(json.loads(text)["$date"])
        if NUMBER.fullmatch(text):
            second = int(_read_numbers(np.array([float(text)]))[0])
            if second != NO_TIME:
                return second
        return _read_iso(text)
    except (ArithmeticError, KeyError, TypeError, ValueError, RecursionError):
        return NO_TIME


def _read_mongo(value: object) -> int:
    """Read what stands under ``$date``: ISO text, or milliseconds."""
    value = read_number(value)
    if isinstance(value, str):
        return _read_iso(value)
    if type(value) is not int:
        raise TypeError(f"expected a time, got {value!r}")
    return value // 1000


def _read_iso(text: str) -> int:
    time = datetime.fromisoformat(text)
    in_utc = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    return (in_utc - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)


def looks_like_time(text: object) -> bool:
    """Tell whether a cell of a text file is a time in ISO 8601 or Mongo's spelling."""
    is_text = isinstance(text, str) and not NUMBER.fullmatch(text.strip())
    return is_text and _read_text(str(text)) != NO_TIME
