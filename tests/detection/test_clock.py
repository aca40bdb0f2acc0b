"""Groups of rows by the clock."""

import numpy as np

from knn_metric.data.cells import NO_TIME
from knn_metric.detection.calibration import LEAST, describe_clock, group_by_clock

MONDAY = 4 * 86_400  # 1970-01-05, in epoch seconds


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


def test_too_few_rows_and_none_with_a_time():
    assert group_by_clock(np.full(10, MONDAY)) == []
    assert group_by_clock(np.full(10, NO_TIME)) is None
    assert group_by_clock(None) is None
    assert "no times" in describe_clock(None)
