"""The second of a time, whatever its type and spelling."""

from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pytest

from knn_metric.data.times import NO_TIME, looks_like_time, read_times

SECOND = 1_772_425_800  # 2026-03-02T04:30:00Z
MIDNIGHT = SECOND - 16_200


def second(value, kind=None):
    (found,) = read_times(pa.chunked_array([pa.array([value], kind)]))
    return found


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("2026-03-01T23:30:00-05:00", None),
        ("2026-03-02T04:30:00Z", None),
        ("2026-03-02 04:30:00", pa.large_string()),
        ('{"$date": "2026-03-02T04:30:00Z"}', None),
        (f'{{"$date": {{"$numberLong": "{1000 * SECOND}"}}}}', None),
        (f'{{"$date": {1000 * SECOND}}}', None),
        (str(1000 * SECOND), None),
        (SECOND, pa.int32()),
        (SECOND, pa.int64()),
        (1000 * SECOND, pa.int64()),
        (10**6 * SECOND, pa.int64()),
        (10**9 * SECOND, pa.uint64()),
        (SECOND + 0.5, pa.float64()),
        (1000.0 * SECOND, pa.float64()),
        (datetime(2026, 3, 2, 4, 30), pa.timestamp("ns")),
        (datetime(2026, 3, 2, 4, 30), pa.timestamp("s", "America/New_York")),
    ],
)
def test_each_spelling_of_one_second(value, kind):
    assert second(value, kind) == SECOND


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("2026-03-02", None, MIDNIGHT),
        (date(2026, 3, 2), pa.date32(), MIDNIGHT),
        (date(2026, 3, 2), pa.date64(), MIDNIGHT),
        (datetime(1969, 12, 31, 23), pa.timestamp("ms"), -3600),
        ("1969-12-31T23:00:00Z", None, -3600),
    ],
)
def test_a_date_is_its_midnight_and_1969_is_before_zero(value, kind, expected):
    assert second(value, kind) == expected


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("n/a", None),
        ("", None),
        (None, pa.string()),
        (None, pa.int64()),
        (None, pa.timestamp("s")),
        ("2026-03-02-request-7", None),
        ("noon", None),
        ('{"$date": "noon"}', None),
        ('{"$date": null}', None),
        ("{" * 5000, None),
        (7, pa.int64()),
        (np.nan, pa.float64()),
        (np.inf, pa.float64()),
        (2**64 - 1, pa.uint64()),
        (253_402_300_800 * 10, pa.timestamp("s")),  # after the year 9999
        ("0001-01-01", None),
        ("9999-12-31T00:00:00Z", None),
        (date(1, 1, 1), pa.date32()),
        (1e300, pa.float64()),
        (True, None),
        ([1], None),
    ],
)
def test_what_is_no_time_has_no_second(value, kind):
    assert second(value, kind) == NO_TIME


@pytest.mark.parametrize(
    ("cell", "expected"),
    [("2026-03-02", True), ("39", False), ("1772425800000", False), ("x", False), (None, False)],
)
def test_a_number_alone_does_not_look_like_a_time(cell, expected):
    assert looks_like_time(cell) == expected
