"""scripts/evaluate.py: its table and its figures as JSON, of the sample and of UCI's data."""

import json
import re
import shutil

import numpy as np
import pytest
from helpers import PNG, assert_one_line, load_script, run

import evaluate
from monitoring.contract import Contract
from monitoring.data.corruptions import corrupt, parse_corruption
from monitoring.data.loading import load_census, load_rows
from monitoring.data.provenance import hold_out
from monitoring.detection.change_detection import ALERT, Bets
from monitoring.files import ROOT
from monitoring.hydrosphere.target import reaching
from portable_knn import PortableKNN, load

CORRUPTIONS = ("age-in-months", "classes-flipped", "country-shuffled", "scale:capital_gain:3")


@pytest.fixture(scope="module")
def evaluated(artifact, adult_package, tmp_path_factory):
    """What is printed and written of the sample."""
    folder = tmp_path_factory.mktemp("evaluated")
    options = ("--artifact", artifact, "--target", adult_package, "--drift", ",".join(CORRUPTIONS))
    result = run(evaluate.main, "--data", "sample", "--reports", folder, *options)
    assert (result.status, result.err) == (0, "")
    return result.out, json.loads((folder / "evaluation.json").read_text()), folder


def read_table(out):
    """Return the first table's cells by kind of rows: alarms, median, 90% and field."""
    lines = out.split("\n\n")[1].splitlines()[1:]
    return {line.split()[0]: line.split()[1:] for line in lines}


class TestOutputs:
    def test_the_table_says_what_the_json_says(self, evaluated):
        out, found, _ = evaluated
        table = read_table(out)
        assert list(found) == list(table) == ["clean", *CORRUPTIONS]
        for name, cells in table.items():
            one = found[name]
            assert list(one) == ["alarms", "median", "p90", "field"]
            expected = [f"{one['alarms']:.1%}"]
            if name != "clean":
                delays = (one["median"], one["p90"])
                expected += ["-" if delay is None else f"{delay:,}" for delay in delays]
                expected += [one["field"]] if one["field"] else []
            assert cells[: len(expected)] == expected

    def test_alarms_are_counted_on_held_out_rows(self, evaluated, artifact):
        """A field that the target does not take: its answers stay those of the clean rows."""
        detector = load(artifact)
        rows = hold_out(load_census("sample"), detector.origin_)
        changed = corrupt(parse_corruption("age-in-months", rows), rows)
        alarms = np.mean(detector.decision_function(changed.values) > detector.threshold_)
        assert evaluated[1]["age-in-months"]["alarms"] == pytest.approx(alarms)
        assert f"{len(rows):,} rows held out by training" in evaluated[0]

    def test_what_is_detected_is_named_and_what_is_missed_is_null(self, evaluated):
        found = evaluated[1]
        assert found["age-in-months"] | {"alarms": 1} == {
            "alarms": 1,
            "median": 5,
            "p90": 5,
            "field": "age",
        }
        assert list(found["country-shuffled"].values())[1:] == [None] * 3

    def test_thresholds_are_those_of_other_contaminations(self, evaluated, artifact):
        block = evaluated[0].split("\n\n")[2].splitlines()
        table = {line.split()[0]: [float(c.strip("%")) for c in line.split()[1:]] for line in block}
        asked = dict(zip(table["contamination"], table["threshold"], strict=True))
        assert asked[5.0] == pytest.approx(load(artifact).threshold_, abs=1e-3)
        assert table["threshold"] == sorted(table["threshold"])
        clean = 100 * evaluated[1]["clean"]["alarms"]
        assert table["clean"][1] == pytest.approx(clean, abs=0.101)

    def test_the_picture(self, evaluated):
        assert (evaluated[2] / "evaluation.png").read_bytes().startswith(PNG)


class TestTarget:
    def test_without_one_the_recorded_answers_stay(self, artifact, tmp_path, monkeypatch):
        monkeypatch.setattr(evaluate, "TARGET", tmp_path)
        options = ("--artifact", artifact, "--reports", tmp_path, "--drift", "gain-in-dollars")
        result = run(evaluate.main, "--data", "sample", *options)
        assert (result.status, result.err) == (0, "")
        assert "answers        as recorded, for want of a target: flatters the metric" in result.out

    def test_one_that_fails(self, artifact, adult_package, tmp_path):
        folder = shutil.copytree(adult_package, tmp_path / "failing")
        (folder / "src" / "func_main.py").write_text(
            "def predict(**_):\n    raise ValueError('no')"
        )
        options = ("--artifact", artifact, "--reports", tmp_path, "--target", folder)
        result = run(evaluate.main, "--data", "sample", *options)
        assert_one_line(result, f"{folder} fails: ValueError: no")

    def test_no_such_target(self, artifact, tmp_path):
        options = ("--artifact", artifact, "--reports", tmp_path, "--target", tmp_path / "none")
        assert_one_line(run(evaluate.main, "--data", "sample", *options), tmp_path / "none")


