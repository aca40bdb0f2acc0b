"""The benchmark's table; how long anything takes is not asserted."""

import re
import sys
from pathlib import Path

import pytest
from helpers import load_script

from monitoring.data.loading import load_census
from monitoring.detection.detectors import load_detector
from monitoring.files import ROOT

environments = load_script(ROOT / "benchmarks" / "environments.py")


@pytest.fixture
def bench(artifact, tmp_path, monkeypatch):
    """The comparison on few rows, with this interpreter in the place of the image's too."""
    for name in ("ROUNDS", "STARTS"):
        monkeypatch.setattr(environments, name, 1)
    detector = load_detector(artifact)
    detector.training_rows_ = detector.training_rows_[:500]
    pythons = dict.fromkeys(("image", "current"), Path(sys.executable))
    return environments.Bench(tmp_path, detector, load_census("sample"), pythons)


def test_the_table_has_the_rows_of_the_readme(bench):
    section = (ROOT / "README.md").read_text().partition("## How fast it is")[2]
    published = re.findall(r"^\| (?!AMD|---)(.*?) \|", section, re.MULTILINE)
    rows = bench.measure()
    assert [row[0] for row in rows] == published
    assert all(float(cell) > 0 for row in rows for cell in row[1:3])


def test_more_rows_a_second_and_fewer_seconds_are_faster():
    sides = {"ours": 4.0, "pyod": 2.0}
    assert environments.compare("rows", sides, rate=True) == ["rows", "4", "2", "2.0x"]
    assert environments.compare("time", sides, 1) == ["time", "4.0", "2.0", "0.5x"]
