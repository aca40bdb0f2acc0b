"""The benchmark's parts run and report; how long anything takes is not asserted."""

import json

import numpy as np
import pytest
from conftest import assert_one_line, run_script

TIMED = {"p50_us": 50.0, "p99_us": 120.0}
FIGURES = {
    "machine": "a machine",
    "request": dict.fromkeys(
        ("ours_current", "tutorial_current", "ours_image", "tutorial_image"), TIMED
    ),
    "serve": {
        "constant": {**TIMED, "per_second": 2000.0},
        "ours": {**TIMED, "p50_us": 60.0, "per_second": 1800.0},
        "tutorial": {**TIMED, "p50_us": 100.0, "per_second": 1000.0},
    },
    "start": {side: {"seconds": 0.5, "resident_mb": 160.0} for side in ("ours", "tutorial")},
    "train": {f"{side}_image": {"seconds": 5.0, "bytes": 9000} for side in ("ours", "tutorial")},
    "batch": dict.fromkeys(("portable_1", "portable_2", "pyod_1", "pyod_2"), 1000.0),
    "grow": {"26048": {**TIMED, "build_s": 0.1, "resident_mb": 200.0}},
}


@pytest.fixture
def saved_rows(rows, tmp_path):
    np.save(tmp_path / "rows.npy", rows[:2000])
    return tmp_path / "rows.npy"


def test_sides_are_timed_on_the_same_requests(package, saved_rows):
    result = run_script("bench_side.py", "request", saved_rows, package, package)
    sides = json.loads(result.stdout)
    assert len(sides) == 2
    assert all(0 < side["p50_us"] <= side["p99_us"] for side in sides)


def test_a_process_answers_with_predicts_value(package, func_main, saved_rows, rows):
    result = json.loads(run_script("bench_side.py", "start", saved_rows, package).stdout)
    expected = func_main.detector.decision_function(rows[:1])[0]
    assert result["value"] == expected
    assert 50 < result["resident_mb"] < 2000


def test_a_larger_index_still_scores(package, saved_rows):
    result = json.loads(run_script("bench_side.py", "grow", saved_rows, package, 20_000).stdout)
    assert result["build_s"] > 0


def test_no_rows(tmp_path):
    result = run_script("bench_side.py", "start", tmp_path / "none.npy", tmp_path)
    assert_one_line(result, "none.npy: No such file")


def test_the_report_gives_ratios(tmp_path):
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(FIGURES))
    result = run_script("bench_report.py", path, "--plot", tmp_path / "bench.png")
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["a", "constant", "50", "1.00", "2000", "1.00"] in lines
    assert ["this", "package", "60", "1.20", "1800", "0.90"] in lines
    assert ["tutorial", "100", "2.00", "1000", "0.50"] in lines
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_another_file_is_no_report(tmp_path):
    path = tmp_path / "bench.json"
    path.write_text("{}")
    assert_one_line(run_script("bench_report.py", path), "is not of bench.py's making")
