"""The command lines: reports, files, help, and one clear line for whatever goes wrong."""

import os
import resource
import shutil

import joblib
import numpy as np
import pytest
from conftest import ROOT, assert_one_line, run_script
from test_census import ROW

import census
from portable_knn import PortableKNN

SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("*.py") if path.name != "census.py")
PNG = b"\x89PNG\r\n"


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_has_examples(script):
    result = run_script(script, "--help")
    assert result.returncode == 0
    assert f"examples:\n  {script}" in result.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_run_from_anywhere(script, tmp_path):
    assert run_script(script, "--help", cwd=tmp_path).returncode == 0


class TestTrain:
    def test_published_figures(self, uci_package):
        folder, report = uci_package
        for figure in ("4.236688464332743", "1302/26048 rows", "335/6513 rows", "5.00%", "5.14%"):
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

    def test_the_same_data_gives_the_same_bytes(self, package, tmp_path):
        out = tmp_path / "again.joblib"
        result = run_script(
            "train.py", "--data", "sample", "--out", out, "--plot", tmp_path / "again.png"
        )
        assert result.returncode == 0, result.stderr
        assert out.read_bytes() == (package / "monitoring_model.joblib").read_bytes()
        assert result.stderr == ""  # the progress bar is for terminals

    def test_options_reach_the_detector(self, tmp_path):
        out = tmp_path / "model.joblib"
        options = "--data sample --neighbors 5 --p 2 --contamination 0.1 --test-size 0.5 --seed 3"
        run_script("train.py", *options.split(), "--out", out, "--plot", tmp_path / "a.png")
        detector = joblib.load(out)
        rows = census.encode(census.load("sample").records)
        expected = PortableKNN(n_neighbors=5, p=2, contamination=0.1)
        expected.fit(census.split(rows, 0.5, 3)[0])
        np.testing.assert_array_equal(detector.decision_scores_, expected.decision_scores_)

    @pytest.mark.parametrize(
        ("options", "word"),
        [
            ("--neighbors 0", "--neighbors: must be from 1 to 10000, got 0"),
            ("--neighbors x", "invalid number value: 'x'"),
            ("--p 0.5", "--p: must be from 1 to 16, got 0.5"),
            ("--contamination 0.6", "--contamination"),
            ("--test-size nan", "--test-size"),
            ("--seed -1", "--seed"),
        ],
    )
    def test_bad_options(self, options, word):
        result = run_script("train.py", *options.split())
        assert result.returncode == 2
        assert word in result.stderr.splitlines()[-1]
        assert "Traceback" not in result.stderr

    def test_too_many_neighbors(self, tmp_path):
        path = tmp_path / "few.csv"
        path.write_text("\n".join(census.SAMPLE_PATH.read_text().splitlines()[:10]))
        result = run_script("train.py", "--data", path, "--out", tmp_path / "model.joblib")
        assert_one_line(result, "--neighbors 15 needs more training rows than 8")

    def test_bad_data(self, tmp_path):
        path = tmp_path / "people.csv"
        path.write_text("39, State-gov\n")
        result = run_script("train.py", "--data", path, "--out", tmp_path / "model.joblib")
        assert_one_line(result, f"train.py: {path}:1: expected 15 columns, got 2")
        assert not (tmp_path / "model.joblib").exists()

    def test_nowhere_to_write(self, tmp_path):
        out = tmp_path / "missing" / "model.joblib"
        assert_one_line(run_script("train.py", "--data", "sample", "--out", out), "No such file")

    def test_a_full_disk_leaves_the_old_artifact(self, package, tmp_path):
        out = tmp_path / "model.joblib"
        shutil.copy(package / "monitoring_model.joblib", out)
        before = out.read_bytes()

        def limit_file_size():
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

        result = run_script(
            "train.py", "--data", "sample", "--out", out, preexec_fn=limit_file_size
        )
        assert_one_line(result, out, "File too large")
        assert out.read_bytes() == before
        assert os.listdir(tmp_path) == ["model.joblib"]


class TestSample:
    def test_it_is_small_and_in_ucis_format(self):
        assert census.SAMPLE_PATH.stat().st_size < 1_000_000
        assert len(census.load("sample").records) == 7000

    def test_nobody_in_it_is_in_ucis_file(self, uci):
        sample, real = census.load("sample").records, census.load(str(uci)).records
        assert not set(sample) & set(real)

    def test_a_known_person_is_drawn_again(self, tmp_path):
        path = tmp_path / "one.csv"
        path.write_text(ROW)
        result = run_script("make_sample.py", "--data", path, "--out", tmp_path / "sample.csv")
        assert_one_line(result, "1 rows are too few to draw 7000 other people from")

    def test_make_sample_made_it(self, uci, tmp_path):
        out = tmp_path / "sample.csv"
        result = run_script("make_sample.py", "--data", uci, "--out", out)
        assert result.returncode == 0, result.stderr
        assert out.read_bytes() == census.SAMPLE_PATH.read_bytes()

    def test_its_threshold_is_near_that_of_as_many_real_rows(self, uci, package):
        rows = census.encode(census.load(str(uci)).records)
        real = np.random.default_rng(0).choice(rows, 5600, replace=False)
        expected = PortableKNN(n_neighbors=15, p=5, contamination=0.05).fit(real).threshold_
        threshold = joblib.load(package / "monitoring_model.joblib").threshold_
        assert abs(threshold / expected - 1) < 0.15

    def test_bad_options(self):
        assert_one_line(run_script("make_sample.py", "--rows", 0), "--rows must be at least 1")
        assert_one_line(run_script("make_sample.py", "--data", "none.csv"), "none.csv", "No such")
