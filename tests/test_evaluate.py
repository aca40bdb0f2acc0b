"""scripts/evaluate.py and the corruptions that it measures."""

import re

from lib import census, drift

import joblib
import numpy as np
import pytest
from helpers import PNG, assert_one_line, run

import evaluate

COLUMN = drift.COLUMN


@pytest.fixture(scope="module")
def records():
    return census.load("sample").records


class TestDrift:
    @pytest.mark.parametrize("name", drift.DRIFTS)
    def test_only_its_own_columns_change(self, name, rows, records):
        columns = {
            "age-in-months": ["age"],
            "hours-per-month": ["hours_per_week"],
            "age-missing": ["age"],
            "age-hours-swapped": ["age", "hours_per_week"],
            "country-shuffled": ["country"],
            "gain-in-dollars": ["capital_gain"],
            "classes-flipped": ["classes"],
        }[name]
        before = rows.copy()
        after = drift.corrupt(name, rows, records)
        changed = (after != rows).any(axis=0)
        assert [f for f, c in zip(census.FEATURES, changed, strict=True) if c] == columns
        assert after.dtype == np.int64
        np.testing.assert_array_equal(rows, before)

    def test_values(self, rows, records):
        row, record = rows[:1], records[:1]
        age, hours = row[0, COLUMN["age"]], row[0, COLUMN["hours_per_week"]]

        def get(name, column):
            return drift.corrupt(name, row, record)[0, COLUMN[column]]

        assert get("age-in-months", "age") == 12 * age
        assert get("hours-per-month", "hours_per_week") == round(hours * 52 / 12)
        assert get("age-missing", "age") == 0
        assert get("age-hours-swapped", "age") == hours
        assert get("age-hours-swapped", "hours_per_week") == age
        gain = int(record[0][census.COLUMNS.index("capital_gain")])
        assert get("gain-in-dollars", "capital_gain") == gain
        assert get("classes-flipped", "classes") == 1 - row[0, COLUMN["classes"]]


class TestEvaluate:
    def test_figures_on_uci(self, uci_package, uci, tmp_path):
        artifact, plot = uci_package[0] / "monitoring_model.joblib", tmp_path / "evaluation.png"
        result = run(evaluate.main, "--data", uci, "--artifact", artifact, "--plot", plot)
        assert result.status == 0, result.err
        lines = dict(re.findall(r"^(\S+) +(\d+\.\d\d%.*)$", result.out, re.MULTILINE))
        expected = {
            "clean": "5.14%",
            "age-in-months": "100.00%     1.000  seen",
            "hours-per-month": "96.64%     0.991  seen",
            "age-missing": "100.00%     1.000  seen",
            "age-hours-swapped": "9.87%     0.717  seen in part",
            "country-shuffled": "5.42%     0.504  missed",
            "gain-in-dollars": "12.97%     0.658  seen in part",
            "classes-flipped": "5.13%     0.518  missed",
        }
        assert {name: lines[name] for name in expected} == expected
        assert "uci, 6,513 rows held out by training" in result.out
        assert "4.63% to 5.71%" in result.out
        assert plot.read_bytes().startswith(PNG)

    def test_thresholds_are_those_of_other_contaminations(self, artifact, tmp_path):
        options = ("--artifact", artifact, "--plot", tmp_path / "a.png")
        result = run(evaluate.main, "--data", "sample", *options)
        assert (result.status, result.err) == (0, "")
        block = result.out.split("\n\n")[2].splitlines()
        table = {line.split()[0]: [float(c.strip("%")) for c in line.split()[1:]] for line in block}
        asked = dict(zip(table["contamination"], table["threshold"], strict=True))
        (trained,) = re.findall(r"^threshold_ +(\S+)$", result.out, re.MULTILINE)
        assert asked[5.0] == pytest.approx(float(trained), abs=1e-3)
        assert table["threshold"] == sorted(table["threshold"])
        clean = re.search(r"^clean +(\d+\.\d)", result.out, re.MULTILINE)[1]
        assert table["clean"][1] == pytest.approx(float(clean), abs=0.101)
        assert all(rate == 100 for rate in table["age-in-months"])

    def test_seen_in_part_is_more_than_chance(self):
        def judge(alarms):
            clean = evaluate.Result("clean", np.repeat([0, 9], [950, 50]))
            result = evaluate.Result("other", np.repeat([0, 9], [1000 - alarms, alarms]))
            return evaluate.judge(result, clean, 5)

        said = [judge(alarms) for alarms in (0, 50, 60, 150, 499, 500, 1000)]
        assert said == ["missed"] * 3 + ["seen in part"] * 2 + ["seen"] * 2

    def test_an_auc_of_zero_is_printed(self):
        clean = evaluate.Result("clean", np.ones(10))
        result = evaluate.Result("other", np.zeros(10), 0.0)
        assert "0.000" in evaluate.format_alarms([clean, result], 5).splitlines()[-1]

    def test_any_file_name_can_be_drawn(self, artifact, tmp_path):
        """Also one that matplotlib would take for a formula; training rows of no known origin."""
        data, model = tmp_path / "a$x_$_{b.csv", tmp_path / "model.joblib"
        data.write_text("\n".join(census.SAMPLE_PATH.read_text().splitlines()[:200]))
        detector = joblib.load(artifact)
        detector.origin_ = {}
        detector.save(model)
        options = ("--artifact", model, "--plot", tmp_path / "a.png")
        result = run(evaluate.main, "--data", data, *options)
        assert (result.status, result.err) == (0, "")

    def test_no_artifact(self, tmp_path):
        result = run(evaluate.main, "--artifact", tmp_path / "none")
        assert_one_line(result, "cannot load", "make train")

    def test_nowhere_to_draw(self, tmp_path, artifact):
        (tmp_path / "file").touch()
        options = ("--artifact", artifact, "--plot", tmp_path / "file" / "a.png")
        assert_one_line(run(evaluate.main, "--data", "sample", *options), tmp_path / "file")
