"""Times and numbers, whatever their type and spelling."""

from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pytest

from knn_metric.data.cells import NO_TIME, look_like_times, read_number, read_times

SECOND = 1_772_425_800  # 2026-03-02T04:30:00Z
MIDNIGHT = SECOND - 16_200
NO_NUMBERS = [
    *(7, "7", None, {"$oid": "55"}, {"$numberInt": "1.5"}, {"$numberLong": "3", "more": 1}),
    *({"$numberLong": value} for value in (True, 3.9, "3_9", "٣", " 3")),
]


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("2026-03-01T23:30:00-05:00", None, SECOND),
        ("2026-03-02T04:30:00Z", None, SECOND),
        ("2026-03-02 04:30:00", pa.large_string(), SECOND),
        ('{"$date": "2026-03-02T04:30:00Z"}', None, SECOND),
        (f'{{"$date": {{"$numberLong": "{1000 * SECOND}"}}}}', None, SECOND),
        (f'{{"$date": {1000 * SECOND}}}', None, SECOND),
        (str(1000 * SECOND), None, SECOND),
        (SECOND, pa.int32(), SECOND),
        (SECOND, pa.int64(), SECOND),
        (1000 * SECOND, pa.int64(), SECOND),
        (10**6 * SECOND, pa.int64(), SECOND),
        (10**9 * SECOND, pa.uint64(), SECOND),
        (SECOND + 0.5, pa.float64(), SECOND),
        (1000.0 * SECOND, pa.float64(), SECOND),
        (datetime(2026, 3, 2, 4, 30), pa.timestamp("ns"), SECOND),
        (datetime(2026, 3, 2, 4, 30), pa.timestamp("s", "America/New_York"), SECOND),
        ("2026-03-02", None, MIDNIGHT),
        (date(2026, 3, 2), pa.date32(), MIDNIGHT),
        (date(2026, 3, 2), pa.date64(), MIDNIGHT),
        (datetime(1969, 12, 31, 23), pa.timestamp("ms"), -3600),
        ("1969-12-31T23:00:00Z", None, -3600),
        ("n/a", None, NO_TIME),
        ("", None, NO_TIME),
        (None, pa.string(), NO_TIME),
        (None, pa.int64(), NO_TIME),
        (None, pa.timestamp("s"), NO_TIME),
        ("2026-03-02-request-7", None, NO_TIME),
        ('{"$date": "noon"}', None, NO_TIME),
        ('{"$date": null}', None, NO_TIME),
        ("{" * 5000, None, NO_TIME),
        (7, pa.int64(), NO_TIME),
        (np.nan, pa.float64(), NO_TIME),
        (np.inf, pa.float64(), NO_TIME),
        (2**64 - 1, pa.uint64(), NO_TIME),
        (253_402_300_800 * 10, pa.timestamp("s"), NO_TIME),  # after the year 9999
        ("0001-01-01", None, NO_TIME),
        ("9999-12-31T00:00:00Z", None, NO_TIME),
        (date(1, 1, 1), pa.date32(), NO_TIME),
        (1e300, pa.float64(), NO_TIME),
        (True, None, NO_TIME),
        ([1], None, NO_TIME),
    ],
)
def test_the_second_of_a_time(value, kind, expected):
    assert read_times(pa.chunked_array([pa.array([value], kind)])).tolist() == [expected]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [("2026-03-02", True), ("39", False), ("1772425800000", False), ("x", False)],
)
def test_a_number_alone_does_not_look_like_a_time(cell, expected):
    assert look_like_times([cell]) == expected


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ({"$numberLong": "39"}, 39),
        ({"$numberLong": "-9223372036854775808"}, -(2**63)),
        ({"$numberInt": "5"}, 5),
        ({"$numberDouble": "1.5"}, 1.5),
        ({"$numberDouble": "-2e3"}, -2000.0),
        ({"$numberDouble": "Infinity"}, float("inf")),
        *((value, value) for value in NO_NUMBERS),
    ],
)
def test_a_number_in_mongos_spelling(value, number):
    """Of what is no number, the value as it is."""
    assert read_number(value) == number
