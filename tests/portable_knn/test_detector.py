"""PortableKNN and its search: values to the last bit, and pyod's to a relative 1e-14."""

import functools
import itertools
import math
import operator
import runpy
import statistics
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import measure, reload
from pyod.models.knn import KNN
from scipy.spatial import cKDTree

from portable_knn import PortableKNN
from portable_knn.index import CHUNK, LEAF_SIZE, NeighborIndex, _lay_out, compiled

CASES = [
    *itertools.product([5], [4, 15], ["largest", "mean", "median"]),
    *((p, 5, "largest") for p in (1, 1.5, 2, 3, 7, 15)),
]


@pytest.mark.parametrize(("p", "k", "method"), CASES)
def test_values_are_those_of_python_floats(rows, p, k, method):
    """On every processor, to the last bit; after a reload, alone and in a batch too."""
    some = np.vstack([rows[:120], rows[:40] / 7])
    detector = reload(PortableKNN(p=p, n_neighbors=k, method=method).fit(some))
    queries = np.vstack([rows[200:220], np.random.default_rng(0).normal(0, 99, (20, 13))])
    expected = [score(detector, some.tolist(), query) for query in queries.tolist()]
    assert detector.decision_function(queries).tolist() == expected
    assert [detector.decision_function([q])[0] for q in queries.tolist()] == expected
    for number in (0, 119, 159):
        others = np.delete(some, number, axis=0).tolist()
        assert detector.decision_scores_[number] == score(detector, others, some[number].tolist())


def score(detector, rows, query):
    """Score a row with Python floats, added up in the order of the search."""
    order = detector.index_.tree[1].tolist()
    nearest = sorted(measure(row, query, detector.p, order) for row in rows)[: detector.n_neighbors]
    if detector.method == "mean":
        return functools.reduce(operator.add, nearest) / len(nearest)
    return statistics.median(nearest) if detector.method == "median" else nearest[-1]


@pytest.mark.parametrize(("p", "k", "method"), CASES)
def test_pyods_values(rows, p, k, method):
    """Of whole numbers, of equal rows, fewer of them distinct than neighbors, and of fractions."""
    random = np.random.default_rng(0)
    params = {"p": p, "n_neighbors": k, "method": method}
    equal = np.array([[0, 0]] * 30 + [[1, 1]] * 3 + [[9, 0]])
    for table, queries in (
        (rows[:400], rows[300:500]),
        (rows[:400], random.integers(-200, 200, size=(100, 13))),
        (equal, np.array([[0, 0], [1, 1], [5, 5], [9, 0], [2, 1]])),
        random.normal(size=(2, 300, 4)),
        (random.normal(size=(300, 4)), random.integers(-(2**62), 2**62, size=(100, 4))),
    ):
        detector, pyod = PortableKNN(**params).fit(table), KNN(**params).fit(table)
        for name in ("decision_scores_", "threshold_"):
            np.testing.assert_allclose(getattr(detector, name), getattr(pyod, name), rtol=1e-14)
        found, expected = (one.decision_function(queries) for one in (detector, pyod))
        np.testing.assert_allclose(found, expected, rtol=1e-14)
        labels = detector.decision_scores_ > detector.threshold_
        np.testing.assert_array_equal(detector.labels_, labels)


ROWS = np.random.default_rng(0).integers(0, 9, size=(100, 13))
IN_PARTS = np.ones((3, 13), complex), [[1j] * 13] * 2, np.ma.masked_equal(np.ones((3, 13)), 1)
NO_TABLES = [1.0, 2.0], [[1.0], [np.nan]], [[1.0], [np.inf]]


@pytest.mark.parametrize(
    ("params", "rows", "words"),
    [
        ({"metric": "euclidean"}, ROWS, "metric must be minkowski, got 'euclidean'"),
        *(({"p": p}, ROWS, f"p must be from 1 to 15, got {p}") for p in (0.5, 16, np.nan)),
        ({"n_neighbors": 100}, ROWS, "100 rows are too few for 100 neighbors"),
        ({"metric_params": {"w": [1]}}, ROWS, "metric_params must be a plain value"),
        ({}, ROWS, "2 feature names for 13 columns"),
        *(({"n_neighbors": 1}, rows, "got complex or masked ones") for rows in IN_PARTS),
        *(({"n_neighbors": 1}, rows, "expected a table of finite numbers") for rows in NO_TABLES),
    ],
)
def test_what_cannot_be_fitted(params, rows, words):
    with pytest.raises(ValueError, match=words):
        PortableKNN(**params).fit(rows, feature_names=["a", "b"])


def test_what_cannot_be_scored(detector):
    for rows in IN_PARTS:
        with pytest.raises(ValueError, match="got complex or masked ones"):
            detector.decision_function(rows)
    for method in (PortableKNN.decision_function, PortableKNN.p_value):
        with pytest.raises(ValueError, match="not fitted"):
            method(PortableKNN(), [[1.0]])


def test_p_value_counts_scores_at_least_as_large(detector):
    known = detector.decision_scores_
    for value in (0.0, known.min(), np.median(known), 5.1, known.max(), known.max() + 1):
        expected = (1 + np.sum(known >= value)) / (1 + len(known))
        assert detector.p_value([value]) == [expected]
    np.testing.assert_array_equal(np.isnan(detector.p_value([np.nan, 1.0])), [True, False])


def test_the_highest_p_reaches_across_int64():
    rows = np.array([[-(2.0**63)] * 13, [2.0**63] * 13, [0.0] * 13])
    detector = PortableKNN(n_neighbors=1, p=15).fit(np.repeat(rows, 2, axis=0))
    score = detector.decision_function([[2.0**62] * 13])
    assert score == pytest.approx(2.0**62 * 13 ** (1 / 15))
    with pytest.raises(ValueError, match="beyond float64, p = 15"):
        detector.decision_function([[1e300] * 13])
    with pytest.raises(ValueError, match="float64"):
        PortableKNN(n_neighbors=1, p=1.5).fit(rows * 1e280)


@pytest.mark.parametrize("p", [1.5, 2, 2.5, 5])
def test_a_reloaded_detector_scores_the_same_to_the_last_bit(p):
    """Equal variances, whatever adds them up: also rows whose columns lie together."""
    random = np.random.default_rng(0)
    few = random.normal(size=(6, 13))
    rows = few[random.integers(0, 6, 60)]
    rows[:, 7:] = rows[:, :6]  # columns of one variance
    queries = random.normal(size=(200, 13))
    for table in (rows, np.rint(rows * 2.0**55)):
        detector = PortableKNN(n_neighbors=5, p=p).fit(table)
        again = reload(detector)
        expected = detector.decision_function(queries)
        np.testing.assert_array_equal(again.decision_function(queries), expected)
        fortran = PortableKNN(n_neighbors=5, p=p).fit(np.asfortranarray(table))
        np.testing.assert_array_equal(fortran.decision_function(queries), expected)


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


def test_compiles_anew_what_was_kept_and_is_damaged(tmp_path):
    (tmp_path / "doubling.py").write_text("def double(number): return 2 * number")
    for _ in range(2):
        double = runpy.run_path(tmp_path / "doubling.py")["double"]
        assert compiled("int64(int64)")(double)(21) == 42
        (kept,) = tmp_path.glob("__pycache__/*.nbi")
        kept.write_bytes(b"")


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
