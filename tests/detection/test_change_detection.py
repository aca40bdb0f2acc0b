"""The e-detector: its guarantee exactly, and what it does with streams."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from monitoring.detection.change_detection import (
    ALERT,
    BLOCK_ALERT,
    STAKES,
    Bets,
    ChangeDetector,
    bound_proportion,
    measure_levels,
    product_of_counts,
)

HELD_OUT = 6513


@pytest.fixture(scope="module")
def training():
    return np.random.default_rng(1).exponential(size=26_048)


@pytest.fixture(scope="module")
def calibration(training):
    held_out = np.random.default_rng(2).exponential(size=HELD_OUT)
    return measure_levels(training, held_out)


@pytest.fixture(scope="module")
def bets(calibration):
    return Bets.of(calibration)


def detect(scores, bets):
    detector = ChangeDetector(bets)
    evidence = [detector.add(score) for score in scores]
    return detector, evidence


class TestCalibration:
    def test_levels_are_those_of_training(self, training, calibration):
        for level, proportion in zip(calibration["levels"], (0.01, 0.05, 0.2, 0.5), strict=True):
            assert np.mean(training > level) == pytest.approx(proportion, abs=1e-4)
        assert calibration["rows"] == HELD_OUT
        assert calibration["above"] == sorted(calibration["above"])

    @pytest.mark.parametrize(("above", "rows"), [(0, 50), (3, 40), (335, 6513), (39, 40)])
    def test_the_bound_is_clopper_and_pearsons(self, above, rows):
        """At the bound so few are seen with a probability of one in a thousand."""
        bound = bound_proportion(above, rows)
        assert binom.cdf(above, rows, bound) == pytest.approx(0.001, rel=1e-6)
        assert bound_proportion(40, 40) == 1.0


class TestBets:
    def test_healthy_traffic_wins_nothing(self, bets, calibration):
        """Under the bound the mean of each factor is at most 1: by enumeration."""
        n_levels = len(calibration["levels"])
        pairs = sorted(zip(calibration["levels"], calibration["above"], strict=True))
        bounds = [bound_proportion(above, HELD_OUT) for _, above in pairs]
        for level, bound in enumerate(bounds):
            for place in range(len(STAKES)):
                bet = level * len(STAKES) + place
                below = {bets.factors[exceeded][bet] for exceeded in range(level + 1)}
                above = {bets.factors[n][bet] for n in range(level + 1, n_levels + 1)}
                assert len(below) == len(above) == 1
                mean = bound * above.pop() + (1 - bound) * below.pop()
                assert mean == pytest.approx(1, rel=1e-12)

    def test_a_score_at_a_level_does_not_exceed_it(self, bets):
        for exceeded, level in enumerate(bets.levels):
            for score, expected in ((level, exceeded), (math.nextafter(level, 9), exceeded + 1)):
                detector = ChangeDetector(bets)
                detector.add(score)
                assert detector.evidence == pytest.approx(np.mean(bets.factors[expected]))

    def test_few_rows_are_still_valid_and_slower(self, training):
        few = Bets.of(measure_levels(training, np.random.default_rng(3).exponential(size=40)))
        many = Bets.of(measure_levels(training, np.random.default_rng(3).exponential(size=4000)))
        found = [detect([99.0] * 100, bets)[0].alerts[0].position for bets in (few, many)]
        assert found[0] > found[1]


class TestStreams:
    def test_evidence_is_the_mean_of_the_sums(self, bets):
        """Against the recursion written with arrays."""
        scores = np.random.default_rng(4).exponential(size=300)
        sums = np.zeros(len(bets.factors[0]))
        for score, reached in zip(scores, detect(scores, bets)[1], strict=True):
            sums = (sums + 1) * bets.factors[np.searchsorted(bets.levels, score)]
            assert reached == pytest.approx(sums.mean())

    def test_healthy_traffic_makes_no_false_alerts(self, bets):
        """A million requests, of which ten alerts are allowed."""
        scores = np.random.default_rng(5).exponential(size=1_000_000)
        exceeded = np.searchsorted(bets.levels, scores).reshape(1000, 1000)
        factors, sums, alerts = np.array(bets.factors), np.zeros((1000, 12)), 0
        for column in exceeded.T:  # a thousand streams side by side
            sums = (sums + 1) * factors[column]
            over = sums.mean(axis=1) >= ALERT
            alerts += over.sum()
            sums[over] = 0
        assert alerts <= 10

    @pytest.mark.parametrize(
        ("rate", "most"), [(1.0, 8), (0.77, 15), (0.41, 40), (0.13, 250)], ids=str
    )
    def test_a_change_is_detected_soon_and_its_onset_is_near(self, rate, most, bets):
        random = np.random.default_rng(6)
        delays, onsets = [], []
        for _ in range(40):
            healthy = random.exponential(size=500)
            broken = np.where(random.random(2000) < rate, 99.0, random.exponential(size=2000))
            detector, _ = detect([*healthy, *broken], bets)
            alert = next(alert for alert in detector.alerts if alert.position >= 500)
            delays.append(alert.position - 499)
            onsets.append(alert.onset - 500)
        assert np.quantile(delays, 0.9) <= most
        assert abs(np.median(onsets)) <= 20

    def test_a_window_never_alerts_where_the_whole_stream_does_not(self, bets):
        scores = np.random.default_rng(7).exponential(size=3000) * 1.25
        detector, whole = detect(scores, bets)
        end = detector.alerts[0].position if detector.alerts else len(scores)
        for start in range(0, end, 97):
            _, part = detect(scores[start:end], bets)
            assert (np.array(part) <= np.array(whole[start:end]) * (1 + 1e-12)).all()

    def test_a_long_alarm_does_not_overflow(self, bets):
        detector, evidence = detect([99.0] * 5000, bets)
        assert np.isfinite(evidence).all()
        assert len(detector.alerts) > 500
        (change,) = detector.changes
        assert (change.onset, change.last) == (0, detector.alerts[-1].position)
        assert detector.goes_on(change)

    def test_a_change_that_is_over(self, bets):
        healthy = np.random.default_rng(8).exponential(size=1000).tolist()
        detector, _ = detect([*healthy, *[99.0] * 50, *healthy], bets)
        (change,) = detector.changes
        assert (change.onset, change.detected) == (1000, 1004)
        assert 1040 < change.last < 1050
        assert not detector.goes_on(change)

    def test_two_changes(self, bets):
        healthy = np.random.default_rng(9).exponential(size=500).tolist()
        broken = [99.0] * 20
        detector, _ = detect([*healthy, *broken, *healthy, *broken], bets)
        assert [change.onset for change in detector.changes] == [500, 1020]

    def test_no_score_and_one(self, bets):
        assert (ChangeDetector(bets).evidence, ChangeDetector(bets).changes) == (0.0, [])
        assert detect([99.0], bets)[0].changes == []

    def test_ties_at_every_level(self, training):
        """Training scores that are all the same leave levels that healthy rows do not exceed."""
        bets = Bets.of(measure_levels(np.ones(100), np.ones(50)))
        assert detect([1.0] * 10_000, bets)[0].alerts == []
        assert detect([2.0] * 100, bets)[0].alerts != []


class TestBlocks:
    def test_it_is_the_product_of_the_factors(self, bets):
        scores = np.random.default_rng(10).exponential(size=200)
        exceeded = np.searchsorted(bets.levels, scores)
        expected = np.mean(np.prod(np.array(bets.factors)[exceeded], axis=0))
        counts = np.bincount(exceeded, minlength=5)
        assert product_of_counts(counts, bets) == pytest.approx(expected)

    def test_millions_of_rows_within_the_bound_are_not_a_change(self, bets, calibration):
        """5.4% above the threshold where 5.1% were held out."""
        above = np.array([0, *np.array(calibration["above"][::-1]) * 1.02 / HELD_OUT, 0])
        exceeded = np.round(-np.diff(np.append(1, above[1:])) * 10_000_000).astype(int)
        assert product_of_counts(exceeded, bets) < BLOCK_ALERT

    def test_a_day_of_alarms_is_one_however_long(self, bets):
        assert product_of_counts(np.array([0, 0, 0, 0, 10**6]), bets) == math.inf
        assert product_of_counts(np.array([0, 0, 0, 0, 1]), bets) < BLOCK_ALERT
