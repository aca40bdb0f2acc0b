"""PortableKNN: its values to the last bit, and pyod's to a relative 1e-14."""

import functools
import itertools
import operator
import statistics

import numpy as np
import pytest
from helpers import measure, reload
from pyod.models.knn import KNN

from portable_knn import PortableKNN

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
        for find in (
            lambda one: one.decision_scores_,
            lambda one: one.threshold_,
            lambda one: one.decision_function(queries),  # noqa: B023
        ):
            np.testing.assert_allclose(find(detector), find(pyod), rtol=1e-14)
        labels = detector.decision_scores_ > detector.threshold_
        np.testing.assert_array_equal(detector.labels_, labels)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"metric": "euclidean"}, "metric must be minkowski, got 'euclidean'"),
        *(({"p": p}, f"p must be from 1 to 15, got {p}") for p in (0.5, 16, np.nan)),
        ({"n_neighbors": 100}, "100 rows are too few for 100 neighbors"),
        ({"metric_params": {"w": [1]}}, "metric_params must be a plain value"),
        ({}, "2 feature names for 13 columns"),
    ],
)
def test_what_cannot_be_saved_or_searched_is_refused(rows, params, words):
    with pytest.raises(ValueError, match=words):
        PortableKNN(**params).fit(rows[:100], feature_names=["a", "b"])


MASKED = np.ma.masked_equal(np.ones((3, 13)), 1)


@pytest.mark.parametrize("rows", [np.ones((3, 13), complex), [[1j] * 13] * 2, MASKED])
def test_what_would_lose_a_part_is_refused(rows, detector):
    for call in (detector.decision_function, PortableKNN(n_neighbors=1).fit):
        with pytest.raises(ValueError, match="got complex or masked ones"):
            call(rows)


@pytest.mark.parametrize(
    ("method", "rows", "words"),
    [
        *(
            (PortableKNN.fit, rows, "expected a table of finite numbers")
            for rows in ([1.0, 2.0], [[1.0], [np.nan]], [[1.0], [np.inf]])
        ),
        (PortableKNN.decision_function, [[1.0]], "not fitted"),
        (PortableKNN.p_value, [1.0], "not fitted"),
    ],
)
def test_training_rows_are_a_table_and_come_first(method, rows, words):
    with pytest.raises(ValueError, match=words):
        method(PortableKNN(n_neighbors=1), rows)


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
