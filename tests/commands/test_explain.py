"""`explain`: the table, and one line for a row that is not whole."""

import re

import numpy as np
import pytest
from helpers import METRIC, NORMAL, assert_one_line, run

from knn_metric.data.census import FEATURES
from knn_metric.detection.explanation import describe_value
from knn_metric.detection.surprise import FieldSurprise
from portable_knn import PortableKNN


def ask(artifact, **row):
    fields = [f"{name}={number}" for name, number in row.items()]
    return run("explain", *fields, "--package", artifact.parent)


def read_table(out):
    """Return the cells of each line of the table below its head."""
    return [re.split("  +", line) for line in out.split("\n\n")[1].splitlines()[1:]]


def test_a_number_out_of_its_range(artifact, detector):
    row = {**NORMAL, "age": 540}
    result = ask(artifact, **row)
    assert (result.status, result.err) == (0, "")
    (score,) = detector.decision_function([list(row.values())]).tolist()
    assert re.search(rf"^score +{score!r}, alarm at threshold", result.out, re.MULTILINE)
    table = read_table(result.out)
    expected = FieldSurprise.of(detector).expect(list(row.values()))[0]
    low, high = expected.values.min(), expected.values.max()
    mean = np.repeat(expected.values, expected.counts.astype(int)).mean()
    words = f"{mean:.6g} on average, {low:g} to {high:g}"
    assert table[0] == ["age", "540", words, "rarer than all 1,400"]
    assert 30 < mean < 50
    assert {line[0] for line in table[1:]} == set(FEATURES[1:])


def test_a_flipped_answer(artifact, detector):
    row = {**NORMAL, "classes": 1}
    name, value, expected, rare = read_table(ask(artifact, **row).out)[0]
    nearest = FieldSurprise.of(detector).expect(list(row.values()))[-1]
    share = nearest.counts[nearest.values == 1].sum() / nearest.counts.sum()
    assert (name, value) == ("classes", "1 >50K")
    assert share < 0.3
    most = f"0 <=50K ({1 - share:.0%}), 1 >50K ({share:.0%})"
    assert expected == f"{share:.0%} have it; most: {most}"
    assert 90 <= float(re.fullmatch(r"rarer than ([\d.]+)%", rare)[1]) < 100


def test_a_code_that_no_training_row_has(artifact):
    first, *others = read_table(ask(artifact, **{**NORMAL, "country": 77}).out)
    assert first[:2] == ["country", "77 unknown"]
    assert first[2].startswith("0% have it; most: 9 United-States (")
    assert first[3] == "rarer than all 1,400"
    assert others[-1][3] == "usual"


@pytest.mark.parametrize("newest", [True, False])
def test_a_request_of_the_cluster(artifact, detector, manager, newest):
    """Its last alarms, the newest first, or any request by its id."""
    rows = [{**NORMAL, "age": age} for age in (540, 38, 600, 41)]
    scores = detector.decision_function([list(row.values()) for row in rows]).tolist()
    target, threshold = manager.add_version("adult", 1), float(detector.threshold_)
    thresholds = {METRIC: threshold, "other": threshold + 1}
    manager.sonar.add(target, rows, dict.fromkeys(thresholds, scores), thresholds)
    ids = [document["_id"] for document in manager.sonar.documents[target["id"]]]
    which, places = (("--last", 5), (2, 0)) if newest else (("--request", ids[1]), (1,))
    where = ("adult:1", "--cluster", manager.address, "--package", artifact.parent)
    result = run("explain", *where, *which)
    assert result.status == 0, result.err
    assert re.findall(r"^request (\w+), .*, by (.*)$", result.out, re.MULTILINE) == [
        (ids[place], METRIC) for place in places
    ]
    for place in places:
        assert ask(artifact, **rows[place]).out in result.out


def test_an_ordinary_request_and_its_categories_by_name(artifact):
    by_name = {"workclass": "Private", "sex": "Male", "classes": "<=50K"}
    said = ask(artifact, **NORMAL).out
    assert ", no alarm at threshold" in said
    assert ask(artifact, **{**NORMAL, **by_name}).out == said


def test_no_artifact_and_one_without_levels_of_fields(rows, tmp_path):
    path = tmp_path / "monitoring_model.joblib"
    assert_one_line(ask(path, **NORMAL), "cannot load", "knn-metric train")
    PortableKNN().fit(rows[:100], feature_names=FEATURES).save(path)
    assert_one_line(ask(path, **NORMAL), "no levels of fields", "knn-metric train")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("age=39", "workclass: missing; education: missing; "),
        ("age=nan", "age: expected a finite number, got NaN; workclass: missing"),
        ("gender=1", "gender: not one of age, workclass, "),
        ("age", "expected NAME=VALUE of each field, or NAME:VERSION, got 'age'"),
        ("age=3 --last 2", "--request and --last are of a model"),
        ("age=old", "expected NAME=NUMBER, got 'age=old'"),
        ("sex=man", "expected a number or one of Female, Male, got 'sex=man'"),
        ("age=39 sex=1 age=540", "age is given 2 times"),
        ("", "NAME=VALUE is missing, as in `knn-metric explain "),
    ],
)
def test_a_row_that_is_not_whole(artifact, fields, words):
    result = run("explain", *fields.split(), "--package", artifact.parent)
    assert_one_line(result, "knn-metric explain: ", words)


def test_a_fraction_and_a_code_of_several_categories_in_words():
    assert describe_value(3.5, None) == "3.5"
    countries = dict.fromkeys("Canada England India Ireland Spain".split(), 1)
    assert describe_value(1, countries) == "1 Canada, England, India, ..."
