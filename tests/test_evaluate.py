"""scripts/evaluate.py and the corruptions that it measures."""

import re

from lib import census, drift
from lib.alarm_rate import STEPS, is_news, requests_to_notice
from lib.command import ROOT
from lib.fitting import fit_detector

import joblib
import numpy as np
import pytest
from helpers import PNG, assert_one_line, run

import evaluate

COLUMN = {name: index for index, name in enumerate(census.FEATURES)}


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
            "classes-constant": ["classes"],
            "classes-random": ["classes"],
            "marital-shuffled": ["marital_status"],
            "codes-shifted": ["relationship"],
            "rows-mixed": list(census.FEATURES),
            "codes-zeroed": [name for name in census.CATEGORIES if name != "classes"],
            "sex-flipped": ["sex"],
            "country-new": ["country"],
        }[name]
        before = rows.copy()
        after = drift.corrupt(name, rows, records)
        changed = (after != rows).any(axis=0)
        assert [f for f, c in zip(census.FEATURES, changed, strict=True) if c] == columns
        assert after.dtype == np.int64
        np.testing.assert_array_equal(rows, before)

    def test_values(self, rows, records):
        def get(name, column):
            return drift.corrupt(name, rows, records)[:, COLUMN[column]].tolist()

        now = dict(zip(census.FEATURES, rows.T.tolist(), strict=True))
        gain = census.COLUMNS.index("capital_gain")
        hours = [round(hours * 52 / 12) for hours in now["hours_per_week"]]
        zeros = [0] * len(rows)
        for (name, column), expected in {
            ("age-in-months", "age"): [12 * age for age in now["age"]],
            ("hours-per-month", "hours_per_week"): hours,
            ("age-missing", "age"): zeros,
            ("age-hours-swapped", "age"): now["hours_per_week"],
            ("age-hours-swapped", "hours_per_week"): now["age"],
            ("gain-in-dollars", "capital_gain"): [int(record[gain]) for record in records],
            ("classes-flipped", "classes"): [1 - classes for classes in now["classes"]],
            ("classes-constant", "classes"): [1] * len(rows),
            ("codes-shifted", "relationship"): [(code + 1) % 6 for code in now["relationship"]],
            ("codes-zeroed", "occupation"): zeros,
            ("sex-flipped", "sex"): [1 - sex for sex in now["sex"]],
            ("country-new", "country"): [99] * len(rows),
        }.items():
            assert get(name, column) == expected, name
        for name, column in (("marital-shuffled", "marital_status"), ("rows-mixed", "age")):
            assert sorted(get(name, column)) == sorted(now[column])
        assert 0.45 < np.mean(get("classes-random", "classes")) < 0.55

    def test_answers(self):
        def answers(name):
            return [drift.corrupt_answer(name, 0, seed) for seed in range(200)]

        assert answers("age-in-months") == [0] * 200
        assert answers("classes-flipped") == answers("classes-constant") == [1] * 200
        assert 70 < sum(answers("classes-random")) < 130
        assert answers("classes-random") == answers("classes-random")


class TestRequestsToNotice:
    @pytest.mark.parametrize("rate", [0.085, 0.12, 0.2, 0.31, 0.54, 0.97])
    def test_by_trial(self, rate):
        """Drawn at random, nine in ten are news after so many requests, not a step earlier."""
        requests = requests_to_notice(rate, 0.05)
        earlier = STEPS[STEPS.index(requests) - 1] if requests > STEPS[0] else 1
        for n, expected in ((requests, True), (earlier, False)):
            drawn = np.random.default_rng(0).binomial(n, rate, 2000)
            news = {alarms: is_news(alarms, n, 0.05) for alarms in np.unique(drawn).tolist()}
            assert (np.mean([news[alarms] for alarms in drawn.tolist()]) > 0.9) == expected

    @pytest.mark.parametrize("rate", [0.0, 0.05, 0.056])
    def test_what_is_never_noticed(self, rate):
        assert requests_to_notice(rate, 0.05) is None


