"""What all commands do alike: help, errors, interruption."""

import os
import subprocess
import sys

import pytest
from helpers import assert_one_line, load_script, run

from monitoring import cli
from monitoring.cli import UserError
from monitoring.files import ROOT

SCRIPTS = [
    *sorted((ROOT / "scripts").glob("*.py")),
    *(ROOT / "benchmarks" / f"{stem}.py" for stem in ("environments", "histories")),
    ROOT / "data" / "make_sample.py",
    ROOT / "examples" / "adult" / "train.py",
]
# These do their work in a process of their own in another test.
WORKED = ("train", "shadow", "serve")


def name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_help_has_examples(path):
    result = run(load_script(path).main, "--help")
    assert result.status == 0
    assert f"examples:\n  {path.name}" in result.out


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_a_bad_option_is_one_line(path):
    result = run(load_script(path).main, "--no-such-option")
    assert result.status == 2
    (line,) = result.err.splitlines()
    assert line.startswith(f"{path.name}: ")


# What Python does with a script, for each of several; imports take most of the time.
RUN_EACH = """\
import runpy, sys
for path in sys.argv[1:]:
    sys.path.insert(0, path.rpartition("/")[0])
    sys.argv = [path, "--help"]
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        assert not end.code
"""


def test_scripts_run_from_anywhere(tmp_path):
    paths = [path for path in SCRIPTS if path.stem not in WORKED]
    line = [sys.executable, "-c", RUN_EACH, *map(str, paths)]
    result = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert all(f"usage: {path.name} " in result.stdout for path in paths)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("no rows"), 2, "test_cli.py: no rows\n"),
        (FileNotFoundError(2, "No such file", "a.csv"), 2, "test_cli.py: a.csv: No such file\n"),
        (OSError("disk full"), 2, "test_cli.py: disk full\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_ends_a_command(error, status, line):
    @cli.entry
    def main(argv):
        raise error

    result = run(main)
    assert (result.status, result.err) == (status, line)


def test_a_bug_keeps_its_traceback():
    @cli.entry
    def main(argv):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)


class TestProcess:
    """Ctrl-C while a command works, and a reader that leaves."""

    def test_ctrl_c(self, tmp_path):
        out = ("--out", tmp_path / "a.joblib", "--plot", tmp_path / "a.png")
        program = (
            "import os, signal, sys, train\n"
            "train.load_rows = lambda *_: os.kill(os.getpid(), signal.SIGINT)\n"
            "sys.exit(train.main(sys.argv[1:]))"
        )
        line = [sys.executable, "-c", program, "--data", "sample", *out]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
        result = subprocess.run(line, env=environment, capture_output=True, text=True)
        assert (result.returncode, result.stderr, result.stdout) == (130, "", "")
        assert os.listdir(tmp_path) == []

    def test_a_reader_that_leaves(self, tmp_path):
        options = f"--data sample --out {tmp_path}/a.json"
        line = f"{sys.executable} examples/adult/train.py {options} | true; exit ${{PIPESTATUS[0]}}"
        result = subprocess.run(
            ["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert (result.returncode, result.stderr) == (141, "")


def test_no_backend_of_matplotlibs_is_asked_for():
    line = [sys.executable, "-c", "from monitoring import cli, plotting"]
    environment = {**os.environ, "MPLBACKEND": "nope", "PYTHONPATH": str(ROOT / "scripts")}
    assert subprocess.run(line, env=environment, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("environment", "shell"),
    [
        ({"PYTHONOPTIMIZE": "2"}, '"$0" "$@"'),
        ({}, '"$0" "$@" >&-'),
        ({}, '"$0" "$@" 2>&-'),
    ],
    ids=["no docstrings", "no output", "no errors"],
)
def test_whatever_surrounds_it(environment, shell, tmp_path):
    """A refusal in one line, or in none where there is nowhere to write it."""
    script = ROOT / "scripts" / "contract.py"
    line = ["sh", "-c", shell, sys.executable, script, "--from", tmp_path]
    environment = {**os.environ, **environment}
    result = subprocess.run(line, capture_output=True, text=True, env=environment)
    refusal = f"contract.py: {tmp_path}/serving.yaml: No such file or directory\n"
    expected = "" if "2>" in shell else refusal
    assert (result.returncode, result.stdout, result.stderr) == (2, "", expected)


def test_a_picture_of_another_kind(tmp_path):
    result = run(load_script(ROOT / "scripts" / "train.py").main, "--plot", tmp_path / "zz")
    assert_one_line(result, "--plot: expected a name in .png, .pdf, .svg")
    assert list(tmp_path.iterdir()) == []
