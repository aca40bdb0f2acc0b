"""make: its targets; setup installs once, with a Python that will do; a small part of bench."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from environments import CONSTANT, Bench
from helpers import Result, assert_one_line

from knn_metric.files import ROOT


@pytest.fixture
def checkout(tmp_path):
    """A folder with what setup reads, and a .venv that another Python has installed."""
    (tmp_path / "scripts").mkdir()
    for file in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path)
    for file in ("requirements.txt", "scripts/requirements.txt", "requirements-dev.txt"):
        (tmp_path / file).touch()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "installed").write_text("another one")
    return tmp_path


def start_make(folder, *line):
    """Start make as from a shell, though make may run these tests."""
    own = {name: value for name, value in os.environ.items() if not re.match("M.*FLAGS|MAKE", name)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(["make", *line], cwd=folder, env=own, **pipes)


def make(folder, *line):
    process = start_make(folder, *line)
    out, err = process.communicate(timeout=120)
    return Result(process.returncode, out, err)


def test_make_lists_its_targets():
    makefile = (ROOT / "Makefile").read_text()
    assert len(makefile.splitlines()) <= 60
    targets = "setup demo test lint matrix slow cluster soak bench clean".split()
    assert re.findall(r"^make (\w+) +\w", make(ROOT).out, re.MULTILINE) == targets


@pytest.mark.parametrize("python", ["/bin/false", "no-such-python", "./without-venv"])
def test_a_python_that_will_not_do_is_one_line(python, checkout):
    script = f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n'
    (checkout / "without-venv").write_text(script)
    (checkout / "without-venv").chmod(0o755)
    result = make(checkout, "setup", f"PYTHON={python}")
    assert (result.status, result.err.count("\n")) == (2, 2)  # the second line is make's own
    assert result.err.startswith(f"make: {python} is no Python 3.11 to 3.13 with venv (Debian: ")


@pytest.mark.parametrize("target", ["setup", "test"])
def test_a_link_is_not_followed(target, checkout):
    elsewhere = (checkout / ".venv").rename(checkout / "elsewhere")
    (checkout / ".venv").symlink_to("elsewhere")
    before = sorted(elsewhere.rglob("*"))
    assert_one_line(make(checkout, target, f"PYTHON={sys.executable}"), ".venv is a link")
    assert sorted(elsewhere.rglob("*")) == before


@pytest.mark.slow
def test_two_at_once_install_once_and_other_pins_anew(checkout):
    (checkout / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "a"\nversion = "1"\n'
        "[tool.hatch.build.targets.wheel]\nbypass-selection = true\n"
    )
    python = f"PYTHON={sys.executable}"
    two = [start_make(checkout, "setup", python) for _ in range(2)]
    out = "".join(process.communicate(timeout=120)[0] for process in two)
    assert [process.returncode for process in two] == [0, 0]
    assert out.count("installing the pinned requirements") == 1
    assert make(checkout, "setup").out == "make: Nothing to be done for 'setup'.\n"
    os.utime(checkout / "requirements.txt", (2e9, 2e9))
    assert "installing the pinned requirements" in make(checkout, "setup").out


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
