"""Rows as coordinates between which Euclid's distance is Wilson and Martinez's HVDM.

A number counts by its distance over four standard deviations, a category by how differently its
codes go with the outcome. Wilson, D. R. & Martinez, T. R. (1997), Improved heterogeneous distance
functions, Journal of Artificial Intelligence Research 6, 1-34, with their normalized_vdm2.
"""

import math

import numpy as np
from numba import njit

from neighbors import as_rows

# Beyond any threshold: no two of n numbers are more than sqrt(2 n) deviations apart, which is a
# quarter of that as coordinates.
FAR = 1e6


def learn_measures(rows, numbers, outcome):
    """Learn by what each column of rows is measured.

    Two codes of a category are as far apart as their shares of ones in the outcome, times
    ``sqrt(2)``, which is normalized_vdm2 of two classes. A code's share is estimated with one row
    more, of the overall share.

    Parameters
    ----------
    rows : ndarray, shape (n, m)
        Finite numbers.
    numbers : sequence of int
        The columns that hold numbers; all others but the outcome's hold codes.
    outcome : int
        The column that holds 0 or 1.

    Returns
    -------
    list, length m
        What a number is divided by, a float; or the coordinate of each code by code, a dict.

    Raises
    ------
    ValueError
        If the outcome is not 0 in some rows and 1 in all others.
    """
    outcomes = rows[:, outcome]
    found = np.unique(outcomes).tolist()
    if found != [0, 1]:
        raise ValueError(f"the outcome must be 0 in some rows and 1 in the others, got {found[:5]}")
    measures = [_measure_codes(column, outcomes) for column in rows.T]
    for number in numbers:
        measures[number] = _measure_number(rows[:, number])
    measures[outcome] = {0.0: 0.0, 1.0: 1.0}
    return measures


def _measure_codes(column, outcomes):
    codes, places, counts = np.unique(column, return_inverse=True, return_counts=True)
    ones = np.bincount(places.ravel(), outcomes)
    shares = (ones + outcomes.mean()) / (counts + 1)
    return dict(zip(codes.astype(float).tolist(), (math.sqrt(2) * shares).tolist()))


def _measure_number(column):
    """Return four standard deviations, the same to the last bit whatever adds them up."""
    gaps = column - math.fsum(column) / len(column)
    return 4 * math.sqrt(math.fsum(gaps * gaps) / len(column)) or 1.0


class HeterogeneousDistance:
    """The coordinates of rows.

    Parameters
    ----------
    measures : list
        Of `learn_measures`.
    """

    def __init__(self, measures):
        # A row for each column: its codes and their coordinates; or no codes, but what divides it.
        tables = [measure if type(measure) is dict else {np.nan: measure} for measure in measures]
        shape = len(tables), max(map(len, tables))
        self._codes, self._coordinates = np.full(shape, np.nan), np.full(shape, np.nan)
        for column, table in enumerate(tables):
            self._codes[column, : len(table)] = list(table)
            self._coordinates[column, : len(table)] = list(table.values())

    def transform(self, rows):
        """Return the coordinates of rows, a code that training did not see at `FAR`.

        Parameters
        ----------
        rows : array-like, shape (n, m)

        Returns
        -------
        ndarray, shape (n, m), dtype float64
            What is not finite stays so.

        Raises
        ------
        ValueError
            If `rows` has another shape.
        """
        if type(rows) is not list:
            rows = np.array(rows, dtype=np.float64)  # the caller's own stay as they are
        rows = as_rows(rows, len(self._codes))
        _locate(rows, self._codes, self._coordinates)
        return rows


# Compiled on import, which only those who have measures do.
@njit("void(float64[:,::1], float64[:,::1], float64[:,::1])", nogil=True)
def _locate(rows, codes, coordinates):
    """Replace numbers and codes by their coordinates."""
    for number in range(len(rows)):
        for column in range(len(codes)):
            value = rows[number, column]
            if math.isnan(codes[column, 0]):
                rows[number, column] = value / coordinates[column, 0]
            elif abs(value) < np.inf:
                rows[number, column] = FAR
                for entry in range(codes.shape[1]):
                    if codes[column, entry] == value:
                        rows[number, column] = coordinates[column, entry]
                        break
