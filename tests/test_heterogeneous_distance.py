"""Coordinates of rows, against Wilson and Martinez's HVDM taken row by row."""

import math
import pickle

from lib import origin

import numpy as np
import pytest

from heterogeneous_distance import FAR, HeterogeneousDistance, learn_measures
from portable_knn import PortableKNN

NUMBERS, OUTCOME = [0, 10], 12


@pytest.fixture(scope="module")
def training(rows):
    return origin.split(rows)[0]


@pytest.fixture(scope="module")
def measures(training):
    return learn_measures(training, NUMBERS, OUTCOME)


@pytest.fixture(scope="module")
def distance(measures):
    return HeterogeneousDistance(measures)


@pytest.fixture(scope="module")
def detector(training, measures):
    return PortableKNN(n_neighbors=5, p=2, contamination=0.05).fit(training, measures=measures)


def hvdm(x, y, training):
    """The paper's formula: numbers over four deviations, normalized_vdm2 over both classes."""
    total = 0.0
    outcomes = training[:, OUTCOME]
    for column in range(13):
        known = training[:, column]
        if column in NUMBERS:
            total += ((x[column] - y[column]) / (4 * known.std())) ** 2
        elif column == OUTCOME:
            total += (x[column] - y[column]) ** 2
        else:
            for outcome in (0, 1):
                shares = []
                for code in (x[column], y[column]):
                    same = outcomes[known == code] == outcome
                    shares.append((same.sum() + (outcomes == outcome).mean()) / (len(same) + 1))
                total += (shares[0] - shares[1]) ** 2
    return math.sqrt(total)


def test_the_papers_distance(training, distance):
    some = training[:40]
    coordinates = distance.transform(some)
    for x, at_x in zip(some[:20], coordinates[:20], strict=True):
        for y, at_y in zip(some[20:], coordinates[20:], strict=True):
            expected = hvdm(x, y, training)
            assert math.dist(at_x, at_y) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_code_of_few_rows_is_drawn_to_the_overall_share():
    rows = np.array([[0, 1], [1, 0], [1, 0], [1, 1]])
    codes, outcome = learn_measures(rows, [], 1)
    assert codes == {0.0: math.sqrt(2) * 1.5 / 2, 1.0: math.sqrt(2) * 1.5 / 4}
    assert outcome == {0.0: 0.0, 1.0: 1.0}


def test_a_number_that_never_varies_still_has_a_measure():
    rows = np.array([[7, 0], [7, 1]])
    assert learn_measures(rows, [0], 1)[0] == 1.0


def test_deviations_do_not_depend_on_the_order_of_rows():
    random = np.random.default_rng(0)
    rows = np.column_stack([random.normal(size=1000) * 1e6, np.arange(1000) % 2])
    assert len({learn_measures(random.permutation(rows), [0], 1)[0] for _ in range(20)}) == 1


@pytest.mark.parametrize("outcomes", [[0, 0, 0], [1, 1, 1], [0, 1, 2], [0.5, 0, 1]])
def test_the_outcome_must_be_both(outcomes):
    rows = np.column_stack([np.arange(3), outcomes])
    with pytest.raises(ValueError, match="the outcome must be 0 in some rows and 1 in the others"):
        learn_measures(rows, [], 1)


@pytest.mark.parametrize("kind", [int, float, np.int64, np.float64])
def test_one_row_as_in_a_batch(rows, distance, kind):
    some = np.vstack([rows[:200], np.random.default_rng(0).integers(-3, 99, (200, 13))])
    batch = distance.transform(some)
    for row, expected in zip(some, batch, strict=True):
        alone = distance.transform([list(map(kind, row.tolist()))])
        np.testing.assert_array_equal(alone, [expected])


def test_what_is_given_stays_as_it_is(rows, distance):
    floats = rows[:10].astype(float)
    distance.transform(floats)
    np.testing.assert_array_equal(floats, rows[:10])


class TestUnseenCodes:
    @pytest.mark.parametrize("code", [99, -1, 3.5, 2.0**62])
    @pytest.mark.parametrize("column", [c for c in range(13) if c not in NUMBERS])
    def test_each_always_alarms(self, training, detector, column, code):
        some = training[:20].astype(float)
        some[:, column] = code
        assert (detector.decision_function(some) > detector.decision_scores_.max()).all()
        alone = detector.decision_function([some[0].tolist()])
        assert alone == detector.decision_function(some)[:1]

    def test_they_are_beyond_what_training_can_score(self):
        """One number among zeros is as far off, in deviations, as one of n rows can be."""
        rows = np.array([[0, n % 2] for n in range(9999)] + [[10**9, 1]])
        measures = learn_measures(rows, [0], 1)
        detector = PortableKNN(n_neighbors=5, p=2).fit(rows, measures=measures)
        assert 10 < detector.decision_scores_.max() < FAR / 1000

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("n_rows", [1, 2])
    def test_what_is_not_finite_is_refused(self, training, detector, value, n_rows):
        for column in (0, 1, OUTCOME):
            some = training[:n_rows].astype(float)
            some[-1, column] = value
            with pytest.raises(ValueError, match="NaN or infinity"):
                detector.decision_function(some.tolist())

    @pytest.mark.parametrize("some", [[[1.0] * 12], [1.0] * 13, np.empty((0, 13))])
    def test_another_shape_is_refused(self, detector, some):
        with pytest.raises(ValueError, match=r"expected rows of shape \(n, 13\)"):
            detector.decision_function(some)


class TestDetector:
    def test_it_searches_exactly(self, training, rows, detector, distance):
        coordinates = distance.transform(training)
        for row in rows[-30:]:
            (at,) = distance.transform(row[None])
            expected = np.sort(np.sqrt(((coordinates - at) ** 2).sum(axis=1)))[4]
            assert detector.decision_function(row[None])[0] == pytest.approx(expected, rel=1e-12)

    def test_its_shares_are_of_coordinates(self, rows, detector, distance):
        shares, neighbors = detector.explain(rows[-200:])
        gaps = np.subtract(distance.transform(rows[-200:]), distance.transform(neighbors))
        scores = detector.decision_function(rows[-200:])
        np.testing.assert_allclose(shares * scores[:, None] ** 2, gaps**2, rtol=1e-9, atol=1e-15)

    @pytest.mark.parametrize(
        ("params", "n_measures", "words"),
        [({"p": 5}, 13, "p = 2, got p = 5"), ({"p": 2}, 12, "12 measures for 13 columns")],
    )
    def test_what_does_not_fit_is_refused(self, training, measures, params, n_measures, words):
        with pytest.raises(ValueError, match=words):
            PortableKNN(**params).fit(training, measures=measures[:n_measures])

    def test_it_travels(self, rows, detector):
        again = pickle.loads(pickle.dumps(detector, protocol=4))
        assert again.measures_ == detector.measures_
        expected = detector.decision_function(rows)
        np.testing.assert_array_equal(again.decision_function(rows), expected)

    def test_a_changed_measure_is_refused(self, detector):
        state = detector.__getstate__()
        state["content"]["measures"][1][0.0] += 1e-9
        with pytest.raises(ValueError, match="does not match its digest"):
            PortableKNN.__new__(PortableKNN).__setstate__(state)
