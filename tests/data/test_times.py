"""Times and numbers, whatever their type and spelling."""

from datetime import UTC, date, datetime

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


ISO = "2026-03-02T04:30:00Z"
TEXTS = "2026-03-01T23:30:00-05:00", ISO, ISO[:-1].replace("T", " "), str(1000 * SECOND)
DATES = f'"{ISO}"', f'{{"$numberLong": "{1000 * SECOND}"}}', 1000 * SECOND
NO_TEXTS = "n/a", "", f"{ISO[:10]}-request-7", '{"$date": "noon"}', '{"$date": null}', "{" * 5000
NAIVE = datetime.fromtimestamp(SECOND, UTC).replace(tzinfo=None)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        *((text, None, SECOND) for text in TEXTS),
        *((f'{{"$date": {date}}}', None, SECOND) for date in DATES),
        *((10**power * SECOND, pa.int64(), SECOND) for power in (0, 3, 6)),
        (SECOND, pa.int32(), SECOND),
        (10**9 * SECOND, pa.uint64(), SECOND),
        *((number, pa.float64(), SECOND) for number in (SECOND + 0.5, 1000.0 * SECOND)),
        (NAIVE, pa.timestamp("ns"), SECOND),
        (NAIVE, pa.timestamp("s", "America/New_York"), SECOND),
        (ISO[:10], pa.large_string(), MIDNIGHT),
        *((NAIVE.date(), kind, MIDNIGHT) for kind in (pa.date32(), pa.date64())),
        (datetime(1969, 12, 31, 23), pa.timestamp("ms"), -3600),
        ("1969-12-31T23:00:00Z", None, -3600),
        *((text, None, NO_TIME) for text in (*NO_TEXTS, "0001-01-01", "9999-12-31T00:00:00Z")),
        *((None, kind, NO_TIME) for kind in (pa.string(), pa.int64(), pa.timestamp("s"))),
        *((number, pa.float64(), NO_TIME) for number in (np.nan, np.inf, 1e300)),
        *((value, None, NO_TIME) for value in (7, True, [1], date(1, 1, 1))),
        (2**64 - 1, pa.uint64(), NO_TIME),
        (253_402_300_800 * 10, pa.timestamp("s"), NO_TIME),  # after the year 9999
    ],
)
def test_the_second_of_a_time(value, kind, expected):
    assert read_times(pa.chunked_array([pa.array([value], kind)])).tolist() == [expected]


def test_a_number_alone_does_not_look_like_a_time():
    assert look_like_times([ISO[:10]])
    assert not any(look_like_times([cell]) for cell in ("39", "1772425800000", "x"))


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
