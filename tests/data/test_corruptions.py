"""Ways in which a pipeline breaks: the census's by name, and the vocabulary for any contract."""

from dataclasses import replace

import numpy as np
import pytest

from knn_metric.cli import UserError
from knn_metric.data import census
from knn_metric.data.corruptions import corrupt as corrupt_rows
from knn_metric.data.corruptions import corrupt_answer, list_corruptions, parse_corruption
from knn_metric.data.rows import Rows

# By a corruption of churn's rows a field, and what its columns and a random generator make of it.
VALUES = {
    "scale:tenure:12": ("tenure", lambda tenure, plan, random: tenure * 12),
    "scale:plan:0.4": ("plan", lambda tenure, plan, random: np.rint(plan * 0.4)),
    "scale:plan:1000": ("plan", lambda tenure, plan, random: np.minimum(plan * 1000, 127)),
    "fill:tenure:-1.5": ("tenure", lambda tenure, plan, random: np.full(300, -1.5)),
    "swap:tenure:plan": ("plan", lambda tenure, plan, random: np.rint(tenure)),
    "shift:plan": ("plan", lambda tenure, plan, random: (plan + 1) % 4),
    "flip:plan": ("plan", lambda tenure, plan, random: 3 - plan),
    "constant:plan": ("plan", lambda tenure, plan, random: np.full(300, 3)),
    "zero-codes": ("plan", lambda tenure, plan, random: np.zeros(300)),
    "zero-codes:churned": ("plan", lambda tenure, plan, random: plan),
    "shuffle:plan": ("plan", lambda tenure, plan, random: random.permutation(plan)),
    "mix": ("tenure", lambda tenure, plan, random: random.permutation(tenure)),
    "random:plan": ("plan", lambda tenure, plan, random: random.integers(0, 4, 300)),
}


def corrupt(text, rows, seed=0):
    return corrupt_rows(parse_corruption(text, rows), rows, seed)


@pytest.fixture
def churn():
    """Rows of a contract with fractions and codes."""
    random = np.random.default_rng(0)
    columns = random.normal(10, 3, 300), random.integers(0, 4, 300), random.integers(0, 2, 300)
    names, types = ("tenure", "plan", "churned"), ("float64", "int8", "int64")
    values = np.column_stack(columns)
    return Rows(names, values, (False, True, True), types, "churn.csv", "ab")


class TestCensus:
    @pytest.mark.parametrize("name", census.CORRUPTIONS)
    def test_only_its_own_columns_change(self, name, sample):
        assert name in list_corruptions(sample)
        before = sample.values.copy()
        changed = (corrupt(name, sample).values != before).any(axis=0)
        fields = parse_corruption(name, sample).fields
        assert changed.tolist() == [field in fields for field in sample.names]
        np.testing.assert_array_equal(sample.values, before)

    def test_numbers(self, sample):
        for name, field, expected in (
            ("age-in-months", "age", 12 * sample.column("age")),
            ("hours-per-month", "hours_per_week", sample.column("hours_per_week") * 52 / 12),
            ("age-missing", "age", 0),
            ("gain-in-dollars", "capital_gain", sample.raw["capital_gain"]),
            ("classes-constant", "classes", 1),
            ("country-new", "country", 99),
        ):
            found = corrupt(name, sample).column(field)
            np.testing.assert_array_equal(found, np.rint(expected), name)

    def test_answers(self, sample):
        def answers(name):
            corruption = parse_corruption(name, sample)
            return [corrupt_answer(corruption, 0, sample, seed) for seed in range(200)]

        assert answers("classes-flipped") == answers("classes-constant") == [1] * 200
        assert 70 < sum(answers("classes-random")) < 130
        assert answers("classes-random") == answers("classes-random")


class TestVocabulary:
    @pytest.mark.parametrize("text", VALUES)
    def test_values(self, text, churn):
        """What is random follows the seed."""
        field, expect = VALUES[text]
        for seed in (0, 1):
            found = corrupt(text, churn, seed).column(field)
            columns = churn.column("tenure"), churn.column("plan")
            np.testing.assert_array_equal(found, expect(*columns, np.random.default_rng(seed)))

    def test_each_field_is_tried_by_its_kind(self, churn):
        """Of one that never varies, only what changes it."""
        names = "scale:tenure:10 fill:tenure:0 shuffle:tenure fill:plan:4 shift:plan flip:plan \
            shuffle:plan fill:churned:2 shift:churned flip:churned shuffle:churned \
            constant:churned random:churned mix zero-codes"
        assert list_corruptions(churn, ["churned"]) == names.split()
        for name in names.split():
            assert (corrupt(name, churn).values != churn.values).any()
        constant = replace(churn, values=np.ones((300, 3)))
        names = "scale:tenure:10 fill:tenure:0 fill:plan:2 fill:churned:2 mix zero-codes"
        assert list_corruptions(constant) == names.split()

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("age-in-months", "'age-in-months' is no corruption"),
            ("drop:tenure", "'drop:tenure' is no corruption: expected scale:FIELD:BY, fill:"),
            ("scale:tenure", "expected scale:FIELD:BY, got 1 words after scale"),
            ("scale:tenure:much", "got 'much' where a finite number belongs"),
            ("swap:tenure:age", "expected swap:FIELD:FIELD; age is not one of"),
            ("raw:plan", "churn.csv has no raw numbers of plan"),
            ("", "'' is no corruption"),
            ("fill:tenure:inf", "where a finite number belongs"),
            ("scale:tenure:1e308", "leads beyond float64"),
        ],
    )
    def test_what_is_refused(self, text, words, churn):
        with pytest.raises(UserError, match=words):
            corrupt(text, churn)