class TestProblems:
    def test_no_artifact(self, tmp_path):
        result = run(evaluate.main, "--artifact", tmp_path / "none")
        assert_one_line(result, "cannot load", "make train")

    def test_an_artifact_without_held_out_counts(self, artifact, tmp_path):
        detector = load(artifact)
        detector.calibration_ = {}
        detector.save(tmp_path / "old.joblib")
        options = ("--artifact", tmp_path / "old.joblib", "--reports", tmp_path)
        result = run(evaluate.main, "--data", "sample", "--drift", "mix", *options)
        assert_one_line(result, "no calibration", "make train")

    def test_an_artifact_of_other_features(self, rows, tmp_path):
        other = PortableKNN().fit(rows[:100, :3], feature_names=["a", "b", "c"])
        other.save(tmp_path / "other.joblib")
        options = ("--artifact", tmp_path / "other.joblib", "--reports", tmp_path)
        assert_one_line(
            run(evaluate.main, *options), "was trained on a, b, c; the contract has age"
        )

    @pytest.mark.parametrize("drift", ["nonsense", "scale:age", "age-in-months,"])
    def test_no_such_corruption(self, drift, artifact, tmp_path):
        options = ("--artifact", artifact, "--reports", tmp_path, "--drift", drift)
        assert_one_line(run(evaluate.main, "--data", "sample", *options), "expected")

    def test_nowhere_to_draw(self, tmp_path, artifact):
        (tmp_path / "file").touch()
        options = ("--artifact", artifact, "--reports", tmp_path / "file" / "inside")
        assert_one_line(run(evaluate.main, "--data", "sample", *options), tmp_path / "file")


# Requests until each change is detected, the median of 200 streams; None where it is missed.
DELAYS = {
    "age-in-months": 5,
    "hours-per-month": 5,
    "age-missing": 5,
    "age-hours-swapped": 62,
    "country-shuffled": None,
    "gain-in-dollars": 86,
    "classes-flipped": None,
    "classes-constant": None,
    "classes-random": None,
    "marital-shuffled": None,
    "codes-shifted": None,
    "rows-mixed": 205,
    "codes-zeroed": 8,
    "sex-flipped": None,
    "country-new": 5,
}
# The field that a corruption of a single field must be put down to.
FIELDS = {
    "age-in-months": "age",
    "hours-per-month": "hours_per_week",
    "age-missing": "age",
    "gain-in-dollars": "capital_gain",
    "classes-flipped": "classes",
    "classes-constant": "classes",
    "classes-random": "classes",
    "marital-shuffled": "marital_status",
    "codes-shifted": "relationship",
    "sex-flipped": "sex",
    "country-new": "country",
}


@pytest.fixture
def uci_found(uci_package, uci, tmp_path):
    """What is written of UCI's data, as the README has it."""
    adult, source = tmp_path / "adult", ROOT / "examples" / "adult"
    shutil.copytree(source / "src", adult / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(source / "serving.yaml", adult)
    train_adult = load_script(ROOT / "examples" / "adult" / "train.py").main
    assert run(train_adult, "--data", uci, "--out", adult / "classifier.json").status == 0
    artifact = uci_package[0] / "monitoring_model.joblib"
    options = ("--target", adult, "--reports", tmp_path, "--artifact", artifact)
    result = run(evaluate.main, "--data", uci, *options)
    assert (result.status, result.err) == (0, "")
    return json.loads((tmp_path / "evaluation.json").read_text()), artifact, adult


def assert_few_false_alerts(artifact, target):
    """Draw 6,000,000 healthy requests from rows that neither training nor calibration has seen."""
    contract = Contract.read(ROOT)
    rows = load_rows(str(ROOT / "data" / "adult.test"), contract)
    with reaching(target, contract.inputs) as answering:
        rows = answering.answer(rows)
    detector, random = load(artifact), np.random.default_rng(0)
    bets = Bets.of(detector.calibration_)
    exceeded = np.searchsorted(bets.levels, detector.decision_function(rows.values))
    factors, sums, alerts = np.array(bets.factors), np.zeros((1000, 12)), 0
    for _ in range(6000):  # a thousand streams side by side
        sums = (sums + 1) * factors[random.choice(exceeded, 1000)]
        over = sums.mean(axis=1) >= ALERT
        alerts += over.sum()
        sums[over] = 0
    assert alerts <= 3


def assert_delays(found):
    """Assert that each median is the published one within a quarter."""
    for name, median in DELAYS.items():
        if median is None:
            assert found[name]["median"] is None
        else:
            assert found[name]["median"] == pytest.approx(median, rel=0.25), name


def assert_readme(found):
    readme = (ROOT / "README.md").read_text()
    table = dict(re.findall(r"^\| ([a-z][a-z-]+) \| (\S.*) \|$", readme, re.MULTILINE))
    assert set(table) == set(DELAYS)
    for name, cells in table.items():
        one = found[name]
        assert cells == f"{one['alarms']:.1%}, {one['median'] or 'missed'}"
    clean = found["clean"]["alarms"]
    assert f"On clean rows {clean:.1%} of the requests raise an alarm." in readme


@pytest.mark.slow
def test_figures_on_uci(uci_found):
    found, artifact, target = uci_found
    if (ROOT / "data" / "adult.test").exists():
        assert_few_false_alerts(artifact, target)
    assert found["clean"]["alarms"] == 335 / 6513
    assert_delays(found)
    assert_readme(found)
    for name, field in FIELDS.items():
        assert found[name]["field"] == (field if found[name]["median"] else None), name
