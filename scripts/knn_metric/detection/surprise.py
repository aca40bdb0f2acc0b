"""How surprising each field of a request is, given all its other fields.

What a field should be is read off the training rows that are nearest by all other fields: Wilson,
D. R. & Martinez, T. R. (1997), Improved heterogeneous distance functions, Journal of Artificial
Intelligence Research 6, 1-34, has the distance (HEOM), here with standard deviations.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from joblib import effective_n_jobs
from numba import types

from portable_knn import PortableKNN
from portable_knn.index import compiled

NEAREST = 50  # distinct training rows that say what a field should be
PRIOR = 5  # rows that a code's share of all training rows counts for beside the nearest
# A distance is counted in whole units of 2**-20 of a difference: they add up exactly in any order,
# so that equally far rows are equally far on every processor.
UNIT = 2.0**20
CHUNK = 512  # training rows whose distances stay in the processor's nearest cache
BATCH = 200  # requests that a thread takes at a time
MOST_ROWS = 50_000  # distinct training rows that are looked through, evenly spread over all
DIGITS = 9  # of a surprise: logarithms of two processors may differ in the last of 16


class Expected(NamedTuple):
    """A field's values in the nearest training rows, and how many rows each of these stands for."""

    values: np.ndarray
    counts: np.ndarray


