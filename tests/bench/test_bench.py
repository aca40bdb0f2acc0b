"""The benchmark's parts run and report; how long anything takes is not asserted."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import PNG

from monitoring.bench import report, worker
from monitoring.files import ROOT

TIMED = {"p50_us": 50.0, "p99_us": 120.0}
SLOWER = {"p50_us": 600.0, "p99_us": 900.0}
ENVIRONMENTS = ("image", "current")
FIGURES = {
    "request": {name: {"ours": TIMED, "pyod": SLOWER} for name in ENVIRONMENTS},
    "fit": {name: {"ours": {"seconds": 0.25}, "pyod": {"seconds": 5.0}} for name in ENVIRONMENTS},
    "serve": {
        "constant": {"p50_us": 40.0, "per_second": 2100.0},
        "ours": {"p50_us": 60.0, "per_second": 1800.0},
        "pyod": {"p50_us": 100.0, "per_second": 1000.0},
        "constant again": {"p50_us": 60.0, "per_second": 1900.0},
    },
    "start": {side: {"seconds": 0.5, "resident_mb": 160.0} for side in ("ours", "pyod")},
    "batch": {"2 core(s)": {"ours": 200_000.0, "pyod": 5000.0}},
    "grow": {
        "26048": {**TIMED, "fit_s": 0.1, "resident_mb": 200.0, "pyod_s": 4.0},
        "260480": {**TIMED, "fit_s": 0.1, "resident_mb": 200.0},
    },
}


@pytest.fixture
def saved_rows(rows, tmp_path):
    np.save(tmp_path / "rows.npy", rows[:2200])
    return str(tmp_path / "rows.npy")


@pytest.fixture
def constant(tmp_path):
    """A package that answers at once."""
    (tmp_path / "constant" / "src").mkdir(parents=True)
    source = "features = ['age']\ndef predict(**inputs):\n    return {'value': 1.0}\n"
    (tmp_path / "constant" / "src" / "func_main.py").write_text(source)
    return str(tmp_path / "constant")


def test_both_packages_are_timed_on_the_same_requests(saved_rows, package, constant):
    sides = worker.request(saved_rows, {"ours": str(package), "pyod": constant})
    assert list(sides) == ["ours", "pyod"]
    assert all(0 < side["p50_us"] <= side["p99_us"] for side in sides.values())
    assert sides["pyod"]["p50_us"] < sides["ours"]["p50_us"]


def test_a_hundred_requests_are_enough(rows, constant, tmp_path):
    np.save(tmp_path / "few.npy", rows[: worker.CALLS])
    sides = worker.request(str(tmp_path / "few.npy"), {"ours": constant})
    assert sides["ours"]["p50_us"] > 0


def test_a_measurement_in_a_process_of_its_own(saved_rows, constant, tmp_path):
    line = [
        sys.executable,
        "-m",
        "monitoring.bench.worker",
        json.dumps(["start", saved_rows, constant]),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    result = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True)
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout)
    assert figures["value"] == 1.0
    assert 10 < figures["resident_mb"] < 1000


def test_training_on_many_rows(saved_rows):
    result = worker.grow(saved_rows, saved_rows, {"n_neighbors": 15, "p": 5}, 3000, True)
    assert result["fit_s"] > 0
    assert result["pyod_s"] > 0
    assert 50 < result["resident_mb"] < 2000


def test_the_report_gives_ratios():
    table = [line.split() for line in report.format_tables(FIGURES).splitlines()]
    one = "one request, image's pyod 1.0.0, p50 us".split()
    assert [*one, "50", "600", "12.0x"] in table
    assert ["training,", "s", "0.25", "5.00", "20.0x"] in table
    assert "10,000 rows at once, 2 core(s), rows a second 200000 5000 40.0x".split() in table
    assert ["a", "constant", "50", "1.00", "2000", "1.00"] in table
    assert ["this", "package", "60", "1.20", "1800", "0.90"] in table
    assert "last constant to first 1.50 0.90".split() in table
    assert ["26,048", "0.1", "4.0", "50", "120", "200"] in table
    assert ["260,480", "0.1", "-", "50", "120", "200"] in table


@pytest.mark.parametrize("source", ["uci", "sample"])
def test_the_picture(source, tmp_path, monkeypatch):
    titles = []
    suptitle = report.Figure.suptitle
    monkeypatch.setattr(
        report.Figure,
        "suptitle",
        lambda figure, text, **how: titles.append(text) or suptitle(figure, text, **how),
    )
    report.plot(FIGURES, source, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(PNG)
    assert ("synthetic" in titles[0]) == (source == "sample")
