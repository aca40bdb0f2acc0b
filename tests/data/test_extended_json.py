"""Numbers in Mongo's spelling, and nothing else."""

import pytest

from knn_metric.data.times import read_number


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ({"$numberLong": "39"}, 39),
        ({"$numberLong": "-9223372036854775808"}, -(2**63)),
        ({"$numberInt": "5"}, 5),
        ({"$numberDouble": "1.5"}, 1.5),
        ({"$numberDouble": "-2e3"}, -2000.0),
        ({"$numberDouble": "Infinity"}, float("inf")),
        (7, 7),
        ("7", "7"),
        (None, None),
    ],
)
def test_what_is_a_number(value, number):
    assert read_number(value) == number


@pytest.mark.parametrize(
    "value",
    [
        {"$numberLong": True},
        {"$numberLong": 3.9},
        {"$numberLong": "3_9"},
        {"$numberLong": "٣"},
        {"$numberLong": " 3"},
        {"$numberInt": "1.5"},
        {"$numberLong": "3", "more": 1},
        {"$oid": "55"},
    ],
)
def test_what_is_none_stays_as_it_is(value):
    assert read_number(value) is value
