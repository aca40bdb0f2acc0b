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
def train(tmp_path):
    """Return a function that trains a package in which no artifact is yet."""
    folder = copy_package(tmp_path / "package")

    def train(*words):
        own = ("--package", folder, "--plot", tmp_path / "a.png")
        return run("train", "--data", *words, *own)

    return train


@pytest.fixture
def out(tmp_path, train):
    """Where its artifact is put."""
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

    def test_options_reach_the_detector(self, train, out):
        options = "--neighbors 5 --p 2 --contamination 0.1 --test-size 0.5 --seed 3"
        assert train("sample", *options.split()).status == 0
        detector = joblib.load(out)
        expected = PortableKNN(n_neighbors=5, p=2, contamination=0.1)
        expected.fit(split(load_census("sample"), 0.5, 3)[0].values)
        np.testing.assert_array_equal(detector.decision_scores_, expected.decision_scores_)

    def test_the_calibration(self, detector, healthy):
        """How many held-out rows exceed each level of the score and of each field's surprise."""
        scores = detector.decision_function(healthy.values)
        calibration = detector.calibration_
        assert calibration["rows"] == len(scores) == 1400
        levels, above, rows = calibration["score"]
        assert above == [np.sum(scores > level) for level in levels]
        assert levels[2] == detector.threshold_
        assert calibration["alarms"] == above[2]
        assert rows == [1400] * 4
        numbers = set(census.FEATURES) - set(calibration["codes"])
        assert numbers == {"age", "hours_per_week"}
        surprises = FieldSurprise.of(detector).surprise(healthy.values)
        for name, column in zip(census.FEATURES, surprises.T, strict=True):
            levels, above, _ = calibration["fields"][name]
            assert above == [np.sum(column > level) for level in levels]
            assert above[0] <= 700
            assert above[-1] <= 14
        assert 1 - calibration["confidence"] == pytest.approx(0.001 / (4 * 14))
        assert calibration["rejected"] == [0, 7000]

    @pytest.mark.parametrize(
        ("options", "word"),
        [
            ("--neighbors x", "invalid number value: 'x'"),
            ("--p 0.5", "knn-metric train: argument --p: must be from 1 to 15, got 0.5"),
            ("--contamination 0.6", "--contamination"),
            ("--test-size nan", "--test-size"),
            ("--time at", "--time=at: sample is of the census, which has no times"),
        ],
    )
    def test_bad_options(self, options, word, train):
        assert_one_line(train("sample", *options.split()), word)

    def test_what_is_refused_leaves_the_old_artifact(self, train, out, tmp_path):
        people = tmp_path / "people.csv"
        people.write_text(f"{ROW}\n39, State-gov\n")
        out.write_bytes(b"old")
        assert_one_line(train(people), f"train: {people}:2: expected 15 columns, got 2")
        (tmp_path / "a.png").mkdir()
        assert_one_line(train("sample"), "a.png cannot be written: Is a directory")
        assert out.read_bytes() == b"old"

    @pytest.mark.parametrize("source", ["mine.csv", "data that cannot be read"])
    def test_the_sample_does_not_replace_another_artifact(self, train, out, tmp_path, source):
        out.touch()
        if source == "mine.csv":
            people = census.SAMPLE_PATH.read_text().splitlines()[:500]
            (tmp_path / source).write_text("\n".join(people))
            assert train(tmp_path / source).status == 0
        before = out.read_bytes()
        words = f"is trained on {source}, and the sample would replace it"
        assert_one_line(train("sample"), words, "--force does")
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


class TestTimes:
    @pytest.fixture
    def log(self, tmp_path):
        """The rows of the sample, an hour each, in the last 500 of which a code is flipped."""
        rows = load_census("sample").values.astype(int)
        rows[6500:, 7] = 1 - rows[6500:, 7]
        times = np.datetime64("2026-01-05T00") + np.arange(len(rows))
        columns = dict(zip(census.FEATURES, rows.T, strict=True))
        csv.write_csv(pa.table({**columns, "at": times.astype("M8[s]")}), tmp_path / "log.csv")
        return tmp_path / "log.csv"

    @pytest.mark.parametrize("options", [(), ("--time", "at")])
    def test_the_log_drifts(self, options, log, train):
        result = train(log, *options)
        assert (result.status, result.err) == (0, "")
        assert "drift       the traffic of these rows changed at about 2026-10-" in result.out
        assert " in sex: train on what came after" in result.out
        assert "bounds      hold for traffic as a whole, since the rows are too few" in result.out

    def test_several_files_are_one_log(self, train, out, log, tmp_path):
        head, *lines = log.read_text().splitlines()[:601]
        for name, part in (("a.csv", lines[:300]), ("b.csv", lines[300:])):
            (tmp_path / name).write_text("\n".join([head, *part]))
        assert train(tmp_path / "a.csv", tmp_path / "b.csv").status == 0
        detector = joblib.load(out)
        assert detector.origin_["source"] == "a.csv b.csv (2 files)"
        assert len(detector.training_rows_) + detector.calibration_["rows"] == 600
        assert_one_line(train("sample", log), "sample is of the census, which is read alone")