class FieldSurprise:
    """Measures the surprise of each field of a request.

    The distance of a request to a training row by some fields is the sum over them of 1 where codes
    differ, and of ``min(1, (gap / 4 sigma) ** 2)`` where they are numbers, sigma being the standard
    deviation of the training rows. Equal training rows are one row with a count; of equally far
    ones, those that come first are nearest.

    `rows` are those of training, (n, m); `is_code` tells which fields hold codes and no numbers.
    """

    def __init__(self, rows: np.ndarray, is_code: Sequence[bool]) -> None:
        distinct, firsts, counts = np.unique(rows, axis=0, return_index=True, return_counts=True)
        order = np.argsort(firsts, kind="mergesort")
        order = order[:: -(-len(order) // MOST_ROWS)]
        self._columns = np.ascontiguousarray(distinct[order].T, dtype=np.float64)
        self._counts = counts[order].astype(np.float64)
        self._is_code = np.array(is_code, dtype=bool)
        self._spreads = np.array([4 * _deviation(column) or 1.0 for column in rows.T])
        self._k = min(NEAREST, len(order))
        codes = {place: np.unique(rows.T[place], return_counts=True) for place in self._codes()}
        self._shares = {
            place: dict(zip(known.tolist(), (counts / len(rows)).tolist(), strict=True))
            for place, (known, counts) in codes.items()
        }
        self._unseen = 0.5 / len(rows)  # the share of a code that no training row has

    @classmethod
    def of(cls, detector: PortableKNN) -> "FieldSurprise":
        """Return that of an artifact, whose calibration says which fields hold codes."""
        codes = detector.calibration_["codes"]
        is_code = [name in codes for name in detector.feature_names_in_]
        return cls(detector.training_rows_.astype(np.float64), is_code)

    def surprise(self, rows: np.ndarray, n_jobs: int = -1) -> np.ndarray:
        """Return how surprising each field of each request is, (n, m), from 0 up.

        Of codes it is ``-log((n_same + A share) / (n + A))``, where `n_same` of the `n` nearest
        training rows have the request's code, `share` is that code's among all training rows (half
        a row's for one that none has) and A is `PRIOR`. Of numbers it is the gap to the nearest
        rows' mean, in units of 4 sigma. Equal requests are measured once.
        """
        rows, places = np.unique(np.asarray(rows, np.float64), axis=0, return_inverse=True)
        shares, found = self._look_up_shares(rows), np.empty(rows.shape)

        def measure(first: int) -> None:
            part = slice(first, first + BATCH)
            _measure(rows[part], shares[part], self._training(), self._k, found[part])

        if len(rows) <= BATCH:
            measure(0)
        else:
            with ThreadPoolExecutor(effective_n_jobs(n_jobs)) as pool:
                list(pool.map(measure, range(0, len(rows), BATCH)))
        found[:, self._is_code] = -np.log(found[:, self._is_code])
        return np.round(found, DIGITS)[places.ravel()]

    def expect(self, row: Sequence[float]) -> list[Expected]:
        """Say what each field of a request should be."""
        query = np.asarray(row, dtype=np.float64)
        positions = np.zeros((len(query), self._k), np.int64)
        _find_nearest(query, self._training(), self._k, positions)
        pairs = zip(self._columns, positions, strict=True)
        return [Expected(column[found], self._counts[found]) for column, found in pairs]

    def _training(self) -> tuple[np.ndarray, ...]:
        return self._columns, self._counts, self._is_code, self._spreads

    def _codes(self) -> list[int]:
        return np.flatnonzero(self._is_code).tolist()

    def _look_up_shares(self, rows: np.ndarray) -> np.ndarray:
        shares = np.zeros(rows.shape)
        for place, known in self._shares.items():
            codes = rows[:, place].tolist()
            shares[:, place] = [known.get(code, self._unseen) for code in codes]
        return shares


def _deviation(column: np.ndarray) -> float:
    """Return a column's standard deviation, rounded alike on every processor."""
    values = column.tolist()
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


# Training rows as what is compiled takes them: columns, counts, which are codes, and spreads.
TABLE, COLUMN = types.float64[:, ::1], types.float64[::1]
TRAINING: Any = types.Tuple((TABLE, COLUMN, types.boolean[::1], COLUMN))
OPTIONS = {"nogil": True, "error_model": "numpy"}


@compiled(**OPTIONS)
def _add_parts(
    column: np.ndarray, value: float, is_code: bool, spread: float, unit: float, totals: np.ndarray
) -> None:
    """Add what one field contributes to the distance of each row, in such units."""
    if is_code:
        for row in range(len(column)):
            totals[row] += unit if column[row] != value else 0.0
    else:
        for row in range(len(column)):
            part = (column[row] - value) / spread
            totals[row] += np.rint(min(part * part, 1.0) * unit)


@compiled(**OPTIONS)
def _insert(distances: np.ndarray, positions: np.ndarray, distance: float, position: int) -> None:
    """Put a row behind those that are as near; the farthest falls out."""
    place = len(distances) - 1
    while place > 0 and distances[place - 1] > distance:
        distances[place] = distances[place - 1]
        positions[place] = positions[place - 1]
        place -= 1
    distances[place] = distance
    positions[place] = position


@compiled(**OPTIONS)
def _find_candidates(
    query: np.ndarray, columns: np.ndarray, is_code: np.ndarray, spreads: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows that may be among the k nearest by all fields but one.

    Without one field a row is nearer by a difference at most, and no k-th row is farther than with
    it: what is more than a difference farther than the k-th row by all fields is none of them.
    """
    n_rows, n_candidates = columns.shape[1], 0
    totals, candidates = np.empty(n_rows), np.empty(n_rows, np.int64)
    chunk, best, ignored = np.empty(CHUNK), np.full(k, np.inf), np.zeros(k, np.int64)
    for first in range(0, n_rows, CHUNK):
        last = min(first + CHUNK, n_rows)
        chunk[:] = 0.0
        for field in range(len(query)):
            column = columns[field, first:last]
            _add_parts(column, query[field], is_code[field], spreads[field], UNIT, chunk)
        for row in range(last - first):
            total = chunk[row]
            if total <= best[k - 1] + UNIT:
                totals[n_candidates], candidates[n_candidates] = total, first + row
                n_candidates += 1
                if total < best[k - 1]:
                    _insert(best, ignored, total, 0)
    kept = totals[:n_candidates] <= best[k - 1] + UNIT
    return totals[:n_candidates][kept], candidates[:n_candidates][kept]


@compiled(types.void(COLUMN, TRAINING, types.int64, types.int64[:, ::1]), **OPTIONS)
def _find_nearest(
    query: np.ndarray, training: tuple[np.ndarray, ...], k: int, positions: np.ndarray
) -> None:
    """Fill in for each field the nearest rows by all other fields, the nearest first."""
    columns, _, is_code, spreads = training
    totals, candidates = _find_candidates(query, columns, is_code, spreads, k)
    for field in range(len(query)):
        nearest, distances = np.full(k, np.inf), totals.copy()
        column = columns[field][candidates]
        _add_parts(column, query[field], is_code[field], spreads[field], -UNIT, distances)
        for number in range(len(candidates)):
            if distances[number] < nearest[k - 1]:
                _insert(nearest, positions[field], distances[number], candidates[number])


@compiled(types.void(TABLE, TABLE, TRAINING, types.int64, TABLE), **OPTIONS)
def _measure(
    queries: np.ndarray,
    shares: np.ndarray,
    training: tuple[np.ndarray, ...],
    k: int,
    found: np.ndarray,
) -> None:
    """Fill in how probable each code is, and how far each number is from what it should be."""
    columns, counts, is_code, spreads = training
    positions = np.zeros((queries.shape[1], k), np.int64)
    for number in range(len(queries)):
        query = queries[number]
        _find_nearest(query, training, k, positions)
        for field in range(len(query)):
            n, same, total = 0.0, 0.0, 0.0
            for position in positions[field]:
                count, value = counts[position], columns[field, position]
                n += count
                total += count * value
                if value == query[field]:
                    same += count
            if is_code[field]:
                found[number, field] = (same + PRIOR * shares[number, field]) / (n + PRIOR)
            else:
                found[number, field] = abs(query[field] - total / n) / spreads[field]
