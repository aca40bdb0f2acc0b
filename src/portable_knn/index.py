"""Exact nearest neighbors by Minkowski's p: scipy builds the tree, one compiled function walks it.

A call of scipy's own `cKDTree.query` costs more than the search of one row; and a subtree is passed
over here by the box around its points, which is smaller than the cell that its splits leave it.
"""

import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Optional, Tuple, TypeVar, cast

import numpy as np
from joblib import effective_n_jobs
from numba import njit, types
from scipy.spatial import cKDTree

LEAF_SIZE = 32  # points; 8 to 64 are alike on UCI's rows, and more nodes take longer to build
CHUNK = 1000  # rows that a thread takes at a time
NOT_FINITE, TOO_FAR = 1, 2  # what may be wrong with a query
Function = TypeVar("Function", bound=Callable[..., Any])


class NeighborIndex:
    """Rows laid out so that the nearest ones to a query are found quickly.

    Parameters
    ----------
    rows : ndarray, shape (n, m), dtype float64
        Finite numbers.
    p : float, from 1 to 15
        Of Minkowski's distance, ``sum(abs(x - y) ** p) ** (1 / p)``.
    """

    def __init__(self, rows: np.ndarray, p: float) -> None:
        # What varies most comes first: a point is given up as soon as it is too far.
        columns = np.argsort([-_variance(column) for column in rows.T], kind="mergesort")
        points, point_of_row, copies = np.unique(
            rows[:, columns], axis=0, return_inverse=True, return_counts=True
        )
        tree = cKDTree(points, leafsize=LEAF_SIZE, balanced_tree=False)
        points, copies = points[tree.indices], copies[tree.indices]
        order = np.argsort(np.argsort(tree.indices)[point_of_row], kind="mergesort")
        starts = np.append(0, np.cumsum(copies))
        nodes, splits, boxes, depth = _lay_out(tree, points)
        self.p = float(p)
        self.tree = self.p, columns, nodes, splits, boxes, depth, points, starts, order
        self.n_rows, self.n_columns = rows.shape

    def nearest(
        self, rows: Any, k: int, n_jobs: Optional[int] = 1
    ) -> Tuple[np.ndarray, np.ndarray]:
        """Find the nearest rows of the index, equal ones as often as they are there.

        Parameters
        ----------
        rows : array-like, shape (n, m)
            Queries, finite numbers.
        k : int, from 1 to the number of rows in the index
        n_jobs : int or None
            Threads for many queries; -1 for one each core, as in joblib.

        Returns
        -------
        distances : ndarray, shape (n, k), dtype float64
            From the nearest on.
        positions : ndarray, shape (n, k), dtype int64
            Of those rows among the rows of the index, from 0.

        Raises
        ------
        ValueError
            If `rows` has another shape or holds NaN or infinity, there are not `k` to find, or the
            p-th power of a distance is beyond float64.
        """
        rows = _as_rows(rows, self.n_columns)
        if not 1 <= k <= self.n_rows:
            raise ValueError(f"expected from 1 to {self.n_rows} neighbors, got {k}")
        distances = np.empty((len(rows), k))
        positions = np.zeros((len(rows), k), np.int64)
        if len(rows) <= CHUNK:
            problem = _walk(rows, distances, positions, self.tree)
        else:
            problem = self._walk_in_threads(rows, distances, positions, n_jobs=n_jobs)
        if problem == NOT_FINITE:
            raise ValueError("expected finite numbers, got NaN or infinity")
        if problem == TOO_FAR:
            raise ValueError(f"the p-th power of a distance is beyond float64, p = {self.p:g}")
        return distances, positions

    def _walk_in_threads(self, *arrays: np.ndarray, n_jobs: Optional[int]) -> int:
        def walk(first: int) -> int:
            rows, distances, positions = (array[first : first + CHUNK] for array in arrays)
            return _walk(rows, distances, positions, self.tree)

        with ThreadPoolExecutor(effective_n_jobs(n_jobs)) as pool:
            return max(pool.map(walk, range(0, len(arrays[0]), CHUNK)))


def _variance(column: np.ndarray) -> np.float32:
    """In float32, as earlier artifacts have it, whatever adds it up and however it lies."""
    with np.errstate(over="ignore"):
        gaps = column - _mean(column)
        return np.float32(_mean(gaps * gaps))


def _mean(column: np.ndarray) -> float:
    try:
        return math.fsum(column.tolist()) / len(column)
    except OverflowError:
        raise ValueError("expected numbers whose sum is within float64") from None


def _as_rows(rows: Any, n_columns: int) -> np.ndarray:
    """Return rows as an array of float64, row after row; raise ValueError if they are none."""
    if type(rows) is list and len(rows) == 1 and type(rows[0]) is list:
        # One request: numpy takes its time to look for the shape of a list of lists.
        array = np.fromiter(rows[0], np.float64, len(rows[0])).reshape(1, -1)
    else:
        array = as_reals(rows)
    if array.ndim != 2 or array.shape[1] != n_columns or not len(array):
        raise ValueError(f"expected rows of shape (n, {n_columns}), n > 0, got {array.shape}")
    return array


def as_reals(numbers: Any) -> np.ndarray:
    """Return numbers as an array of float64; raise ValueError where a part would be lost."""
    if np.iscomplexobj(numbers) or np.ma.is_masked(numbers):
        raise ValueError("expected real numbers, got complex or masked ones")
    return np.asarray(numbers, dtype=np.float64, order="C")


