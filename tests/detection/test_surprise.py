"""The surprise of each field, against its definition written with plain numpy."""

import numpy as np
import pytest

from knn_metric.detection.surprise import NEAREST, PRIOR, UNIT, FieldSurprise


def measure_plainly(training, is_code, rows):
    _, firsts, counts = np.unique(training, axis=0, return_index=True, return_counts=True)
    order = np.argsort(firsts)
    known, counts = training[np.sort(firsts)], counts[order]
    spreads = [4 * column.std() or 1.0 for column in training.T]
    found = np.empty(rows.shape)
    for number, row in enumerate(rows):
        differ = (known != row).astype(float)
        gaps = np.rint(np.minimum(((known - row) / spreads) ** 2, 1) * UNIT) / UNIT
        parts = np.where(is_code, differ, gaps)
        for field, value in enumerate(row):
            distances = np.delete(parts, field, axis=1).sum(axis=1)
            nearest = np.argsort(distances, kind="stable")[:NEAREST]
            values, n = known[nearest, field], counts[nearest]
            if is_code[field]:
                share = (np.sum(training[:, field] == value) or 0.5) / len(training)
                same = n[values == value].sum()
                found[number, field] = -np.log((same + PRIOR * share) / (n.sum() + PRIOR))
            else:
                found[number, field] = abs(value - np.average(values, weights=n)) / spreads[field]
    return found


def draw(random, n_rows, is_code, n_codes=3):
    """Rows full of ties: few codes, and numbers of which many are equal."""
    columns = [
        random.integers(0, n_codes, n_rows) if code else random.integers(0, 12, n_rows) * 7.5
        for code in is_code
    ]
    return np.array(columns, dtype=float).T


@pytest.mark.parametrize("n_rows", [1, 2, 30, *range(60, 1500, 160)])
def test_it_is_as_defined(n_rows):
    random = np.random.default_rng(n_rows)
    is_code = random.random(random.integers(1, 9)) < 0.6
    training = draw(random, n_rows, is_code)
    training = training[random.integers(0, len(training), len(training))]  # repeated rows
    rows = np.concatenate([draw(random, 20, is_code, n_codes=5), training[:5]])  # unseen codes
    found = FieldSurprise(training, is_code).surprise(rows)
    np.testing.assert_allclose(found, measure_plainly(training, is_code, rows), atol=2e-9)


def test_one_field_and_a_constant_one():
    numbers = np.arange(10.0)[:, None]
    assert FieldSurprise(numbers, [False]).surprise([[4.5]]) == [[0.0]]
    constant = FieldSurprise(np.ones((100, 2)), [False, True])
    assert constant.surprise([[1.0, 1.0]])[0, 0] == 0
    assert (constant.surprise([[3.0, 2.0]]) > 1).all()


def test_a_request_alone_and_among_others():
    random, is_code = np.random.default_rng(2), [True, False, True, True]
    surprise = FieldSurprise(draw(random, 900, is_code), is_code)
    rows = draw(random, 700, is_code)
    together = surprise.surprise(rows)
    assert (together == surprise.surprise(rows, n_jobs=1)).all()
    assert (together[300] == surprise.surprise(rows[300:301])[0]).all()


def test_what_a_field_should_be():
    training = np.array([[code, 10.0 * code] for code in (0, 0, 0, 1, 1, 2)])
    code, number = FieldSurprise(training, [True, False]).expect([1.0, 0.0])
    assert dict(zip(code.values, code.counts, strict=True)) == {0: 3, 1: 2, 2: 1}
    assert number.values[0] == 10.0
