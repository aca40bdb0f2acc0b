"""Fixtures: few rows of the sample in a file of their own."""

import pytest

from knn_metric.data import census
from knn_metric.detection import evaluation


@pytest.fixture(autouse=True)
def pace(quick):
    """Load and measure each artifact once."""


@pytest.fixture
def undrawn(monkeypatch):
    """Draw no picture, which takes long."""
    for module in ("detection.evaluation", "detection.training", "replay.report"):
        monkeypatch.setattr(f"knn_metric.{module}.plot", lambda *_: None)


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    path = tmp_path_factory.mktemp("people") / "people.csv"
    path.write_text("\n".join(census.SAMPLE_PATH.read_text().splitlines()[:500]))
    return path


@pytest.fixture
def few_streams(monkeypatch):
    """Evaluate on few and short streams of requests, which take a second instead of ten."""
    monkeypatch.setattr(evaluation, "STREAMS", 20)
    monkeypatch.setattr(evaluation, "MOST", 500)
