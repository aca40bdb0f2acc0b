"""Ways in which a pipeline breaks: the census's by name, and the vocabulary for any contract."""

from dataclasses import replace

import numpy as np
import pytest

from knn_metric.cli import UserError
from knn_metric.data import census
from knn_metric.data.census import load_census
from knn_metric.data.corruptions import (
    corrupt,
    corrupt_answer,
    list_corruptions,
    parse_corruption,
)
from knn_metric.data.rows import Rows

CHANGED = {
    "age-in-months": ["age"],
    "hours-per-month": ["hours_per_week"],
    "age-missing": ["age"],
    "age-hours-swapped": ["age", "hours_per_week"],
    "country-shuffled": ["country"],
    "gain-in-dollars": ["capital_gain"],
    "classes-flipped": ["classes"],
    "classes-constant": ["classes"],
    "classes-random": ["classes"],
    "marital-shuffled": ["marital_status"],
    "codes-shifted": ["relationship"],
    "rows-mixed": list(census.FEATURES),
    "codes-zeroed": [name for name in census.CATEGORIES if name != "classes"],
    "sex-flipped": ["sex"],
    "country-new": ["country"],
}


@pytest.fixture(scope="module")
def sample():
    return load_census("sample")


@pytest.fixture
def churn():
    """Rows of a contract with fractions and codes."""
    random = np.random.default_rng(0)
    values = np.column_stack(
        [random.normal(10, 3, 300), random.integers(0, 4, 300), random.integers(0, 2, 300)]
    )
    names = ("tenure", "plan", "churned")
    types = ("float64", "int8", "int64")
    return Rows(names, values.astype(float), (False, True, True), types, "churn.csv", "ab")


class TestCensus:
    @pytest.mark.parametrize("name", CHANGED)
    def test_only_its_own_columns_change(self, name, sample):
        corruption = parse_corruption(name, sample)
        before = sample.values.copy()
        after = corrupt(corruption, sample).values
        changed = (after != before).any(axis=0)
        names = [field for field, is_one in zip(sample.names, changed, strict=True) if is_one]
        assert names == [field for field in census.FEATURES if field in corruption.fields]
        assert names == CHANGED[name]
        np.testing.assert_array_equal(sample.values, before)

    def test_all_are_listed(self, sample):
        assert list_corruptions(sample) == list(CHANGED)

    def test_values(self, sample):
        def get(name, field):
            return corrupt(parse_corruption(name, sample), sample).column(field).tolist()

        now = {name: sample.column(name).tolist() for name in sample.names}
        zeros = [0] * len(sample)
        for (name, column), expected in {
            ("age-in-months", "age"): [12 * age for age in now["age"]],
            ("hours-per-month", "hours_per_week"): [
                round(h * 52 / 12) for h in now["hours_per_week"]
            ],
            ("age-missing", "age"): zeros,
            ("age-hours-swapped", "age"): now["hours_per_week"],
            ("age-hours-swapped", "hours_per_week"): now["age"],
            ("gain-in-dollars", "capital_gain"): sample.raw["capital_gain"].tolist(),
            ("classes-flipped", "classes"): [1 - one for one in now["classes"]],
            ("classes-constant", "classes"): [1] * len(sample),
            ("codes-shifted", "relationship"): [(code + 1) % 6 for code in now["relationship"]],
            ("codes-zeroed", "occupation"): zeros,
            ("sex-flipped", "sex"): [1 - code for code in now["sex"]],
            ("country-new", "country"): [99] * len(sample),
        }.items():
            assert get(name, column) == expected, name
        for name, column in (("marital-shuffled", "marital_status"), ("rows-mixed", "age")):
            assert sorted(get(name, column)) == sorted(now[column])
        assert 0.45 < np.mean(get("classes-random", "classes")) < 0.55

    def test_random_ones_are_drawn_as_before(self, sample):
        """With the same generator calls, so that figures stay what they were."""
        shuffled = np.random.default_rng(0).permutation(sample.column("country"))
        drawn = np.random.default_rng(0).integers(0, 2, len(sample))
        for name, column, expected in (
            ("country-shuffled", "country", shuffled),
            ("classes-random", "classes", drawn),
        ):
            found = corrupt(parse_corruption(name, sample), sample).column(column)
            np.testing.assert_array_equal(found, expected)

    def test_answers(self, sample):
        def answers(name, seeds=range(200)):
            corruption = parse_corruption(name, sample)
            return [corrupt_answer(corruption, 0, sample, seed) for seed in seeds]

        assert answers("classes-flipped") == answers("classes-constant") == [1] * 200
        assert 70 < sum(answers("classes-random")) < 130
        assert answers("classes-random") == answers("classes-random")


