"""Which rows a model has seen, and what may replace it."""

from dataclasses import replace

import numpy as np
import pytest

from knn_metric.cli import UserError
from knn_metric.data.rows import count_copies, describe_origin, hold_out, split
from knn_metric.detection.detectors import describe_traffic
from knn_metric.detection.training import train


@pytest.mark.parametrize(("test_size", "seed"), [(0.2, 0), (0.25, 7), (0.001, 2**32 - 1)])
def test_the_split_is_the_published_one(sample, test_size, seed):
    order = np.random.RandomState(seed).permutation(len(sample))
    n_held_out = int(np.ceil(test_size * len(sample)))
    places = order[n_held_out:], order[:n_held_out]
    for part, place in zip(split(sample, test_size, seed), places, strict=True):
        np.testing.assert_array_equal(part.values, sample.values[place])
        np.testing.assert_array_equal(part.raw["capital_gain"], sample.raw["capital_gain"][place])


def test_too_few_rows_to_split(sample):
    with pytest.raises(UserError, match="1 different rows cannot be split"):
        split(sample.take(np.array([0])))


def test_equal_rows_stay_together(sample):
    """Of a user's own rows; without repeated ones the split is the published one."""
    own = replace(sample, is_published=False)
    distinct = own.take(np.unique(own.values, axis=0, return_index=True)[1])
    order = np.random.RandomState(0).permutation(len(distinct))
    _, held_out = split(distinct)
    np.testing.assert_array_equal(held_out.values, distinct.values[order[: len(held_out)]])
    places = np.random.default_rng(0).permutation(10 * len(distinct)) % len(distinct)
    tenfold = distinct.take(places)
    parts = [set(map(tuple, part.values)) for part in split(tenfold)]
    assert not parts[0] & parts[1]
    assert len(parts[0] | parts[1]) == len(distinct)
    assert count_copies(tenfold) == 10
    assert count_copies(distinct) == count_copies(sample) == 1


class TestHoldOut:
    @pytest.mark.parametrize(("test_size", "seed"), [(0.2, 0), (0.5, 3)])
    def test_what_a_model_was_not_trained_on(self, sample, test_size, seed):
        """By the artifact's own split: with another one it would be rows that it knows."""
        detector, scores = train(sample, test_size, seed)
        rest = hold_out(sample, detector.origin_)
        np.testing.assert_array_equal(detector.decision_function(rest.values), scores)
        training = split(sample, test_size, seed)[0]
        np.testing.assert_array_equal(detector.training_rows_, training.values)

    def test_another_source_is_taken_as_a_whole(self, sample):
        origin = {**describe_origin(sample, 0.2, 0), "sha256": "another"}
        assert hold_out(sample, origin) is sample

    def test_rows_that_training_had_are_counted(self, sample):
        detector, _ = train(sample)
        part = replace(sample.take(np.arange(1000)), source="part.csv", sha256="another")
        known = set(map(tuple, detector.training_rows_.tolist()))
        equal = sum(tuple(row) in known for row in part.values.tolist())
        assert equal > 800
        words = f"part.csv, 1,000 rows, {equal:,} of them equal to a training row"
        assert describe_traffic(part, detector) == words
        described = describe_traffic(hold_out(sample, detector.origin_), detector)
        assert described.startswith("sample, 1,400 rows held out by training, ")
