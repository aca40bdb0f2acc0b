"""Which days of a history are changed, and in which field."""

from functools import reduce
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pytest
from helpers import assert_one_line, copy_package, read_scores
from matplotlib.axes import Axes
from pyarrow import parquet

from knn_metric.data import census
from knn_metric.data.cells import NO_TIME
from knn_metric.data.survey import SCORES
from knn_metric.history.scoring import NO_DAY, SAMPLE, Period, give_turns, part_by_day
from portable_knn import load

DAY = 86_400_000
N_DAYS = 7


@pytest.fixture(scope="module")
def week(rows):
    """500 requests a day, the classes of the fifth and the sex of the sixth flipped."""
    rows = rows[:3_500]
    days = np.arange(3_500) // 500
    columns = dict(zip(census.FEATURES, rows.T.copy(), strict=True))
    columns["classes"][days == 4] ^= 1
    columns["sex"][days == 5] ^= 1
    return pa.table({**columns, "_hs_timestamp": DAY * (18_000 + days)})


def list_changed(out):
    """Return the period and the field of each line that says changed."""
    lines = [line for line in out.splitlines() if "  changed" in line]
    return [(line[: line.index("  ")], line.split()[-1]) for line in lines]


@pytest.mark.parametrize("rows_per_block", [230, 100_000])
def test_days_that_raise_no_more_alarms_than_others(rows_per_block, scoring, week, tmp_path):
    """Whatever the blocks: a day may lie in many, and a block hold many days."""
    parquet.write_table(week, tmp_path / "rows.parquet", row_group_size=1_000)
    result = scoring(tmp_path / "rows.parquet", "--rows-per-block", rows_per_block)
    assert result.status == 0, result.err
    assert list_changed(result.out) == [("2019-04-18", "classes"), ("2019-04-19", "sex")]
    alarms = read_scores(tmp_path / "out")["alarm"].to_numpy().reshape(N_DAYS, -1).sum(axis=1)
    assert max(alarms[4:6]) < max(alarms[:4]) < 100


def test_without_days_blocks_are_tested_and_drawn(scoring, week, tmp_path, monkeypatch):
    drawn = Mock(side_effect=Axes.plot)
    monkeypatch.setattr(Axes, "plot", lambda *a, **k: drawn(*a, **k))
    parquet.write_table(week.drop_columns(["_hs_timestamp"]), tmp_path / "rows.parquet")
    result = scoring(tmp_path / "rows.parquet", "--rows-per-block", 500)
    changed = [("rows 2,000 to 2,499", "classes"), ("rows 2,500 to 2,999", "sex")]
    assert list_changed(result.out) == changed
    found = read_scores(tmp_path / "out")
    assert found.column_names == ["file", "row", *SCORES]
    alarms = found["alarm"].to_numpy().reshape(N_DAYS, -1).mean(axis=1)
    (ends, rates), (marked, _), *_ = (call.args[1:3] for call in drawn.call_args_list)
    assert list(ends) == [500 * number for number in range(1, 8)]
    assert rates == pytest.approx(100 * alarms)
    assert list(marked) == [2_500, 3_000]


def part(first, last, file="a"):
    """Return the period of the rows of a file, which are their numbers."""
    numbers = np.arange(first, last)
    turns = give_turns(pa.chunked_array([[file] * len(numbers)]), pa.chunked_array([numbers]))
    times = np.full(len(numbers), NO_TIME)
    return part_by_day(times, numbers % 10 == 0, np.column_stack([turns, numbers]))[NO_DAY]


def join(parts):
    return reduce(Period.join, parts)


class TestSamples:
    @pytest.mark.parametrize("size", [700, 1_000, 45_000])
    def test_they_are_the_same_however_rows_are_divided(self, size):
        whole = part(0, 99_999)
        joined = join(part(at, min(at + size, 99_999)) for at in range(0, 99_999, size))
        assert joined[:2] == whole[:2] == (99_999, 10_000)
        assert np.array_equal(joined.sample, whole.sample)

    def test_they_are_evenly_spread_in_order(self):
        sample = part(50_000, 100_000).sample
        gaps = np.diff(sample[:, 1])
        assert len(sample) == SAMPLE
        assert 20 <= gaps.min() <= gaps.max() <= 100

    def test_each_file_has_its_share(self):
        """Of many short files too, whose first rows are no better than the others."""
        joined = join(part(0, 10, str(number)) for number in range(1_000))
        assert np.bincount(joined.sample[:, 1].astype(int)).min() > SAMPLE / 20
        both = join([part(0, 30_000), part(0, 10_000, "b")]).sample[:, 1]
        (end,) = np.flatnonzero(np.diff(both) < 0)
        assert end == pytest.approx(750, abs=10)


def test_an_artifact_without_levels_of_fields(artifact, scoring, tmp_path):
    detector = load(artifact)
    del detector.calibration_["fields"]
    package = copy_package(tmp_path, detector)
    assert_one_line(scoring("rows.parquet", "--package", package), "no levels of fields")
