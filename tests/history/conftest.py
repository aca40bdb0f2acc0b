"""Fixtures: recorded requests, and the command that scores them."""

import pyarrow as pa
import pytest
from helpers import BEGIN, HOUR, run

from knn_metric.data import census


@pytest.fixture(scope="module")
def history(rows):
    """500 requests, one an hour, as the platform records them: name, type and values by column."""
    columns = dict(zip(census.FEATURES, rows[:500].T, strict=True))
    columns["_hs_request_id"] = [f"request-{number}" for number in range(500)]
    columns["_hs_timestamp"] = [BEGIN + HOUR * number for number in range(500)]
    columns["_hs_error"] = pa.nulls(500, pa.string())
    return pa.table(columns)


@pytest.fixture
def scoring(artifact, tmp_path, quick):
    """Run `score` into a folder `out`."""

    def run_score(*arguments):
        own = ("--package", artifact.parent, "--out", tmp_path / "out")
        return run("score", *own, *arguments)

    return run_score