def _lay_out(tree: Any, points: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return a tree's nodes, splits and boxes, the root first, and its depth."""
    nodes, splits, boxes = [], [], []
    waiting, n_found = deque([tree.tree]), 1
    while waiting:  # a level at a time
        node = waiting.popleft()
        inside = points[node.start_idx : node.end_idx]
        boxes.append((inside.min(axis=0), inside.max(axis=0)))
        splits.append(node.split)
        if node.split_dim < 0:
            nodes.append((-1, node.start_idx, node.end_idx))
        else:
            nodes.append((node.split_dim, n_found, n_found + 1))
            waiting += node.lesser, node.greater
            n_found += 2
    return np.array(nodes), np.array(splits), np.array(boxes), node.level


def compiled(*signature: Any, **options: Any) -> Callable[[Function], Function]:
    """Let numba compile a function; keep one of a signature for the next process where it can."""
    compiler: Any = njit  # whose own hints lose the arguments

    def compile(function: Function) -> Function:
        try:
            return cast(Function, compiler(*signature, cache=bool(signature), **options)(function))
        except Exception:  # of a folder that is full or none's, or what is damaged in it
            return cast(Function, compiler(*signature, **options)(function))

    return compile


@compiled()
def _raise_to_p(gap: float, p: float, whole_p: int) -> float:
    if not whole_p:
        return math.pow(gap, p)
    power = gap
    for _ in range(whole_p - 1):
        power *= gap
    return power


@compiled()
def _box_distance(
    query: np.ndarray, box: np.ndarray, p: float, whole_p: int, limit: float
) -> float:
    """Return the p-th power of the distance to a box, or a part of it that reaches the limit."""
    total = 0.0
    for column in range(len(query)):
        gap = max(box[0, column] - query[column], query[column] - box[1, column])
        if gap > 0.0:
            total += _raise_to_p(gap, p, whole_p)
            if total >= limit:
                break
    return total


INTEGERS, FLOATS = types.int64[::1], types.float64[::1]
# What is searched, as the compiled walk takes it: Minkowski's p; the columns in the order in which
# they add up; of each node its split's column and its children, or -1 and the range of a leaf's
# points, where it splits, and the box around its points; how many levels lie below the root; the
# distinct points, a leaf's together; and the rows that each point stands for,
# order[starts[point]:starts[point + 1]].
# A plain tuple: a class of ours would be another one where a process imports this module anew.
TREE: Any = types.Tuple(
    (
        *(types.float64, INTEGERS, types.int64[:, ::1], FLOATS, types.float64[:, :, ::1]),
        *(types.int64, types.float64[:, ::1], INTEGERS, INTEGERS),
    )
)


# Compiled on import, not within a request. Powers add up in one order everywhere, and neither
# rounding nor a C library's pow swaps two numbers, so that no box counts as farther than a point in
# it: the search is exact.
@compiled(
    types.int64(types.float64[:, ::1], types.float64[:, ::1], types.int64[:, ::1], TREE),
    nogil=True,
)
def _walk(queries: np.ndarray, distances: np.ndarray, positions: np.ndarray, tree: Any) -> int:
    """Fill in the distances and positions of each query's neighbors; return what is wrong, or 0."""
    p, columns, nodes, splits, boxes, depth, points, starts, order = tree
    k = distances.shape[1]
    whole_p = int(p) if p == int(p) else 0
    query = np.empty(len(columns))
    waiting = np.empty(depth + 1, np.int64)  # nodes to come back to, and how far they are at least
    at_least = np.empty(depth + 1)
    for number in range(len(queries)):
        for column in range(len(columns)):
            query[column] = queries[number, columns[column]]
            if not abs(query[column]) < np.inf:
                return NOT_FINITE
        best, found = distances[number], positions[number]
        best[:] = np.inf
        limit = np.inf
        waiting[0], at_least[0], n_waiting = 0, 0.0, 1
        while n_waiting:
            n_waiting -= 1
            node = waiting[n_waiting]
            if at_least[n_waiting] >= limit:
                continue
            if _box_distance(query, boxes[node], p, whole_p, limit) >= limit:
                continue
            while nodes[node, 0] >= 0:
                gap = query[nodes[node, 0]] - splits[node]
                near, far = nodes[node, 1], nodes[node, 2]
                if gap >= 0.0:
                    near, far = far, near
                power = _raise_to_p(abs(gap), p, whole_p)
                if power < limit:
                    waiting[n_waiting], at_least[n_waiting] = far, power
                    n_waiting += 1
                node = near
            for point in range(nodes[node, 1], nodes[node, 2]):
                total = 0.0
                for column in range(len(columns)):
                    total += _raise_to_p(abs(query[column] - points[point, column]), p, whole_p)
                    if total >= limit:
                        break
                else:
                    for copy in range(starts[point], starts[point + 1]):
                        place = k - 1
                        while place > 0 and best[place - 1] > total:
                            best[place], found[place] = best[place - 1], found[place - 1]
                            place -= 1
                        best[place], found[place] = total, order[copy]
                        limit = best[k - 1]
                        if total >= limit:
                            break
        if not best[k - 1] < np.inf:
            return TOO_FAR
        for place in range(k):
            best[place] = math.sqrt(best[place]) if p == 2 else math.pow(best[place], 1 / p)
    return 0
