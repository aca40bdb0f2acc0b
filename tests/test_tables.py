"""Tables are aligned."""

from knn_metric.tables import format_fields, format_table


def test_columns():
    rows = [["metric", "requests", "since"], ["a", "1,000", "noon"], ["long name", "5"]]
    assert format_table(rows, "<><") == (
        "metric     requests  since\na             1,000  noon\nlong name         5"
    )


def test_fields():
    assert format_fields({"data": "uci", "threshold_": "4.2"}) == "data        uci\nthreshold_  4.2"