class TestVocabulary:
    @pytest.mark.parametrize(
        ("text", "field", "expected"),
        [
            ("scale:tenure:12", "tenure", lambda rows: rows.column("tenure") * 12),
            ("scale:plan:0.4", "plan", lambda rows: np.rint(rows.column("plan") * 0.4)),
            ("fill:tenure:-1.5", "tenure", lambda rows: np.full(300, -1.5)),
            ("swap:tenure:plan", "plan", lambda rows: np.rint(rows.column("tenure"))),
            ("shift:plan", "plan", lambda rows: (rows.column("plan") + 1) % 4),
            ("flip:plan", "plan", lambda rows: 3 - rows.column("plan")),
            ("zero-codes", "plan", lambda rows: np.zeros(300)),
            ("zero-codes:churned", "plan", lambda rows: rows.column("plan")),
        ],
    )
    def test_values(self, text, field, expected, churn):
        found = corrupt(parse_corruption(text, churn), churn)
        np.testing.assert_array_equal(found.column(field), expected(churn))

    def test_what_is_random_follows_the_seed(self, churn):
        for text in ("shuffle:tenure", "random:plan", "mix"):
            first, same, other = (
                corrupt(parse_corruption(text, churn), churn, seed).values for seed in (0, 0, 1)
            )
            np.testing.assert_array_equal(first, same)
            assert (first != other).any()

    def test_each_field_is_tried_by_its_kind(self, churn):
        names = list_corruptions(churn, ["churned"])
        assert names == [
            *("scale:tenure:10", "fill:tenure:0", "shuffle:tenure"),
            *("fill:plan:4", "shift:plan", "flip:plan", "shuffle:plan"),
            *("fill:churned:2", "shift:churned", "flip:churned", "shuffle:churned"),
            *("constant:churned", "random:churned", "mix", "zero-codes"),
        ]
        for name in names:
            changed = corrupt(parse_corruption(name, churn), churn)
            assert (changed.values != churn.values).any()

    def test_a_field_that_never_varies(self, churn):
        constant = replace(churn, values=np.ones((300, 3)))
        assert list_corruptions(constant) == [
            *("scale:tenure:10", "fill:tenure:0", "fill:plan:2", "fill:churned:2", "mix"),
            "zero-codes",
        ]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("age-in-months", "'age-in-months' is no corruption"),
            ("drop:tenure", "'drop:tenure' is no corruption: expected scale:FIELD:BY, fill:"),
            ("scale:tenure", "expected scale:FIELD:BY, got 1 words after scale"),
            ("scale:tenure:much", "got 'much' where a number belongs"),
            ("swap:tenure:age", "expected swap:FIELD:FIELD; age is not one of"),
            ("raw:plan", "churn.csv has no raw numbers of plan"),
            ("", "'' is no corruption"),
            ("fill:tenure:nan", "where a finite number belongs"),
            ("fill:tenure:inf", "where a finite number belongs"),
            ("scale:plan:-inf", "where a finite number belongs"),
        ],
    )
    def test_what_cannot_be_read_is_one_line(self, text, words, churn):
        with pytest.raises(UserError) as caught:
            parse_corruption(text, churn)
        assert words in str(caught.value)


class TestTypes:
    """A corrupted number is one that the contract's type can hold, as the target gets it."""

    def test_it_is_held_within_its_type(self, churn):
        changed = corrupt(parse_corruption("scale:plan:1000", churn), churn)
        assert set(changed.column("plan")) == {0.0, 127.0}

    def test_what_leads_beyond_float64(self, churn):
        with pytest.raises(UserError, match="leads beyond float64"):
            corrupt(parse_corruption("scale:tenure:1e308", churn), churn)
