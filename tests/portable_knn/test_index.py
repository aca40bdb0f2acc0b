"""NeighborIndex: what it finds, against distances that are taken one by one."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import measure
from scipy.spatial import cKDTree

from portable_knn.index import CHUNK, LEAF_SIZE, NeighborIndex, _lay_out, compiled


def assert_nearest(rows, queries, k, p):
    """Assert the distances bit for bit, and that positions name different rows so far away."""
    index = NeighborIndex(rows, p)
    order = index.tree[1].tolist()
    distances, positions = index.nearest(queries, k)
    for query, found, places in zip(queries.tolist(), distances, positions, strict=True):
        all_ = [measure(row, query, p, order) for row in rows.tolist()]
        assert found.tolist() == sorted(all_)[:k]
        assert [all_[place] for place in places] == found.tolist()
        assert len(set(places)) == k


@pytest.mark.parametrize("p", [*range(1, 16), 1.5, 4.25])
def test_nearest(p):
    """Among fractions of several scales, many equal rows, and far outside."""
    random = np.random.default_rng(0)
    for scale in (1e-3, 1.0, 1e6):
        rows, queries = random.normal(scale=scale, size=(300, 4)), random.normal(size=(5, 4))
        assert_nearest(rows, queries, 7, p)
    rows = random.integers(0, 4, size=(200, 3)).astype(float)
    for k in (1, 15, 200):
        assert_nearest(rows, random.integers(-2, 6, size=(8, 3)), k, p)
    rows = random.integers(0, 50, size=(300, 3)).astype(float)
    assert_nearest(rows, random.integers(-500, 500, size=(8, 3)), 15, p)


def test_a_tree_hundreds_deep():
    rows = np.column_stack([2.0 ** -np.arange(900), np.zeros(900)])
    tree = cKDTree(rows, leafsize=LEAF_SIZE, balanced_tree=False)
    assert _lay_out(tree, rows[tree.indices])[-1] > 400
    assert_nearest(rows, rows[::50], 5, 1)


def test_many_rows_score_as_one_does_whatever_threads_there_are():
    random = np.random.default_rng(0)
    rows, queries = random.integers(0, 90, size=(2, 3 * CHUNK + 7, 5)).astype(float)
    index = NeighborIndex(rows, 5)
    with ThreadPoolExecutor(9) as pool:
        found = list(pool.map(lambda n_jobs: index.nearest(queries, 15, n_jobs), [1, 2, -1] * 3))
    for number in range(0, len(queries), 100):
        single = index.nearest([queries[number].tolist()], 15)
        for distances, positions in found:
            np.testing.assert_array_equal(single[0][0], distances[number])
            np.testing.assert_array_equal(single[1][0], positions[number])


def test_compiles_where_no_folder_can_keep_what_was_compiled():
    names = {}
    exec("def double(number): return 2 * number", names)  # of no file, and so of no folder
    assert compiled("int64(int64)")(names["double"])(21) == 42


@pytest.mark.parametrize(
    ("queries", "k", "words"),
    [
        ([[1.0, 2.0, 3.0]], 3, r"expected rows of shape \(n, 2\), n > 0, got \(1, 3\)"),
        ([1.0, 2.0], 3, r"got \(2,\)"),
        ([], 3, r"got \(0,\)"),
        ([[1.0, math.nan]], 3, "expected finite numbers"),
        ([[1.0, 2.0]] * 2999 + [[math.inf, 1.0]], 3, "expected finite numbers"),
        ([[1.0, 2.0]], 0, "expected from 1 to 5 neighbors, got 0"),
        ([[1.0, 2.0]], 6, "expected from 1 to 5 neighbors, got 6"),
    ],
)
def test_bad_queries(queries, k, words):
    index = NeighborIndex(np.arange(10.0).reshape(5, 2), 2)
    with pytest.raises(ValueError, match=words):
        index.nearest(queries, k)
