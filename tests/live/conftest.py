"""Fixtures: a stub of the cluster that keeps requests with the detector's own scores."""

import math

import pytest
from helpers import METRIC, attach, run

from knn_metric.data.corruptions import corrupt, parse_corruption
from knn_metric.live import monitor
from knn_metric.platform.metrics import describe_artifact


@pytest.fixture(scope="session")
def broken(healthy):
    """The same with hours a month."""
    return corrupt(parse_corruption("hours-per-month", healthy), healthy)


@pytest.fixture(autouse=True)
def pace(monkeypatch, quick):
    """Let a restart be short; the stub's requests, of 2023, are no sign that monitoring stopped."""
    monkeypatch.setattr(monitor, "LEAST_SILENCE", math.inf)
    monkeypatch.setattr(monitor, "RESTART", 20)


@pytest.fixture
def cluster(manager, artifact, detector):
    """A cluster on which the metric is attached to adult:1, as it was uploaded."""
    manager.add_version("adult", 1)
    manager.add_version(METRIC, 1, metadata=describe_artifact(artifact.parent, detector))
    attach(manager, METRIC, float(detector.threshold_))
    return manager


@pytest.fixture
def documents(cluster):
    return cluster.sonar.documents.setdefault(11, [])


@pytest.fixture
def feed(cluster, detector):
    """Return a function that lets requests arrive, with the scores that the metric gives them."""

    def feed(rows, count=None, missing=(), value=None):
        values = rows.values[:count]
        scores = detector.decision_function(values).tolist()
        for place in missing:
            scores[place] = value
        rows = [dict(zip(rows.names, row, strict=True)) for row in values.astype(int).tolist()]
        thresholds = {METRIC: float(detector.threshold_)}
        cluster.sonar.add(cluster.versions[0], rows, {METRIC: scores}, thresholds)

    return feed


@pytest.fixture
def look(cluster, artifact):
    def look(*options, artifact=artifact):
        own = ("--package", artifact.parent) if artifact else ()
        return run("watch", "adult:1", "--cluster", cluster.address, *own, *options)

    return look
