"""The benchmark's smallest part runs; how long anything takes is not asserted."""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from environments import CONSTANT, Bench

from knn_metric.files import ROOT


@pytest.mark.slow
def test_a_timing_in_a_process_of_its_own(package, rows, tmp_path):
    shutil.copytree(package, tmp_path / "ours")
    (tmp_path / "constant" / "src").mkdir(parents=True)
    (tmp_path / "constant" / "src" / "func_main.py").write_text(CONSTANT)
    np.save(tmp_path / "rows.npy", rows[:200])
    bench = Bench(tmp_path, {"image": Path(sys.executable)})
    ours, constant = bench.run("image", "request", "rows.npy", "ours", "constant")
    assert ours > constant > 0


def test_the_table_has_the_rows_of_the_readme(monkeypatch):
    section = (ROOT / "README.md").read_text().partition("## How fast it is")[2]
    published = re.findall(r"^\| (?!AMD|---)(.*?) \|", section, re.MULTILINE)
    for name in ("run", "start", "serve"):
        monkeypatch.setattr(Bench, name, lambda *_: (4.0, 2.0))
    rows = Bench(Path(), dict.fromkeys(("image", "current"))).measure()
    assert [row[0] for row in rows] == published
    assert rows[2][1:] == ["4.00", "2.00", "0.5x"]
    assert rows[3][1:] == ["4", "2", "2.0x"]
