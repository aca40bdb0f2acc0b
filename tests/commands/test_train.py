"""`train` and data/make_sample.py: reports, files, and one line for what goes wrong."""

import re
import subprocess
import sys

import joblib
import make_sample
import numpy as np
import pyarrow as pa
import pytest
from helpers import PNG, ROW, UNIT, assert_one_line, copy_package, run
from pyarrow import csv

from knn_metric.data import census
from knn_metric.data.rows import load_census, split
from knn_metric.detection.surprise import FieldSurprise
from portable_knn import PortableKNN


@pytest.fixture
def train(tmp_path, undrawn):
    own = ("--package", copy_package(tmp_path / "package"), "--plot", tmp_path / "a.png")
    return lambda *words: run("train", *own, "--data", *words)


@pytest.fixture
def out(tmp_path, train):
    return tmp_path / "package" / "monitoring_model.joblib"


class TestTrain:
    def test_published_figures(self, uci_package):
        folder, report = uci_package
        (threshold,) = re.findall(r"^threshold_ +(\S+)$", report, re.MULTILINE)
        assert float(threshold) == pytest.approx(4.236688464332743, rel=UNIT, abs=0)
        for figure in ("1302/26048 rows", "335/6513 rows", "5.00%", "5.14%"):
            assert figure in report
        artifact = folder / "monitoring_model.joblib"
        assert artifact.stat().st_size <= 250_000
        origin = joblib.load(artifact).origin_
        assert (origin["source"], origin["sha256"]) == ("uci", census.UCI_SHA256)

    def test_what_it_saves(self, package, detector):
        assert list(detector.feature_names_in_) == list(census.FEATURES)
        assert detector.origin_["source"] == "sample"
        assert (detector.n_neighbors, detector.p, detector.contamination) == (15, 5, 0.05)
        assert (package / "reports" / "knn.png").read_bytes().startswith(PNG)

    @pytest.mark.slow
    def test_the_same_data_gives_the_same_bytes_in_another_process(self, artifact, tmp_path):
        folder = copy_package(tmp_path / "again")
        options = ("--data", "sample", "--package", folder, "--plot", tmp_path / "again.png")
        line = [sys.executable, "-m", "knn_metric", "train", *options]
        result = subprocess.run(line, capture_output=True, text=True)
        assert (result.returncode, result.stderr) == (0, "")  # the progress bar is for terminals
        assert (folder / artifact.name).read_bytes() == artifact.read_bytes()

    def test_options_reach_the_detector(self, train, out, people):
        options = "--neighbors 5 --p 2 --contamination 0.1 --test-size 0.5 --seed 3"
        assert train(people, *options.split()).status == 0
        detector = joblib.load(out)
        expected = PortableKNN(n_neighbors=5, p=2, contamination=0.1)
        expected.fit(split(load_census(people), 0.5, 3)[0].values)
        np.testing.assert_array_equal(detector.decision_scores_, expected.decision_scores_)

    def test_the_calibration(self, detector, healthy):
        """How many held-out rows exceed each level of the score and of each field's surprise."""
        calibration = detector.calibration_
        tested = {"score": detector.decision_function(healthy.values)}
        surprises = FieldSurprise.of(detector).surprise(healthy.values)
        tested |= dict(zip(census.FEATURES, surprises.T, strict=True))
        levels = {"score": calibration["score"], **calibration["fields"]}
        for name, values in tested.items():
            above = [np.sum(values > level) for level in levels[name][0]]
            assert levels[name][1:] == [above, [1400] * len(above)]
            assert (above[0] <= 700, above[-1] <= 14) == (True, True)
        assert levels["score"][0][2] == detector.threshold_
        assert calibration["alarms"] == levels["score"][1][2]
        assert set(census.FEATURES) - set(calibration["codes"]) == {"age", "hours_per_week"}
        assert 1 - calibration["confidence"] == pytest.approx(0.001 / (4 * 14))
        assert calibration["rejected"] == [0, 7000]

    def test_the_sample_does_not_replace_another_artifact(
        self, train, out, people, tmp_path, monkeypatch
    ):
        small = tmp_path / "small.csv"
        small.write_text("\n".join(people.read_text().splitlines()[:200]))
        monkeypatch.setattr(census, "SAMPLE_PATH", small)
        out.touch()
        words = "is trained on {}, and the sample would replace it"
        assert_one_line(train("sample"), words.format("data that cannot be read"), "--force does")
        assert train(people).status == 0
        before = out.read_bytes()
        assert_one_line(train("sample"), words.format("people.csv"), "--force does")
        assert out.read_bytes() == before
        assert train("sample", "--force").status == 0
        *_, old = sorted(out.parent.glob(f"{out.name}.*"))
        assert old.read_bytes() == before
        assert joblib.load(out).origin_["source"] == "sample"


class TestSample:
    def test_nobody_in_it_is_in_ucis_file(self, uci):
        sample, real = (census.read(path.read_bytes(), path) for path in (census.SAMPLE_PATH, uci))
        assert not set(sample) & set(real)

    def test_a_known_person_is_drawn_again(self, tmp_path):
        path = tmp_path / "one.csv"
        path.write_text(ROW)
        out = tmp_path / "sample.csv"
        result = run(make_sample.main, "--data", path, "--rows", 50, "--out", out)
        assert_one_line(result, "1 rows are too few to draw 50 other people from")

    @pytest.mark.slow
    def test_make_sample_made_it(self, uci, tmp_path):
        out = tmp_path / "sample.csv"
        result = run(make_sample.main, "--data", uci, "--out", out)
        assert result.status == 0, result.err
        assert out.read_bytes() == census.SAMPLE_PATH.read_bytes()


def test_identical_rows_are_no_reason_for_warnings(train, tmp_path, recwarn):
    data = tmp_path / "same.data"
    data.write_text(f"{ROW}\n" * 100)
    result = train(data)
    assert (result.status, result.err, list(recwarn)) == (0, "", [])
    assert "add nothing: all rows are equal" in result.out


def test_the_log_drifts_and_may_be_of_several_files(train, out, sample, tmp_path):
    """An hour each row, in the last 150 of which the age is in months."""
    rows = sample.values[:2500].astype(int)
    rows[2350:, 0] *= 12
    times = np.datetime64("2026-01-05T00") + np.arange(len(rows))
    columns = dict(zip(census.FEATURES, rows.T, strict=True))
    log = pa.table({**columns, "at": times.astype("M8[s]")})
    paths = tmp_path / "a.csv", tmp_path / "b.csv"
    for path, part in zip(paths, (log[:2000], log[2000:]), strict=True):
        csv.write_csv(part, path)
    result = train(*paths, "--time", "at")
    assert (result.status, result.err) == (0, "")
    onset = (
        "the traffic of these rows changed at about 2026-04-12 22:00+00:00 in age: train on what"
    )
    assert onset in result.out
    assert "hold for traffic as a whole, since the rows are too few" in result.out
    detector = joblib.load(out)
    assert detector.origin_["source"] == "a.csv b.csv (2 files)"
    assert len(detector.training_rows_) + detector.calibration_["rows"] == 2500
    assert_one_line(train("sample", *paths), "sample is of the census, which is read alone")
