"""`explain`: the table, and one line for a row that is not whole."""

import re
from uuid import UUID

import numpy as np
import pytest
from helpers import METRIC, NORMAL, assert_one_line, run
from stubs.sonar import identify

from knn_metric.data.census import FEATURES
from knn_metric.detection.explanation import describe_value
from knn_metric.detection.surprise import FieldSurprise

ROWS = [{**NORMAL, "age": age} for age in (540, 38, 600, 41)]


@pytest.fixture
def ask(artifact):
    def ask(**changes):
        fields = [f"{name}={number}" for name, number in {**NORMAL, **changes}.items()]
        result = run("explain", *fields, "--package", artifact.parent)
        assert (result.status, result.err) == (0, "")
        lines = result.out.split("\n\n")[1].splitlines()[1:]
        return result.out, [re.split("  +", line) for line in lines]

    return ask


def test_a_number_out_of_its_range(ask, detector):
    out, (first, *others) = ask(age=540)
    row = list({**NORMAL, "age": 540}.values())
    (score,) = detector.decision_function([row]).tolist()
    assert re.search(rf"^score +{score!r}, alarm at threshold", out, re.MULTILINE)
    expected = FieldSurprise.of(detector).expect(row)[0]
    low, high = expected.values.min(), expected.values.max()
    mean = np.average(expected.values, weights=expected.counts)
    words = f"{mean:.6g} on average, {low:g} to {high:g}"
    assert first == ["age", "540", words, "rarer than all 1,400"]
    assert {line[0] for line in others} == set(FEATURES[1:])


def test_a_flipped_answer(ask, detector):
    name, value, expected, rare = ask(classes=1)[1][0]
    nearest = FieldSurprise.of(detector).expect(list({**NORMAL, "classes": 1}.values()))[-1]
    share = nearest.counts[nearest.values == 1].sum() / nearest.counts.sum()
    assert (name, value, share < 0.3) == ("classes", "1 >50K", True)
    assert expected == f"{share:.0%} have it; most: 0 <=50K ({1 - share:.0%}), 1 >50K ({share:.0%})"
    assert 90 <= float(re.fullmatch(r"rarer than ([\d.]+)%", rare)[1]) < 100


def test_a_code_that_no_training_row_has(ask):
    first, *others = ask(country=77)[1]
    assert first[:2] == ["country", "77 unknown"]
    assert first[2].startswith("0% have it; most: 9 United-States (")
    assert (first[3], others[-1][3]) == ("rarer than all 1,400", "usual")


def test_an_ordinary_request_and_its_categories_by_name(ask):
    out, _ = ask()
    assert ", no alarm at threshold" in out
    assert ask(workclass="Private", sex="Male", classes="<=50K")[0] == out


def test_a_code_of_several_categories_in_words():
    countries = dict.fromkeys("Canada England India Ireland Spain".split(), 1)
    assert describe_value(1, countries) == "1 Canada, England, India, ..."


@pytest.fixture
def ask_cluster(artifact, detector, manager):
    """Return a function that explains requests of adult, the last of which failed."""
    scores = [*detector.decision_function([[*row.values()] for row in ROWS]).tolist(), None]
    thresholds = {METRIC: float(detector.threshold_), "other": float(detector.threshold_) + 1}
    target = manager.add_version("adult", 1)
    manager.add_version("adult", 2)
    manager.sonar.add(target, [*ROWS, {}], dict.fromkeys(thresholds, scores), thresholds)
    where = ("--cluster", manager.address, "--package", artifact.parent)
    return lambda target, *which: run("explain", target, *which, *where)


@pytest.mark.parametrize(
    ("which", "places"),
    [
        (("--last", 5), (2, 0)),
        (("--request", identify(1)), (1,)),
        (("--request", UUID(int=1)), (1,)),
    ],
    ids=["last alarms", "an id of sonar's", "an id that alerts carry"],
)
def test_a_request_of_the_cluster(ask, ask_cluster, which, places):
    result = ask_cluster("adult:1", *which)
    assert result.status == 0, result.err
    explained = re.findall(r"^request (\w+), .*, by (.*)$", result.out, re.MULTILINE)
    assert explained == [(identify(place), METRIC) for place in places]
    for place in places:
        assert ask(**ROWS[place])[0] in result.out


@pytest.mark.parametrize(
    ("identity", "target", "words"),
    [
        ("0" * 24, "adult:1", f"no request {'0' * 24} of adult:1"),
        (UUID(int=999), "adult:1", f"no request {UUID(int=999)} of adult:1"),
        (identify(3), "adult:2", f"request {identify(3)} is not of adult:2"),
        (identify(4), "adult:1", "the target failed, io.grpc"),
    ],
)
def test_what_is_not_explained(ask_cluster, identity, target, words):
    assert_one_line(ask_cluster(target, "--request", identity), words)