# Alarms in percent, and requests to notice, of each distance.
FIGURES = {
    "age-in-months": (100, "10", 100, "10"),
    "hours-per-month": (96.64, "10", 94.09, "10"),
    "age-missing": (100, "10", 100, "10"),
    "age-hours-swapped": (9.87, "750", 8.52, "1,000"),
    "country-shuffled": (5.42, "-", 5.62, "-"),
    "gain-in-dollars": (12.97, "300", 85.28, "10"),
    "classes-flipped": (5.13, "-", 31.11, "50"),
    "classes-constant": (5.13, "-", 27.91, "50"),
    "classes-random": (5.13, "-", 18.19, "150"),
    "marital-shuffled": (4.96, "-", 41.47, "50"),
    "codes-shifted": (5.24, "-", 43.57, "20"),
    "rows-mixed": (7.06, "3,000", 53.65, "20"),
    "codes-zeroed": (100, "10", 26.85, "50"),
    "sex-flipped": (5.19, "-", 12.07, "300"),
    "country-new": (100, "10", 100, "10"),
}


def read_alarms(out):
    """Return the table's cells by kind of rows: alarms, ROC AUC, notice, of each distance."""
    lines = out.split("\n\n")[1].splitlines()[2:]
    return {line.split()[0]: [cell.strip("%") for cell in line.split()[1:7]] for line in lines}


class TestEvaluate:
    def test_figures_on_uci(self, uci_package, uci, tmp_path):
        artifact, plot = uci_package[0] / "monitoring_model.joblib", tmp_path / "evaluation.png"
        result = run(evaluate.main, "--data", uci, "--artifact", artifact, "--plot", plot)
        assert result.status == 0, result.err
        table = read_alarms(result.out)
        assert [float(cell) for cell in table.pop("clean")] == [5.14, 5.40]
        for name, (rate, _, notice, hvdm_rate, _, hvdm_notice) in table.items():
            assert (float(rate), notice, float(hvdm_rate), hvdm_notice) == FIGURES[name], name
            cells = f"{float(rate):.1f}%, {notice} | {float(hvdm_rate):.1f}%, {hvdm_notice}"
            assert f"| {name} | {cells} |" in (ROOT / "README.md").read_text()
        assert len(table) == len(drift.DRIFTS)
        assert table["age-hours-swapped"][1::3] == ["0.717", "0.650"]
        assert "uci, 6,513 rows held out by training" in result.out
        assert "4.63% to 5.71%" in result.out
        assert plot.read_bytes().startswith(PNG)

    def test_the_other_distance_is_fitted_on_the_same_rows(self, artifact, hvdm_package, tmp_path):
        """Whichever the artifact's is, the two are the same two."""
        tables = []
        for path in (artifact, hvdm_package / "monitoring_model.joblib"):
            options = ("--artifact", path, "--plot", tmp_path / "a.png")
            result = run(evaluate.main, "--data", "sample", *options)
            assert (result.status, result.err) == (0, "")
            tables.append(read_alarms(result.out))
        half = {name: len(cells) // 2 for name, cells in tables[0].items()}
        turned = {
            name: cells[half[name] :] + cells[: half[name]] for name, cells in tables[0].items()
        }
        assert turned == tables[1]

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

    def test_one_distance_that_cannot_be_fitted(self, rows, artifact, tmp_path):
        """The artifact's own figures are still told."""
        poor = rows[rows[:, -1] == 0][:500]
        path = tmp_path / "model.joblib"
        fit_detector(poor).save(path)
        options = ("--artifact", path, "--plot", tmp_path / "a.png")
        result = run(evaluate.main, "--data", "sample", *options)
        assert (result.status, result.err) == (0, "")
        assert result.out.startswith("hvdm cannot be fitted beside: the outcome must be 0 in some")
        assert "minkowski, k = 15, p = 5\nrows " in result.out

    def test_no_artifact(self, tmp_path):
        result = run(evaluate.main, "--artifact", tmp_path / "none")
        assert_one_line(result, "cannot load", "make train")

    def test_nowhere_to_draw(self, tmp_path, artifact):
        (tmp_path / "file").touch()
        options = ("--artifact", artifact, "--plot", tmp_path / "file" / "a.png")
        assert_one_line(run(evaluate.main, "--data", "sample", *options), tmp_path / "file")
