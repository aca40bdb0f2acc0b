"""A detector of the sample's rows."""

import pytest

from portable_knn import PortableKNN


@pytest.fixture(scope="session")
def training(rows):
    return rows[:5600]


@pytest.fixture(scope="session")
def detector(training):
    names = [f"field_{number}" for number in range(13)]
    origin = {"source": "sample", "sha256": "ab", "test_size": 0.2, "seed": 0}
    detector = PortableKNN(n_neighbors=15, p=5, contamination=0.05)
    return detector.fit(training, feature_names=names, origin=origin)
