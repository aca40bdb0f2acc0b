"""The benchmark's smallest part runs; how long anything takes is not asserted."""

import re
import sys
from pathlib import Path

import pytest
from helpers import load_script

from knn_metric.data.census import load_census
from knn_metric.detection.detectors import load_detector
from knn_metric.files import ROOT

environments = load_script(ROOT / "benchmarks" / "environments.py")


@pytest.fixture
def bench(artifact, tmp_path):
    """The comparison, with this interpreter in the place of the image's too."""
    pythons = dict.fromkeys(("image", "current"), Path(sys.executable))
    return environments.Bench(tmp_path, load_detector(artifact), load_census("sample"), pythons)


def test_a_timing_in_a_process_of_its_own(bench):
    packages = {"ours": str(bench.ours), "pyod": str(bench.constant)}
    figures = bench.run("image", "request", bench.rows, packages)
    assert figures["ours"] > figures["pyod"] > 0


def test_the_table_has_the_rows_of_the_readme():
    section = (ROOT / "README.md").read_text().partition("## How fast it is")[2]
    published = re.findall(r"^\| (?!AMD|---)(.*?) \|", section, re.MULTILINE)
    names = ("request image", "request current", "fit image", "batch", "start", "served")
    rows = environments.tabulate({name: {"ours": 4.0, "pyod": 2.0} for name in names})
    assert [row[0] for row in rows] == published
    assert rows[2][1:] == ["4.00", "2.00", "0.5x"]
    assert rows[3][1:] == ["4", "2", "2.0x"]
