"""scripts/explain.py: the table, and one line for a row that is not whole."""

import re

import numpy as np
import pytest
from helpers import NORMAL, assert_one_line, run

import explain
from monitoring.data.adult import FEATURES
from monitoring.detection.attribution import Attribution
from monitoring.detection.explanation import describe_value
from portable_knn import PortableKNN


def ask(artifact, **row):
    fields = [f"{name}={number}" for name, number in row.items()]
    return run(explain.main, *fields, "--artifact", artifact)


def test_what_the_score_comes_from(artifact, func_main):
    row = {**NORMAL, "age": 540}
    result = ask(artifact, **row)
    assert (result.status, result.err) == (0, "")
    head, table = result.out.split("\n\n")
    score = func_main.predict(**row)["value"]
    assert re.search(rf"^score +{score!r}, alarm at threshold", head, re.MULTILINE)
    attribution = Attribution(func_main.detector)
    (without,) = attribution.scores_without(np.array([list(row.values())]))
    _, (neighbor,) = attribution.proportions(np.array([list(row.values())]))
    _, first, *others = table.splitlines()
    expected = ["age", f"{without[0]:.6g}", "no", "alarm", "100.0%", "540", f"{neighbor[0]}"]
    assert first.split() == expected
    assert {line.split()[0] for line in others} == set(FEATURES[1:])
    (sex,) = [line for line in others if line.startswith("sex ")]
    assert re.search(r"0\.0%  1 Male +[01] (Male|Female)$", sex)


def test_what_matters_most_comes_first(artifact):
    out = ask(artifact, **{**NORMAL, "age": 60, "hours_per_week": 80, "country": 3}).out
    lines = out.split("\n\n")[1].splitlines()[1:]
    without = [float(line.split()[1]) for line in lines]
    assert without == sorted(without)
    shares = [float(share) for share in re.findall(r" (\d+\.\d)%", out)]
    assert sum(shares) == pytest.approx(100, abs=0.7)


def test_an_ordinary_request(artifact):
    assert ", no alarm at threshold" in ask(artifact, **NORMAL).out


def test_categories_by_name(artifact):
    by_name = {"workclass": "Private", "sex": "Male", "classes": "<=50K"}
    assert ask(artifact, **{**NORMAL, **by_name}).out == ask(artifact, **NORMAL).out


def test_a_score_that_is_not_the_distance_to_one_row(rows, tmp_path):
    path = tmp_path / "model.joblib"
    PortableKNN(method="mean").fit(rows[:100], feature_names=FEATURES).save(path)
    assert_one_line(ask(path, **NORMAL), "'mean' cannot be attributed to features")


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


@pytest.mark.parametrize(
    ("value", "codes", "words"),
    [
        (39, None, "39"),
        (3.5, None, "3.5"),
        (4, {"Private": 4, "?": 0}, "4 Private"),
        (99, {"Private": 4}, "99 unknown"),
        (0, {"Assoc-acdm": 0, "Assoc-voc": 0}, "0 Assoc-acdm, Assoc-voc"),
        (
            1,
            dict.fromkeys("Canada England India Ireland Scotland".split(), 1),
            "1 Canada, England, India, ...",
        ),
    ],
)
def test_a_value_in_words(value, codes, words):
    assert describe_value(value, codes).startswith(words)
