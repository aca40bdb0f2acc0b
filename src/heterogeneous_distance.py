"""Rows as coordinates between which Euclid's distance is Wilson and Martinez's HVDM.

A number counts by its distance over four standard deviations, a category by how differently its
codes go with the outcome. Wilson, D. R. & Martinez, T. R. (1997), Improved heterogeneous distance
functions, Journal of Artificial Intelligence Research 6, 1-34, with their normalized_vdm2.
"""

import math

import numpy as np

# Beyond any threshold: of n rows no two numbers are more than sqrt(2 n) deviations apart.
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
        self._locate = [
            measure.__rtruediv__ if type(measure) is float else _Codes(measure).__getitem__
            for measure in measures
        ]

    def transform(self, rows):
        """Return the coordinates of rows, a code that training did not see at `FAR`.

        Parameters
        ----------
        rows : array-like, shape (n, m)

        Returns
        -------
        ndarray or list of list of float, shape (n, m)
            What is not finite stays so.

        Raises
        ------
        ValueError
            If `rows` has another shape.
        """
        if type(rows) is list and len(rows) == 1 and len(rows[0]) == len(self._locate):
            # One request: a call of numpy takes longer than to look up all of its numbers.
            return [[locate(value) for locate, value in zip(self._locate, map(float, rows[0]))]]
        rows = np.array(rows, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self._locate):
            raise ValueError(f"expected rows of shape (n, {len(self._locate)}), got {rows.shape}")
        for locate, column in zip(self._locate, rows.T):
            values, places = np.unique(column, return_inverse=True)
            column[:] = np.array([locate(value) for value in values.tolist()])[places.ravel()]
        return rows


class _Codes(dict):
    def __missing__(self, code):
        return FAR if math.isfinite(code) else code
