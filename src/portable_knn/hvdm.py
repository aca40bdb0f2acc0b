"""Rows as coordinates between which Euclid's distance is Wilson and Martinez's HVDM.

A number counts by its distance over four standard deviations, a code by how differently the outcome
is distributed among the rows that have it. Wilson, D. R. & Martinez, T. R. (1997), Improved
heterogeneous distance functions, Journal of Artificial Intelligence Research 6, 1-34, with their
normalized_vdm2.
"""

import math

import numpy as np
from numba import njit

from portable_knn.index import as_rows

# Beyond any threshold: no two of n numbers are more than sqrt(2 n) deviations apart, which is a
# quarter of that as coordinates.
FAR = 1e6
INTERVALS = 5  # of equal frequency, in which a numeric outcome is counted


def learn_encodings(rows, numbers, outcome):
    """Learn how each column of rows is encoded.

    A code has a coordinate for each class of the outcome: the proportion of the rows with this code
    that are of the class, estimated with one row more, of the overall proportions. Of two classes
    the second alone counts, times ``sqrt(2)``, which is the same distance. A numeric outcome has
    five intervals of equal frequency as its classes.

    Parameters
    ----------
    rows : ndarray, shape (n, m)
        Finite numbers.
    numbers : sequence of int
        The columns that hold numbers; all others hold codes.
    outcome : int
        The column whose distribution tells codes apart. It counts as classes if it holds codes or
        two values, else as a number.

    Returns
    -------
    list, length m
        Of a number what it is divided by, a float. Of codes a dict: by code its coordinate, or the
        list of its coordinates where there are more than two classes.

    Raises
    ------
    ValueError
        If there are codes to tell apart, and the outcome is the same in all rows.
    """
    numbers = set(numbers)
    values = np.unique(rows[:, outcome])
    has_classes = outcome not in numbers or len(values) <= 2
    codes = set(range(rows.shape[1])) - numbers - {outcome}
    if codes and len(values) < 2:
        raise ValueError(f"the outcome must differ between rows, got {values.tolist()} in all")
    classes = _classify(rows[:, outcome], has_classes)
    encodings = [
        _encode_codes(column, classes) if number in codes else _scale_number(column)
        for number, column in enumerate(rows.T)
    ]
    if has_classes:
        encodings[outcome] = _encode_classes(values.astype(float).tolist())
    return encodings


def _classify(outcomes, has_classes):
    """Return the class of each row, from 0."""
    if has_classes:
        return np.unique(outcomes, return_inverse=True)[1].ravel()
    edges = np.quantile(outcomes, np.arange(1, INTERVALS) / INTERVALS)
    found = np.searchsorted(np.unique(edges), outcomes, side="right")
    return np.unique(found, return_inverse=True)[1].ravel()


def _encode_codes(column, classes):
    codes, places, counts = np.unique(column, return_inverse=True, return_counts=True)
    n_classes = int(classes.max()) + 1
    coordinates = []
    for one in range(n_classes):
        of_class = np.bincount(places.ravel(), classes == one)
        coordinates.append((of_class + np.mean(classes == one)) / (counts + 1))
    keys = codes.astype(float).tolist()
    if n_classes == 2:
        return dict(zip(keys, (math.sqrt(2) * coordinates[1]).tolist()))
    return dict(zip(keys, np.transpose(coordinates).tolist()))


def _encode_classes(values):
    """Put any two classes of the outcome at a distance of 1."""
    if len(values) <= 2:
        return dict(zip(values, (0.0, 1.0)))
    return dict(zip(values, (np.eye(len(values)) / math.sqrt(2)).tolist()))


def _scale_number(column):
    """Return four standard deviations, the same to the last bit whatever adds them up."""
    gaps = column - math.fsum(column) / len(column)
    return 4 * math.sqrt(math.fsum(gaps * gaps) / len(column)) or 1.0


class HeterogeneousDistance:
    """The coordinates of rows.

    Parameters
    ----------
    encodings : list
        Of `learn_encodings`.

    Attributes
    ----------
    starts_ : ndarray, shape (m,), dtype int64
        The first coordinate of each column.
    """

    def __init__(self, encodings):
        # By column: its codes and their coordinates; or no codes, but what divides a number.
        tables = [one if type(one) is dict else {np.nan: one} for one in encodings]
        rows = [[np.atleast_1d(place) for place in table.values()] for table in tables]
        widths = [len(places[0]) for places in rows]
        self.starts_ = np.append(0, np.cumsum(widths)[:-1])
        self._width = sum(widths)
        shape = len(tables), max(map(len, tables)), max(widths)
        self._codes, self._coordinates = np.full(shape[:2], np.nan), np.full(shape, np.nan)
        for column, (table, places) in enumerate(zip(tables, rows)):
            self._codes[column, : len(table)] = list(table)
            self._coordinates[column, : len(table), : widths[column]] = places

    def transform(self, rows):
        """Return the coordinates of rows, those of a code that training did not see at `FAR`.

        Parameters
        ----------
        rows : array-like, shape (n, m)

        Returns
        -------
        ndarray, shape (n, n_coordinates), dtype float64
            What is not finite stays so.

        Raises
        ------
        ValueError
            If `rows` has another shape.
        """
        rows = as_rows(rows, len(self._codes))
        located = np.empty((len(rows), self._width))
        _locate(rows, located, self._codes, self._coordinates)
        return located


# Compiled on import, which only those who have encodings do.
@njit("void(float64[:,::1], float64[:,::1], float64[:,::1], float64[:,:,::1])", nogil=True)
def _locate(rows, located, codes, coordinates):
    """Fill in the coordinates of each row."""
    for number in range(len(rows)):
        start = 0
        for column in range(len(codes)):
            value = rows[number, column]
            if math.isnan(codes[column, 0]):
                located[number, start] = value / coordinates[column, 0, 0]
                start += 1
                continue
            found = -1
            for entry in range(codes.shape[1]):
                if codes[column, entry] == value:
                    found = entry
                    break
            for place in range(coordinates.shape[2]):
                if math.isnan(coordinates[column, 0, place]):
                    break
                if found >= 0:
                    located[number, start] = coordinates[column, found, place]
                else:
                    located[number, start] = FAR if abs(value) < np.inf else value
                start += 1
