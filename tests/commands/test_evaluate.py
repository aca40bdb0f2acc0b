"""`evaluate`: its table and its figures as JSON, of the sample and of UCI's data."""

import json
import shutil

import numpy as np
import pytest
from helpers import NORMAL, PNG, assert_one_line, copy_package, run, train_adult

from knn_metric.data import census
from knn_metric.data.corruptions import corrupt, parse_corruption
from knn_metric.detection import evaluation
from knn_metric.files import ROOT
from portable_knn import PortableKNN

CORRUPTIONS = ("age-in-months", "classes-flipped", "country-shuffled")


@pytest.fixture(scope="module")
def evaluated(artifact, adult_package, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    options = ("--package", artifact.parent, "--target", adult_package)
    options = (*options, "--corrupt", ",".join(CORRUPTIONS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "STREAMS", 20)
        patch.setattr(evaluation, "MOST", 500)
        result = run("evaluate", "--data", "sample", "--out", folder, *options)
    assert (result.status, result.err) == (0, "")
    assert (folder / "evaluation.png").read_bytes().startswith(PNG)
    return result.out, json.loads((folder / "evaluation.json").read_text())


class TestOutputs:
    def test_the_table_says_what_the_json_says(self, evaluated):
        out, found = evaluated
        lines = out.split("\n\n")[1].splitlines()[1:]
        table = {name: cells for name, *cells in map(str.split, lines)}
        assert list(found) == list(table) == ["clean", *CORRUPTIONS]
        for name, cells in table.items():
            rate, *delays, field, named = found[name].values()
            expected = [f"{rate:.1%}"]
            if name != "clean":
                expected += ["-" if delay is None else f"{delay:,}" for delay in delays]
                expected += [f"{named:.0%}", *([field] if field else [])]
            assert cells[: len(expected)] == expected

    def test_what_it_finds_in_held_out_rows(self, evaluated, detector, healthy):
        """A field that the target does not take: its answers stay those of the clean rows."""
        out, found = evaluated
        assert "1,400 rows held out by training" in out
        changed = corrupt(parse_corruption("age-in-months", healthy), healthy)
        alarms = np.mean(detector.decision_function(changed.values) > detector.threshold_)
        seen = {"alarm_rate": pytest.approx(alarms), "median": 6, "field": "age", "named": 1.0}
        assert {name: found["age-in-months"][name] for name in seen} == seen
        missed = dict.fromkeys(("median", "p90", "field"))
        assert found["country-shuffled"].items() >= missed.items()
        flipped = found["classes-flipped"]
        assert (flipped["field"], flipped["median"] < 30) == ("classes", True)

    def test_thresholds_are_those_of_other_contaminations(self, evaluated, detector):
        block = evaluated[0].split("\n\n")[2].splitlines()
        table = {line.split()[0]: [float(c.strip("%")) for c in line.split()[1:]] for line in block}
        assert table["contamination"][1] == 5
        assert table["threshold"][1] == pytest.approx(detector.threshold_, abs=1e-3)
        assert table["threshold"] == sorted(table["threshold"])
        clean = 100 * evaluated[1]["clean"]["alarm_rate"]
        assert table["clean"][1] == pytest.approx(clean, abs=0.101)


@pytest.fixture
def evaluate(few_streams, undrawn, artifact, people, tmp_path):
    own = ("--data", people, "--package", artifact.parent, "--out", tmp_path)
    return lambda *options: run("evaluate", *own, *options)


def test_without_a_target_the_recorded_answers_stay(evaluate):
    result = evaluate("--corrupt", "gain-in-dollars")
    assert (result.status, result.err) == (0, "")
    assert "answers        as recorded, for want of a --target" in result.out


def test_a_target_that_fails_and_none(evaluate, light_package, tmp_path):
    source = "def predict(**_):\n    raise ValueError('no')"
    (light_package / "src" / "func_main.py").write_text(source)
    assert_one_line(evaluate("--target", light_package), f"{light_package} fails: ValueError: no")
    assert_one_line(evaluate("--target", tmp_path / "none"), tmp_path / "none")


@pytest.mark.usefixtures("few_streams")
def test_a_target_that_fails_on_what_is_corrupted(evaluate, light_package):
    source = "def predict(age, **_):\n    return {'classes': 90 // int(age) % 2}"
    (light_package / "src" / "func_main.py").write_text(source)
    result = evaluate("--target", light_package, "--corrupt", "fill:age:0,flip:sex")
    assert (result.status, "\nflip:sex " in result.out) == (0, True)
    words = f"fill:age:0 is not measured: {light_package} fails: ZeroDivisionError: "
    assert words in result.err
    result = evaluate("--target", light_package, "--corrupt", "fill:age:0")
    assert_one_line(result, words)


COMMANDS = (
    "evaluate --data sample --out {0} --corrupt mix",
    "replay --out {0} --target {0}",
    " ".join(["explain", *(f"{name}={code}" for name, code in NORMAL.items())]),
    "score sample --out {0}/out",
    "serve --port 0",
)
OLD = [*census.FEATURES[1:], "years"]
OTHER = "was trained on other fields than serving.yaml has: train again (it lacks age; serving."


@pytest.mark.parametrize(
    ("names", "words", "commands"),
    [
        ((), "cannot load", COMMANDS[:4]),
        (census.FEATURES, "no levels of fields", COMMANDS[:3]),
        (OLD, f"{OTHER}yaml lacks years)", COMMANDS),
    ],
    ids=["none", "without levels of fields", "of a contract that was edited after training"],
)
def test_artifacts_are_blamed_before_rows_are_read(names, words, commands, rows, tmp_path):
    detector = PortableKNN().fit(rows[:100], feature_names=names) if names else None
    folder = copy_package(tmp_path / "package", detector)
    for command in commands:
        result = run(*command.format(tmp_path).split(), "--package", folder)
        assert_one_line(result, words, "train")


def test_a_contract_that_says_text_is_refused(artifact, tmp_path):
    """Else every number of that column would be read as 0."""
    folder = copy_package(tmp_path / "edited")
    shutil.copy(artifact, folder)
    text = (folder / "serving.yaml").read_text()
    (folder / "serving.yaml").write_text(text.replace("type: int64", "type: string", 1))
    result = run("score", "sample", "--out", tmp_path / "out", "--package", folder)
    assert_one_line(result, "input age is scalar string, and a metric takes scalar numbers")


@pytest.mark.slow
def test_figures_on_uci(uci_package, uci, tmp_path):
    """As the README prints them, which has the field of each."""
    adult = train_adult(tmp_path / "adult", uci)
    options = ("--target", adult, "--out", tmp_path, "--package", uci_package[0])
    result = run("evaluate", "--data", uci, *options)
    assert (result.status, result.err) == (0, "")
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found.pop("clean")["alarm_rate"] == 335 / 6513
    detected = [one for one in found.values() if one["median"] is not None]
    assert len(detected) >= 14
    assert sum(one["median"] <= 20 and (one["p90"] or 99) <= 30 for one in detected) >= 12
    assert sum(one["named"] >= 0.9 for one in found.values()) >= 11
    table = result.out.split("\n\n")[1]
    assert f"```\n{table}\n```" in (ROOT / "README.md").read_text()
