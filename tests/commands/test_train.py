"""`train` and data/make_sample.py: reports, files, and one line for what goes wrong."""

import os
import re
import resource
import shutil
import signal
from datetime import datetime, timedelta

import joblib
import make_sample
import numpy as np
import pytest
from helpers import PNG, ROW, UNIT, assert_one_line, copy_package, run, run_process

from knn_metric.data import census
from knn_metric.data.census import load_census
from knn_metric.data.rows import split
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
        detector = joblib.load(artifact)
        assert detector.origin_["source"] == "uci"
        assert detector.origin_["sha256"] == census.UCI_SHA256

    def test_what_it_saves(self, package):
        detector = joblib.load(package / "monitoring_model.joblib")
        assert list(detector.feature_names_in_) == list(census.FEATURES)
        assert detector.origin_["source"] == "sample"
        assert (detector.n_neighbors, detector.p, detector.contamination) == (15, 5, 0.05)
        assert (package / "reports" / "knn.png").read_bytes().startswith(PNG)

    @pytest.mark.slow
    def test_the_same_data_gives_the_same_bytes(self, artifact, tmp_path):
        """In another process, too."""
        folder, plot = copy_package(tmp_path / "again"), tmp_path / "again.png"
        options = ("--data", "sample", "--package", folder, "--plot", plot)
        result = run_process("train", *options)
        assert (result.status, result.err) == (0, "")  # the progress bar is for terminals
        again = folder / "monitoring_model.joblib"
        assert again.read_bytes() == artifact.read_bytes()

    def test_options_reach_the_detector(self, train, out):
        options = "--neighbors 5 --p 2 --contamination 0.1 --test-size 0.5 --seed 3"
        assert train("sample", *options.split()).status == 0
        detector = joblib.load(out)
        expected = PortableKNN(n_neighbors=5, p=2, contamination=0.1)
        expected.fit(split(load_census("sample"), 0.5, 3)[0].values)
        np.testing.assert_array_equal(detector.decision_scores_, expected.decision_scores_)

    def test_the_calibration(self, package):
        """How many held-out rows exceed each level of the score and of each field's surprise."""
        detector = joblib.load(package / "monitoring_model.joblib")
        held_out = split(load_census("sample"))[1].values
        scores = detector.decision_function(held_out)
        calibration = detector.calibration_
        assert calibration["rows"] == len(scores) == 1400
        levels, above, rows = calibration["score"]
        assert above == [np.sum(scores > level) for level in levels]
        assert levels[2] == detector.threshold_
        assert calibration["alarms"] == above[2]
        assert rows == [1400] * 4
        numbers = set(census.FEATURES) - set(calibration["codes"])
        assert numbers == {"age", "hours_per_week"}
        surprises = FieldSurprise.of(detector).surprise(held_out)
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
            ("--neighbors 0", "--neighbors: must be from 1 to 10,000, got 0"),
            ("--neighbors x", "invalid number value: 'x'"),
            ("--p 0.5", "knn-metric train: argument --p: must be from 1 to 15, got 0.5"),
            ("--contamination 0.6", "--contamination"),
            ("--test-size nan", "--test-size"),
            ("--seed -1", "--seed"),
        ],
    )
    def test_bad_options(self, options, word, train):
        assert_one_line(train("sample", *options.split()), word)

    def test_bad_data(self, train, out, tmp_path):
        few, people = tmp_path / "few.csv", tmp_path / "people.csv"
        few.write_text("\n".join(census.SAMPLE_PATH.read_text().splitlines()[:10]))
        people.write_text(f"{census.SAMPLE_PATH.read_text().splitlines()[0]}\n39, State-gov\n")
        assert_one_line(train(few), "8 rows are too few for 15 neighbors")
        assert_one_line(train(people), f"train: {people}:2: expected 15 columns, got 2")
        assert not out.exists()

    def test_a_picture_that_cannot_be_drawn_leaves_the_old_artifact(
        self, train, out, artifact, tmp_path
    ):
        shutil.copy(artifact, out)
        (tmp_path / "a.png").mkdir()
        words = "a.png cannot be written: Is a directory"
        assert_one_line(train("sample", "--neighbors", 9), words)
        assert out.read_bytes() == artifact.read_bytes()

    def test_a_full_disk_leaves_the_old_artifact(self, train, out, artifact):
        shutil.copy(artifact, out)
        before = out.read_bytes()
        old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old_limit[1]))
        try:
            result = train("sample")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
            signal.signal(signal.SIGXFSZ, old_handler)
        assert_one_line(result, "File too large")
        assert out.read_bytes() == before
        assert not list(out.parent.glob(".tmp-*"))

    def test_a_killed_training_leaves_the_old_artifact(self, artifact, tmp_path, monkeypatch):
        """Killed between the write of the new one and the rename, the only moment that matters."""
        out = tmp_path / "model.joblib"
        shutil.copy(artifact, out)
        detector = joblib.load(artifact)
        detector.n_neighbors = 9
        child = os.fork()
        if not child:
            monkeypatch.setattr(os, "replace", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            detector.save(out)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        assert out.read_bytes() == artifact.read_bytes()
        assert any(path.name.startswith(".tmp-") for path in tmp_path.iterdir())

    def test_the_sample_does_not_replace_another_artifact(self, train, out, tmp_path):
        path = tmp_path / "mine.csv"
        path.write_text("\n".join(census.SAMPLE_PATH.read_text().splitlines()[:500]))
        assert train(path).status == 0
        before = out.read_bytes()
        result = train("sample")
        assert_one_line(
            result, "is trained on mine.csv, and the sample would replace it", "--force does"
        )
        assert out.read_bytes() == before
        assert train("sample", "--force").status == 0
        assert out.with_name(f"{out.name}.previous").read_bytes() == before
        assert joblib.load(out).origin_["source"] == "sample"

    @pytest.mark.parametrize("content", [b"of another format", b""])
    def test_one_that_cannot_be_read_is_not_replaced_by_the_sample(self, content, train, out):
        out.write_bytes(content)
        result = train("sample")
        assert_one_line(
            result, "is trained on data that cannot be read, and the sample would replace it"
        )
        assert out.read_bytes() == content

    def test_what_is_replaced_is_kept(self, train, out, artifact):
        shutil.copy(artifact, out)
        assert train("sample", "--neighbors", 9).status == 0
        previous = out.with_name(f"{out.name}.previous")
        assert previous.read_bytes() == artifact.read_bytes() != out.read_bytes()


class TestSample:
    def test_it_is_small_and_in_ucis_format(self):
        assert census.SAMPLE_PATH.stat().st_size < 1_000_000
        assert len(load_census("sample")) == 7000

    def test_nobody_in_it_is_in_ucis_file(self, uci):
        sample, real = (census.read(path.read_bytes(), path) for path in (census.SAMPLE_PATH, uci))
        assert not set(sample) & set(real)

    def test_a_known_person_is_drawn_again(self, tmp_path):
        path = tmp_path / "one.csv"
        path.write_text(ROW)
        result = run(
            make_sample.main, "--data", path, "--rows", 50, "--out", tmp_path / "sample.csv"
        )
        assert_one_line(result, "1 rows are too few to draw 50 other people from")

    @pytest.mark.slow
    def test_make_sample_made_it(self, uci, tmp_path):
        out = tmp_path / "sample.csv"
        result = run(make_sample.main, "--data", uci, "--out", out)
        assert result.status == 0, result.err
        assert out.read_bytes() == census.SAMPLE_PATH.read_bytes()

    def test_its_threshold_is_near_that_of_as_many_real_rows(self, uci, package):
        rows = load_census(str(uci)).values
        real = np.random.default_rng(0).choice(rows, 5600, replace=False)
        expected = PortableKNN(n_neighbors=15, p=5, contamination=0.05).fit(real).threshold_
        threshold = joblib.load(package / "monitoring_model.joblib").threshold_
        assert abs(threshold / expected - 1) < 0.15

    def test_bad_options(self):
        assert_one_line(run(make_sample.main, "--rows", 0), "--rows: must be from 1")
        assert_one_line(run(make_sample.main, "--data", "none.csv"), "none.csv", "No such")


def test_identical_rows_are_no_reason_for_warnings(train, tmp_path, recwarn):
    lines = census.SAMPLE_PATH.read_text().splitlines()[:1] * 100
    data = tmp_path / "same.data"
    data.write_text("\n".join(lines))
    result = train(data)
    assert (result.status, result.err, list(recwarn)) == (0, "", [])
    assert "add nothing: all rows are equal" in result.out


class TestTimes:
    @pytest.fixture
    def log(self, tmp_path):
        """The rows of the sample, an hour each, in the last 500 of which a code is flipped."""
        rows = load_census("sample").values.astype(int)
        rows[6500:, 7] = 1 - rows[6500:, 7]
        path = tmp_path / "log.csv"
        begin = datetime(2026, 1, 5)
        with path.open("w") as file:
            print(*census.FEATURES, "at", sep=",", file=file)
            for number, row in enumerate(rows):
                print(*row, begin + timedelta(hours=number), sep=",", file=file)
        return path

    @pytest.mark.parametrize("options", [(), ("--time", "at")])
    def test_the_log_drifts(self, options, log, train):
        result = train(log, *options)
        assert (result.status, result.err) == (0, "")
        assert "drift       the traffic of these rows changed at about 2026-10-" in result.out
        assert " in sex: train on what came after" in result.out
        assert "bounds      hold for traffic as a whole, since the rows are too few" in result.out

    def test_the_census_has_no_times(self, train):
        assert_one_line(train("sample", "--time", "at"), "--time=at", "has no times")

    def test_several_files_are_one_log(self, train, out, log, tmp_path):
        head, *lines = log.read_text().splitlines()
        for name, part in (("a.csv", lines[:3000]), ("b.csv", lines[3000:])):
            (tmp_path / name).write_text("\n".join([head, *part]))
        assert train(log).status == 0
        whole = joblib.load(out)
        assert train(tmp_path / "a.csv", tmp_path / "b.csv").status == 0
        parts = joblib.load(out)
        assert parts.threshold_ == whole.threshold_
        assert parts.origin_["source"] == "a.csv b.csv (2 files)"
        assert_one_line(train("sample", log), "sample is of the census, which is read alone")
