"""Coordinates of rows, against Wilson and Martinez's HVDM taken row by row."""

import math
import pickle

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_wine

from portable_knn import PortableKNN
from portable_knn.hvdm import FAR, HeterogeneousDistance, learn_encodings

NUMBERS, OUTCOME = [0, 10], 12


@pytest.fixture(scope="module")
def training(rows):
    return rows[:5600]


@pytest.fixture(scope="module")
def encodings(training):
    return learn_encodings(training, NUMBERS, OUTCOME)


@pytest.fixture(scope="module")
def distance(encodings):
    return HeterogeneousDistance(encodings)


@pytest.fixture(scope="module")
def detector(training, encodings):
    return PortableKNN(n_neighbors=5, p=2, contamination=0.05).fit(training, encodings=encodings)


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
    codes, outcome = learn_encodings(rows, [], 1)
    assert codes == {0.0: math.sqrt(2) * 1.5 / 2, 1.0: math.sqrt(2) * 1.5 / 4}
    assert outcome == {0.0: 0.0, 1.0: 1.0}


def test_a_number_that_never_varies_still_has_a_scale():
    rows = np.array([[7, 0], [7, 1]])
    assert learn_encodings(rows, [0], 1)[0] == 1.0


def test_deviations_do_not_depend_on_the_order_of_rows():
    random = np.random.default_rng(0)
    rows = np.column_stack([random.normal(size=1000) * 1e6, np.arange(1000) % 2])
    assert len({learn_encodings(random.permutation(rows), [0], 1)[0] for _ in range(20)}) == 1


def test_the_outcome_must_differ_where_codes_are_told_apart_by_it():
    rows = np.column_stack([np.arange(3), [1, 1, 1]])
    with pytest.raises(ValueError, match=r"the outcome must differ between rows, got \[1\] in all"):
        learn_encodings(rows, [], 1)
    assert learn_encodings(rows, [0], 1)[1] == {1.0: 0.0}


def brute_force(x, y, rows, numbers, outcome, classes):
    """HVDM by the paper's formulas: normalized_diff of numbers, normalized_vdm2 of codes.

    ``classes`` are those of the outcome's rows; the outcome's own column counts 1 if it differs, or
    as a number. Proportions are estimated with one row more, of the overall proportions.
    """
    total = 0.0
    for column in range(rows.shape[1]):
        known = rows[:, column]
        if column in numbers:
            total += ((x[column] - y[column]) / (4 * known.std() or 1)) ** 2
        elif column == outcome:
            total += float(x[column] != y[column])
        else:
            for one in np.unique(classes):
                proportions = []
                for code in (x[column], y[column]):
                    same = classes[known == code] == one
                    overall = np.mean(classes == one)
                    proportions.append((same.sum() + overall) / (len(same) + 1))
                total += (proportions[0] - proportions[1]) ** 2
    return math.sqrt(total)


class TestOutcomes:
    """scikit-learn's own data, three columns of which are cut into codes."""

    @pytest.fixture(params=["three classes", "a number", "no codes", "two values"])
    def problem(self, request):
        """Return rows, the columns that hold numbers, and the classes that tell codes apart."""
        if request.param == "three classes":
            features, outcomes = load_wine(return_X_y=True)
            numbers = [3, 4, 5]
        else:
            features, outcomes = load_diabetes(return_X_y=True)
            numbers = [3, 4, 5, 6]
        features = features[:, :6].copy()
        for column in range(3):
            edges = np.quantile(features[:, column], [0.25, 0.5, 0.75])
            features[:, column] = np.searchsorted(edges, features[:, column])
        if request.param == "no codes":
            features, numbers = features[:, 3:], [0, 1, 2, 3]
        classes = outcomes
        if request.param == "a number":
            edges = np.quantile(outcomes, [0.2, 0.4, 0.6, 0.8])
            classes = np.searchsorted(edges, outcomes, side="right")
        if request.param == "two values":
            classes = outcomes = np.where(outcomes > np.median(outcomes), 7.5, -2.0)
            numbers = [3, 4, 5]
        return np.column_stack([features, outcomes]), numbers, classes

    def test_the_papers_distance(self, problem):
        rows, numbers, classes = problem
        outcome = rows.shape[1] - 1
        distance = HeterogeneousDistance(learn_encodings(rows, numbers, outcome))
        located = distance.transform(rows[:60])
        for x, at_x in zip(rows[:20], located[:20], strict=True):
            for y, at_y in zip(rows[20:60], located[20:60], strict=True):
                expected = brute_force(x, y, rows, numbers, outcome, classes)
                assert math.dist(at_x, at_y) == pytest.approx(expected, rel=1e-9, abs=1e-9)

    def test_it_is_searched_and_travels(self, problem):
        rows, numbers, _ = problem
        encodings = learn_encodings(rows, numbers, rows.shape[1] - 1)
        detector = PortableKNN(n_neighbors=5, p=2).fit(rows, encodings=encodings)
        again = pickle.loads(pickle.dumps(detector, protocol=4))
        scores = detector.decision_function(rows)
        np.testing.assert_array_equal(again.decision_function(rows), scores)
        located = detector.coordinates(rows)
        for at, score in zip(located[:20], scores[:20], strict=True):
            expected = np.sort(np.sqrt(((located - at) ** 2).sum(axis=1)))[4]
            assert score == pytest.approx(expected, rel=1e-12)

    def test_a_code_that_training_never_saw_is_far(self, problem):
        rows, numbers, _ = problem
        detector = PortableKNN(n_neighbors=5, p=2)
        detector.fit(rows, encodings=learn_encodings(rows, numbers, rows.shape[1] - 1))
        for column in set(range(rows.shape[1])) - set(numbers):
            some = rows[:3].copy()
            some[:, column] = 99
            assert (detector.decision_function(some) > detector.decision_scores_.max()).all()


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
        encodings = learn_encodings(rows, [0], 1)
        detector = PortableKNN(n_neighbors=5, p=2).fit(rows, encodings=encodings)
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

    @pytest.mark.parametrize(
        ("params", "n_encodings", "words"),
        [({"p": 5}, 13, "p = 2, got p = 5"), ({"p": 2}, 12, "12 encodings for 13 columns")],
    )
    def test_what_does_not_fit_is_refused(self, training, encodings, params, n_encodings, words):
        with pytest.raises(ValueError, match=words):
            PortableKNN(**params).fit(training, encodings=encodings[:n_encodings])

    def test_it_travels(self, rows, detector):
        again = pickle.loads(pickle.dumps(detector, protocol=4))
        assert again.encodings_ == detector.encodings_
        expected = detector.decision_function(rows)
        np.testing.assert_array_equal(again.decision_function(rows), expected)

    def test_a_changed_encoding_is_refused(self, detector):
        state = detector.__getstate__()
        state["content"]["measures"][1][0.0] += 1e-9
        with pytest.raises(ValueError, match="does not match its digest"):
            PortableKNN.__new__(PortableKNN).__setstate__(state)
