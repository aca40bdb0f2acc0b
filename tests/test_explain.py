"""scripts/explain.py: the table, and one line for a row that is not whole."""

import re

from lib import census

import pytest
from helpers import NORMAL, assert_one_line, run

import explain
from portable_knn import PortableKNN


def ask(artifact, **row):
    fields = [f"{name}={number}" for name, number in row.items()]
    return run(explain.main, *fields, "--artifact", artifact)


def test_what_the_score_is_made_of(artifact, func_main):
    row = {**NORMAL, "age": 540}
    result = ask(artifact, **row)
    assert (result.status, result.err) == (0, "")
    head, table = result.out.split("\n\n")
    score = func_main.predict(**row)["value"]
    assert f"score         {score!r}, alarm at threshold" in head
    _, neighbor = func_main.detector.explain(list(row.values()))
    title, first, *others = table.splitlines()
    assert title.split() == ["feature", "share", "value", "neighbor", "15's"]
    assert first.split() == ["age", "100.0%", "540", f"{neighbor[0]}"]
    assert {line.split()[0] for line in others} == set(census.FEATURES[1:])
    (sex,) = [line for line in others if line.startswith("sex ")]
    assert re.search(r"0\.0%  1 Male +[01] (Male|Female)$", sex)


def test_shares_come_from_the_largest_on(artifact):
    out = ask(artifact, **{**NORMAL, "age": 60, "hours_per_week": 80, "country": 3}).out
    shares = [float(share) for share in re.findall(r" (\d+\.\d)%", out)]
    assert len(shares) == 13
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.7)


def test_an_ordinary_request(artifact):
    assert ", no alarm at threshold" in ask(artifact, **NORMAL).out


def test_categories_by_name(artifact):
    by_name = {"workclass": "Private", "sex": "Male", "classes": "<=50K"}
    assert ask(artifact, **{**NORMAL, **by_name}).out == ask(artifact, **NORMAL).out


def test_a_score_that_is_not_the_distance_to_one_row(rows, tmp_path):
    path = tmp_path / "model.joblib"
    PortableKNN(method="mean").fit(rows[:100], feature_names=census.FEATURES).save(path)
    assert_one_line(ask(path, **NORMAL), "'mean' is not the distance to one row")


def test_a_code_that_training_never_saw(hvdm_package):
    result = ask(hvdm_package / "monitoring_model.joblib", **{**NORMAL, "workclass": 99})
    first = result.out.split("\n\n")[1].splitlines()[1]
    assert first.split()[:4] == ["workclass", "100.0%", "99", "unknown"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("age=39", "workclass: missing; education: missing; "),
        ("age=nan", "age: expected a finite number, got NaN; workclass: missing"),
        ("gender=1", "gender: not one of age, workclass, "),
        ("age", "expected NAME=NUMBER, got 'age'"),
        ("age=old", "expected NAME=NUMBER, got 'age=old'"),
        ("sex=man", "expected a number or one of Female, Male, got 'sex=man'"),
        ("=1", ": not one of age, workclass, "),
        ("age=39 sex=1 age=540", "age is given 2 times"),
        ("", "ROW is missing, as in `explain.py "),
    ],
)
def test_a_row_that_is_not_whole(artifact, fields, words):
    result = run(explain.main, *fields.split(), "--artifact", artifact)
    assert_one_line(result, "explain.py: ", words)


def test_no_artifact(tmp_path):
    assert_one_line(ask(tmp_path / "none", **NORMAL), "cannot load", "make train")
