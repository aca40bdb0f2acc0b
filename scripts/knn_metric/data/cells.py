"""Cells as numbers and as times, however a file or MongoDB spells them."""

import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NO_TIME = np.iinfo(np.int64).min
DAY = 86_400  # seconds
EPOCH = date(1970, 1, 1).toordinal()
# Placeholders as 0001-01-01 and 9999-12-31 are no days of requests.
FIRST, LAST = (DAY * (date(year, 1, 1).toordinal() - EPOCH) for year in (1900, 2200))
# Numbers are seconds, milliseconds, microseconds or nanoseconds since 1970 by their size: each
# unit's range begins in March 1973. What is less is no time, but a count or an id.
SMALLEST = (1e8, 1e11, 1e14, 1e17)
PER_SECOND = np.array([np.nan, 1, 1e3, 1e6, 1e9])
SPELLED = r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf(inity)?)"
NUMBER = re.compile(SPELLED, re.IGNORECASE)
# How files spell in lower case that there is nothing.
MISSING = ("", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "nil", r"\n")
INT64_LIMIT = 2.0**63  # as `portable_knn.messages` has it, which takes seconds to import
# What may be wrong with a number: first in the words in which `messages.read` refuses a request.
PROBLEMS = (
    "",
    "missing",
    "not numeric",
    "expected a finite number, got NaN",
    "expected a finite number, got infinity or a number beyond int64",
    "expected a whole number, got a fraction",
    "expected a number within the contract's type",
)
DOUBLE = np.dtype(np.float64)

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


def is_number(text: str) -> bool:
    return bool(NUMBER.fullmatch(text.strip()))


def read_numbers(column: pa.ChunkedArray, kind: np.dtype = DOUBLE) -> tuple[np.ndarray, np.ndarray]:
    """Return a column as a contract's type has it, in float64; text counts as what it spells.

    Beside each number stands what is wrong with it, as a place in `PROBLEMS`.
    """
    numbers = _to_float(column, kind)
    values = numbers.fill_null(np.nan).to_numpy()
    is_null, is_text = column.is_null().to_numpy(), numbers.is_null().to_numpy()
    wrong = [is_null, is_text, np.isnan(values), np.abs(values) > INT64_LIMIT]
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            values = values.astype(kind).astype(np.float64)
    else:
        low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, int(np.iinfo(kind).max))
        # float(high + 1) is exact where float(high) is not: the largest int64 is no double.
        wrong += [values != np.rint(values), (values < low) | (values >= float(high + 1))]
    return values, np.select(wrong, range(1, 1 + len(wrong))).astype(np.int8)


def _to_float(column: pa.ChunkedArray, kind: np.dtype) -> pa.ChunkedArray:
    """Return doubles, null for what is no number."""
    try:
        if pa.types.is_string(column.type):
            text = pc.utf8_trim_whitespace(column)
            if kind.kind == "b":
                text = pc.replace_substring_regex(text, "(?i)^true$", "1")
                text = pc.replace_substring_regex(text, "(?i)^false$", "0")
            try:
                return text.cast(pa.float64())
            except pa.ArrowInvalid:
                text = pc.if_else(pc.match_substring_regex(text, f"^(?i:{SPELLED})$"), text, None)
                return text.cast(pa.float64())
        if pa.types.is_decimal(column.type):  # whose own cast is off in the last digit
            column = column.cast(pa.string())
        return column.cast(pa.float64(), safe=False)
    except pa.ArrowException:
        return pa.chunked_array([pa.nulls(len(column), pa.float64())])


def is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def read_times(column: pa.ChunkedArray) -> np.ndarray:
    """Return the epoch second of each time; `NO_TIME` where there is none.

    Timestamps, dates, numbers, text in ISO 8601, numbers in it, or Mongo's ``$date`` are times.
    Those without an offset count as UTC's.
    """
    kind = column.type
    if is_time(kind):
        in_seconds = pa.timestamp("s", getattr(kind, "tz", None))
        whole = column.cast(in_seconds, safe=False).cast(pa.int64())
        seconds = whole.fill_null(NO_TIME).to_numpy()
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        encoded = column.combine_chunks().dictionary_encode()
        texts = encoded.dictionary.to_pylist()
        found = np.array([*map(_read_text, texts), NO_TIME], np.int64)
        seconds = found[encoded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)]
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = pc.cast(column, pa.float64(), safe=False).fill_null(np.nan)
        seconds = _read_numbers(numbers.to_numpy())
    else:
        seconds = np.full(len(column), NO_TIME)
    return np.where((seconds >= FIRST) & (seconds < LAST), seconds, NO_TIME)


def _read_numbers(values: np.ndarray) -> np.ndarray:
    sizes = np.searchsorted(SMALLEST, np.abs(values), side="right")  # NaN is larger than all
    is_one = (sizes > 0) & np.isfinite(values)
    seconds = np.floor(np.where(is_one, values, 0.0) / PER_SECOND[sizes])
    return np.where(is_one & (seconds < LAST), np.nan_to_num(seconds), NO_TIME).astype(np.int64)


def _read_text(text: str) -> int:
    text = text.strip()
    try:
        if text.startswith("{"):
            value = read_number(json.loads(text)["$date"])  # ISO text, or milliseconds
            if type(value) is int:
                return value // 1000
            text = str(value)
        elif NUMBER.fullmatch(text):
            second = int(_read_numbers(np.array([float(text)]))[0])
            if second != NO_TIME:
                return second
        time = datetime.fromisoformat(text)
        in_utc = time.replace(tzinfo=UTC) if time.tzinfo is None else time
        return (in_utc - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    except (ArithmeticError, KeyError, TypeError, ValueError, RecursionError):
        return NO_TIME


def look_like_times(cells: Iterable[str]) -> bool:
    """Tell whether most cells of a text file are times in ISO 8601 or Mongo's spelling."""
    texts = [cell for cell in map(str.strip, cells) if cell.lower() not in MISSING]
    times = [one for one in texts if not NUMBER.fullmatch(one) and _read_text(one) != NO_TIME]
    return len(times) > len(texts) / 2
