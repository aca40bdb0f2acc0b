"""The e-detector: its guarantee exactly, and what it does with streams."""

import numpy as np
import pytest
from scipy.stats import binom

from knn_metric.detection.change import (
    PASSED_OVER,
    REPEATED,
    REPEATS,
    STAKES,
    Bets,
    Evidence,
    Levels,
    Repeats,
    bound_proportion,
    make_factors,
)

CONFIDENCE = 0.99998
SCORE = Levels([1.0, 2.0, 3.0, 4.0], [3250, 1300, 330, 70], [6513] * 4)
CALIBRATION = {
    "confidence": CONFIDENCE,
    "copies": 1.0,
    "score": list(SCORE),
    "fields": {"age": [[1.0, 2.0], [1300, 70], [6513, 6513]], "sex": [[1.0], [325], [6513]]},
}
BETS = Bets.of(CALIBRATION)


class TestBounds:
    @pytest.mark.parametrize(("above", "rows"), [(0, 50), (3, 40), (335, 6513), (39, 40)])
    def test_they_are_clopper_and_pearsons(self, above, rows):
        """At the bound so few are seen with a probability of one in a thousand."""
        bound = bound_proportion(above, rows, 0.999)
        assert binom.cdf(above, rows, bound) == pytest.approx(0.001, rel=1e-6)
        assert bound_proportion(40, 40, 0.999) == 1.0

    def test_copies_of_rows_say_no_more_than_one(self):
        assert bound_proportion(30, 400, 0.999, copies=10) == bound_proportion(3, 40, 0.999)


class TestBets:
    def test_healthy_traffic_wins_nothing(self):
        """Under the bound the mean of each factor is at most 1, also of those not passed over."""
        factors = make_factors(SCORE.bounds(CONFIDENCE, 1.0))
        for level, (above, rows) in enumerate(zip(SCORE.above, SCORE.rows, strict=True)):
            bound = bound_proportion(above, rows, CONFIDENCE) / (1 - PASSED_OVER)
            for bet in range(level * len(STAKES), (level + 1) * len(STAKES)):
                below, over = set(factors[: level + 1, bet]), set(factors[level + 1 :, bet])
                mean = bound * over.pop() + (1 - bound) * below.pop()
                assert (below, over) == (set(), set())
                assert mean == pytest.approx(1, rel=1e-12)

    def test_half_is_the_scores_and_half_the_fields(self):
        assert BETS.weights[0].sum() == pytest.approx(0.5)
        assert BETS.weights[1:].sum() + BETS.repeated == pytest.approx(0.5)
        assert BETS.weights[1].sum() == pytest.approx(BETS.repeated)

    def test_a_value_at_a_level_does_not_exceed_it(self):
        values = np.array([[1.0, 2.0, 1.0], [np.nextafter(1, 9), 2.1, 1.1], [9, 9, 9]])
        assert BETS.exceeded(values).tolist() == [[0, 1, 0], [1, 2, 1], [4, 2, 1]]

    def test_the_strongest_field(self):
        rows = np.array([[4, 2, 0]] * 5)
        assert BETS.strongest(rows) == "age"  # never the score
        assert BETS.strongest(rows * [1, 0, 0]) == ""
        assert BETS.strongest(np.array([[0, 0, 1]] * 9 + [[0, 2, 0]])) == "sex"
        assert BETS.strongest(rows[:0], equal_in_a_row=3) == REPEATS


class TestRepeats:
    @pytest.mark.parametrize("window", [0, 1, 5])
    def test_it_equals_one_of_the_last(self, window):
        keys = np.random.default_rng(window).integers(0, 6, 500).tolist()
        repeats = Repeats(window)
        for n, key in enumerate(keys):
            assert repeats.add(key) == (key in keys[max(n - window, 0) : n])

    def test_equal_in_a_row_whatever_the_window(self):
        repeats = Repeats(0)
        in_a_row = [(repeats.add(key), repeats.equal_in_a_row)[1] for key in "aabbbc"]
        assert in_a_row == [0, 1, 0, 1, 2, 0]


class TestEvidence:
    def test_it_is_the_weighted_mean_of_the_sums(self):
        """Against the recursion written with loops."""
        random, evidence = np.random.default_rng(4), Evidence(BETS, window=3)
        rows = random.integers(0, [5, 3, 2], (60, 3))
        keys = random.integers(0, 20, 60).tolist()
        sums, repeated = np.zeros(BETS.weights.shape), 0.0
        for n, (row, key) in enumerate(zip(rows, keys, strict=True)):
            (betting,), (alerted,), _ = evidence.add(row[None], [key])
            assert betting == (key not in keys[max(n - 3, 0) : n])
            if betting:
                for source, place in np.ndindex(sums.shape):
                    factor = BETS.factors[source, row[source], place]
                    sums[source, place] = (sums[source, place] + 1) * factor
            repeated = (repeated + 1) / REPEATED if n and key == keys[n - 1] else 0.0
            expected = np.sum(sums * BETS.weights) + BETS.repeated * repeated
            assert evidence.evidence[0] == pytest.approx(expected)
            if alerted:
                sums[:], repeated = 0, 0.0

    def test_streams_side_by_side_are_as_each_alone(self):
        random = np.random.default_rng(5)
        rows = random.integers(0, [5, 3, 2], (3, 200, 3))
        keys = random.integers(0, 99, (3, 200))
        together = Evidence(BETS, 10, 3)
        alone = [Evidence(BETS, 10) for _ in range(3)]
        for n in range(200):
            found = together.add(rows[:, n], keys[:, n].tolist())
            each = [one.add(rows[s, n][None], [keys[s, n]]) for s, one in enumerate(alone)]
            assert together.evidence.tolist() == [one.evidence[0] for one in alone]
            np.testing.assert_array_equal(found, np.array(each)[..., 0].T)

    def test_a_long_change_does_not_overflow(self):
        evidence, n_alerts = Evidence(BETS, 0), 0
        for n in range(3000):
            _, (alerted,), (onset,) = evidence.add(np.array([[4, 2, 1]]), [n])
            assert np.isfinite(evidence.evidence[0])
            n_alerts += alerted
            assert not alerted or n - onset < 10
        assert n_alerts > 300
