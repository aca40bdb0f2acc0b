"""What training says of fields that decide the score, or that no metric should take; clocks."""

import numpy as np
import pytest

from knn_metric.cli import UserError
from knn_metric.data.cells import NO_TIME
from knn_metric.data.rows import Rows
from knn_metric.detection.calibration import LEAST, describe_clock, group_by_clock
from knn_metric.detection.training import find_unfit, format_training, share_score, train

N = 2000
RANDOM = np.random.default_rng(0)
PLAIN = RANDOM.normal(size=N)
MONDAY = 4 * 86_400  # 1970-01-05, in epoch seconds


def make_rows(columns, times=None):
    values = np.array(columns, dtype=float).T
    m = len(columns)
    names, kinds = tuple(f"f{place}" for place in range(m)), ("float64",) * m
    return Rows(names, values, (False,) * m, kinds, "mine.csv", "0" * 64, times=times)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (1.7e9 + 60.5 * np.arange(N), "leaves in the last tenth"),  # a timestamp
        (np.arange(N), "leaves in the last tenth"),  # a counter
        (-np.arange(N) // 7, "leaves in the last tenth"),  # one that runs down
        (RANDOM.permutation(10**6)[:N], "has a value of its own"),  # an id
        (np.arange(N) % 50, None),
        (RANDOM.lognormal(size=N), None),  # an amount
        (np.ones(N), None),
    ],
)
def test_fields_that_no_metric_should_take(column, words):
    found = find_unfit(make_rows([PLAIN, column]))
    assert list(found) == (["f1"] if words else [])
    assert found.get("f1", "").startswith(words or "")


def test_later_is_by_time_where_rows_have_one():
    order = RANDOM.permutation(N)
    assert find_unfit(make_rows([PLAIN, order / 2])) == {}
    assert list(find_unfit(make_rows([PLAIN, order / 2], times=order))) == ["f1"]


@pytest.fixture
def say(tmp_path):
    def say(columns, **params):
        rows = make_rows(columns)
        detector, scores = train(rows, **params)
        detector.save(tmp_path / "a")
        said = format_training(detector, scores, rows, None, tmp_path / "a", tmp_path / "a.png")
        return detector, dict(line.split(None, 1) for line in said.splitlines())

    return say


@pytest.mark.parametrize(("scale", "warned"), [(1000, True), (1, False)])
def test_fields_that_decide_the_score(scale, warned, say):
    columns = RANDOM.normal(size=(10, N)) * np.where(np.arange(10) < 3, scale, 1)[:, None]
    detector, said = say(columns, p=2)
    shares = share_score(detector)
    assert sum(shares.values()) == pytest.approx(1)
    assert (sum(shares[f"f{place}"] for place in range(3)) > 0.9) == warned
    words = "of the score, since their numbers differ most"
    assert (words in said.get("scale", "")) == ("scale" in said) == warned
    assert f"f0 {shares['f0']:.0%}" in said["fields"]


def test_ties(say):
    """Scores of whole numbers: so many have the threshold's that few are above it."""
    column = np.repeat(np.arange(N // 40) * 2.0, 40)
    column[-3:] += 500
    detector, said = say([column, column % 2])
    above = np.mean(detector.decision_scores_ > detector.threshold_)
    assert above < 0.025
    assert said["ties"].startswith(f"{above:.2%} are above the threshold and not the 5.00% asked")
    assert "ties" not in say([PLAIN, PLAIN[::-1]])[1]


def test_too_few_rows_for_the_neighbors():
    rows = make_rows([PLAIN[:36], PLAIN[36:72]])
    with pytest.raises(UserError, match="training part, too few for 15 neighbors: expected 30"):
        train(rows)
    assert len(train(make_rows([PLAIN[:38], PLAIN[:38]]))[1]) == 8


def test_neighbours_are_put_together_until_there_are_enough():
    times = MONDAY + np.arange(6 * LEAST) * 3600
    groups = group_by_clock(times)
    assert [group.name for group in groups] == [
        *("00-03h", "04-07h", "08-11h", "12-15h", "16-19h", "20-23h"),
        *("Mon-Tue", "Wed-Thu", "Fri-Sun"),
    ]
    for group in groups:
        assert len(group.positions) >= LEAST
    hours = times[groups[1].positions] // 3600 % 24
    assert set(hours) == {4, 5, 6, 7}
    assert sum(len(group.positions) for group in groups[:6]) == len(times)


def test_office_hours_of_one_day_and_rows_without_a_time():
    times = np.full(3 * LEAST, NO_TIME)
    times[: 2 * LEAST] = MONDAY + 3600 * np.where(np.arange(2 * LEAST) % 2, 9, 17)
    groups = group_by_clock(times)
    assert [group.name for group in groups] == ["09h", "17h"]
    assert max(groups[1].positions) < 2 * LEAST
    assert group_by_clock(np.full(10, MONDAY)) == []
    assert group_by_clock(np.full(10, NO_TIME)) is group_by_clock(None) is None
    assert "no times" in describe_clock(None)
