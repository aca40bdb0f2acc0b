"""What a stream of requests says, however it is fed."""

import json

import numpy as np
import pytest

from knn_metric.cli import UserError
from knn_metric.data.corruptions import corrupt, parse_corruption
from knn_metric.detection.change import REPEATS
from knn_metric.detection.surprise import FieldSurprise
from knn_metric.detection.verdict import PATIENCE, Stream, add_alert, parse_calibration


@pytest.fixture(scope="module")
def look_at(detector):
    surprise = FieldSurprise.of(detector)

    def look(values, scores=None, size=None, fields=surprise):
        stream = Stream(detector.calibration_, detector.threshold_, fields)
        scores = detector.decision_function(values) if scores is None else scores
        cuts = range(size or len(values), len(values), size or len(values))
        parts = zip(np.split(values, cuts), np.split(scores, cuts), strict=True)
        evidence = np.concatenate([stream.feed(*part) for part in parts])
        return stream.verdict(), evidence

    return look


def breaking(healthy, name, start=300):
    broken = corrupt(parse_corruption(name, healthy), healthy)
    return np.concatenate([healthy.values[:start], broken.values[start:500]])


@pytest.mark.parametrize(
    ("corruption", "field"),
    [("sex-flipped", "sex"), ("age-in-months", "age"), ("flip:classes", "classes")],
)
def test_one_change_of_one_field(corruption, field, look_at, healthy):
    verdict, _ = look_at(breaking(healthy, corruption))
    (change,) = verdict.changes
    assert (change.field, change.began_earlier, verdict.goes_on(change)) == (field, False, True)
    assert abs(change.onset - 300) < 15
    assert change.detected < 360
    assert change.example >= 300
    assert verdict.evidence >= 100_000


def test_without_the_artifact_no_field_is_named(look_at, healthy):
    (change,) = look_at(breaking(healthy, "age-in-months"), fields=None)[0].changes
    assert (change.field, change.detected < 310) == ("", True)
    assert look_at(breaking(healthy, "sex-flipped"), fields=None)[0].changes == ()


def test_it_does_not_depend_on_how_often_one_looks(look_at, healthy):
    values = breaking(healthy, "sex-flipped", start=100)[:180]
    whole, evidence = look_at(values)
    assert whole.changes
    for size in (1, 7, 100):
        parts, same = look_at(values, size=size)
        assert (evidence == same).all()
        assert whole == parts


def test_traffic_that_is_stuck_and_clients_that_retry(look_at, healthy):
    stuck = np.concatenate([healthy.values[:100], np.repeat(healthy.values[100:101], 300, axis=0)])
    (change,) = look_at(stuck)[0].changes
    assert (change.field, change.onset in (100, 101)) == (REPEATS, True)
    assert 300 < change.detected < 400
    for times in (2, 20, 200):
        repeated = np.repeat(healthy.values[: 800 // times], times, axis=0)
        assert look_at(repeated)[0].changes == ()


def test_missing_checks(look_at, detector, healthy):
    scores = detector.decision_function(healthy.values)[:700]
    scores[::120] = np.nan
    verdict, evidence = look_at(healthy.values[:700], scores)
    assert (verdict.changes, verdict.missing) == ((), ())
    assert (verdict.requests, verdict.checked) == (700, 694)
    assert verdict.evidence == evidence[-1]
    verdict, _ = look_at(healthy.values[:20], np.full(20, np.nan))
    assert (verdict.missing[0].detected < 6, verdict.checked) == (True, 0)
    # Requests that are not known are no repeats of each other.
    verdict, _ = look_at(np.full((400, 13), np.nan), np.full(400, np.nan))
    assert verdict.changes == ()
    assert verdict.missing[-1].last > 390


def test_a_metric_that_died_while_clients_poll(look_at, detector, healthy):
    """A dozen requests over and over; and one that is retried and cannot be scored."""
    values = np.tile(healthy.values[:12], (40, 1))
    scores = detector.decision_function(values)
    retried = scores.copy()
    scores[240:] = np.nan
    assert look_at(values, scores)[0].missing[0].detected < 250
    retried[5::12] = np.nan
    assert look_at(values, retried)[0].missing == ()


def test_alerts_that_follow_each_other_are_one_change():
    changes = []
    for position in (10, 50, 50 + PATIENCE, 51 + 4 * PATIENCE):
        add_alert(changes, 8, position, 2e5)
    assert [(one.detected, one.last) for one in changes] == [(10, 150), (451, 451)]


@pytest.mark.parametrize(
    "changes",
    [
        *({"score": one} for one in (None, [[1, 2], [3], [9, 9]], [[1], [-3], [9]])),
        *({"score": one} for one in ([[2, 1], [3, 1], [9, 9]], [[1], [10], [9]])),
        *({"score": one} for one in ([[1], [3, 2], [9]], [[np.nan], [3], [9]], [["a"], [3], [9]])),
        *({"fields": one} for one in ([1], {"age": 5})),
        *({"confidence": one} for one in ("high", 7)),
        *({"copies": 0}, {"window": "wide"}, {"rejected": [1]}, {"rows": 0}, {"alarms": None}),
        *({"alarms": -1}, {"alarms": 9**9}, {"rows": -3}, {"window": np.inf}, {"window": -1}),
        *("", "[]", "7", "null", "{", '"a"', "[" * 100_000),
    ],
)
def test_a_calibration_that_is_malformed_and_what_is_none(changes, detector):
    known = detector.calibration_
    text = changes if isinstance(changes, str) else json.dumps({**known, **changes})
    with pytest.raises(UserError, match=r"artifact.calibration .* cannot be read, \w+: "):
        parse_calibration(text)
    assert [parse_calibration(json.dumps(one)) for one in (known, {})] == [known, {}]
