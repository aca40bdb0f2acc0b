"""Which feature a score comes from."""

import numpy as np
import pytest

from monitoring.cli import UserError
from monitoring.detection.attribution import Attribution, find_excess
from portable_knn import PortableKNN

NAMES = [f"field_{number}" for number in range(13)]


@pytest.fixture(scope="module")
def training(rows):
    return rows[:2000].astype(float)


@pytest.fixture(scope="module")
def detector(training):
    return PortableKNN(n_neighbors=15, p=5).fit(training, feature_names=NAMES)


CALIBRATION = {"rows": 6513, "top_features": {"age": 40, "hours": 119, "classes": 5}}


class TestProportions:
    @pytest.mark.parametrize("p", [1, 1.5, 2, 5])
    def test_they_make_the_score(self, training, rows, p):
        detector = PortableKNN(n_neighbors=15, p=p).fit(training, feature_names=NAMES)
        wild = np.vstack([rows[2000:2200], np.random.default_rng(0).integers(-9, 99, (99, 13))])
        proportions, neighbors = Attribution(detector).proportions(wild)
        powers = np.abs(wild - neighbors.astype(float)) ** p
        scores = detector.decision_function(wild)
        np.testing.assert_allclose(powers.sum(axis=1), scores**p, rtol=1e-12)
        np.testing.assert_allclose(proportions * scores[:, None] ** p, powers, rtol=1e-12)
        np.testing.assert_allclose(proportions[scores > 0].sum(axis=1), 1, rtol=1e-12)
        assert not proportions[scores == 0].any()


class TestScoresWithout:
    def test_they_are_those_of_the_other_features(self, detector, rows):
        """Against the distance to the k-th neighbor, taken one by one."""
        some = rows[2000:2010]
        scores = Attribution(detector).scores_without(some)
        known = detector.training_rows_.astype(float)
        for feature in range(13):
            others = np.delete(np.arange(13), feature)
            for row, found in zip(some, scores[:, feature], strict=True):
                gaps = np.abs(known[:, others] - row[others]) ** detector.p
                distances = np.sort(gaps.sum(axis=1) ** (1 / detector.p))
                assert found == pytest.approx(distances[detector.n_neighbors - 1], rel=1e-9)

    def test_they_are_never_higher(self, detector, rows):
        scores = detector.decision_function(rows[2000:2100])
        without = Attribution(detector).scores_without(rows[2000:2100])
        assert (without <= scores[:, None] * (1 + 1e-12)).all()

    def test_the_only_feature(self):
        detector = PortableKNN(n_neighbors=2).fit([[1.0], [2.0], [4.0]], feature_names=["age"])
        attribution = Attribution(detector)
        assert attribution.scores_without([[9.0]]).tolist() == [[0.0]]
        assert attribution.top_features([[9.0]]) == ["age"]


def test_the_top_feature_is_the_one_that_broke(detector, rows):
    for column in (0, 10):
        some = rows[2000:2050].copy()
        some[:, column] = 900
        assert set(Attribution(detector).top_features(some)) == {NAMES[column]}


def test_a_mean_of_distances_cannot_be_attributed(training):
    detector = PortableKNN(method="mean").fit(training[:100], feature_names=NAMES)
    with pytest.raises(UserError, match="by method 'mean' cannot be attributed"):
        Attribution(detector)


class TestExcess:
    def test_it_is_what_exceeds_the_usual_most(self):
        """Hours are named more often, as they are in healthy traffic."""
        tops = ["hours"] * 20 + ["classes"] * 12 + ["age"] * 5
        excess = find_excess(tops, 1000, CALIBRATION)
        assert (excess.feature, excess.requests, excess.of) == ("classes", 12, 1000)
        assert str(excess) == "classes: 12 of 1,000 requests, 1 usual"

    def test_a_feature_that_was_never_named(self):
        excess = find_excess(["sex"] * 2 + ["hours"] * 20, 1000, CALIBRATION)
        assert excess.feature == "sex"

    def test_nothing_exceeds_the_usual(self):
        assert find_excess(["hours"] * 10, 1000, CALIBRATION) is None
        assert find_excess([], 1000, CALIBRATION) is None
