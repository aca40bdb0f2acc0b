"""What all commands do alike: help, errors, interruption, files whole or not at all; and make."""

import os
import re
import signal
import subprocess
import sys

from lib import command
from lib.command import ROOT, UserError

import pytest
from helpers import load_script, run

SCRIPTS = [
    *sorted((ROOT / "scripts").glob("*.py")),
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
        (UserError("no rows"), 2, "test_command.py: no rows\n"),
        (
            FileNotFoundError(2, "No such file", "a.csv"),
            2,
            "test_command.py: a.csv: No such file\n",
        ),
        (OSError("disk full"), 2, "test_command.py: disk full\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_ends_a_command(error, status, line):
    @command.entry
    def main(argv):
        raise error

    result = run(main)
    assert (result.status, result.err) == (status, line)


def test_a_bug_keeps_its_traceback():
    @command.entry
    def main(argv):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)


class TestReplacing:
    def test_a_whole_file(self, tmp_path):
        path = tmp_path / "new" / "a.csv"
        with command.replacing(path) as new:
            new.write_text("whole")
            assert not path.exists()
        assert path.read_text() == "whole"
        assert path.stat().st_mode & 0o777 == 0o644
        assert os.listdir(path.parent) == ["a.csv"]

    def test_a_failure_leaves_the_old_one(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text("old")
        with pytest.raises(TypeError), command.replacing(path) as new:
            new.write_bytes("text")
        assert path.read_text() == "old"
        assert os.listdir(tmp_path) == ["a.csv"]

    def test_a_failure_keeps_the_previous_one_too(self, tmp_path):
        path, previous = tmp_path / "a", tmp_path / "a.previous"
        path.write_text("old")
        previous.write_text("older")
        with pytest.raises(ZeroDivisionError), command.keeping_previous(path, is_sample=False):
            raise ZeroDivisionError
        assert previous.read_text() == "older"

    @pytest.mark.parametrize(("is_sample", "kept"), [(True, "real"), (False, "replaced")])
    def test_the_sample_displaces_no_previous_one(self, is_sample, kept, tmp_path):
        path, previous = tmp_path / "a", tmp_path / "a.previous"
        path.write_text("replaced")
        previous.write_text("real")
        with command.keeping_previous(path, is_sample):
            path.write_text("new")
        assert previous.read_text() == kept


def test_ctrl_c_waits_for_the_compiler():
    done = []

    def compile_interrupted():
        with command.importing_compiled():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("compiled")

    with pytest.raises(KeyboardInterrupt):
        compile_interrupted()
    assert done == ["compiled"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class TestProcess:
    """Ctrl-C while it imports and while it works, and a reader that leaves."""

    @pytest.mark.parametrize(
        "program",
        [
            "import lib, os, signal; os.kill(os.getpid(), signal.SIGINT); import lib.census",
            "import lib, os, signal\ntry: os.kill(os.getpid(), signal.SIGINT)\n"
            "except KeyboardInterrupt: raise ImportError('initialization failed')",
            "import os, signal, sys, train\n"
            "train.census.load = lambda *_: os.kill(os.getpid(), signal.SIGINT)\n"
            "sys.exit(train.main(sys.argv[1:]))",
        ],
    )
    def test_ctrl_c(self, program, tmp_path):
        out = ("--out", tmp_path / "a.joblib", "--plot", tmp_path / "a.png")
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
        line = [sys.executable, "-c", program, "--data", "sample", *out]
        result = subprocess.run(line, env=environment, capture_output=True, text=True)
        assert (result.stderr, result.stdout) == ("", "")
        assert result.returncode == 130
        assert os.listdir(tmp_path) == []

    def test_a_reader_that_leaves(self, tmp_path):
        options = f"--data sample --out {tmp_path}/a.json"
        line = f"{sys.executable} examples/adult/train.py {options} | true; exit ${{PIPESTATUS[0]}}"
        result = subprocess.run(
            ["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert (result.returncode, result.stderr) == (141, "")


class TestMake:
    def test_help_lists_every_target(self):
        makefile = (ROOT / "Makefile").read_text()
        (phony,) = re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
        out = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
        targets = phony.replace("\\\n", "").split()[:-1]
        assert re.findall(r"^  ([\w-]+) ", out, re.MULTILINE) == targets

    @pytest.mark.parametrize(
        ("python", "problem"),
        [
            ("/bin/false", "is not a Python 3.11 to 3.13;"),
            ("no-such-python", "is not a Python 3.11 to 3.13;"),
            ("./without-venv", "cannot make a .venv; Debian and Ubuntu have what it lacks in"),
        ],
    )
    def test_a_python_that_will_not_do_is_one_line(self, python, problem, tmp_path):
        for file in ("Makefile", "requirements.txt", "requirements-dev.txt"):
            (tmp_path / file).write_text((ROOT / file).read_text())
        (tmp_path / ".venv").mkdir()
        (tmp_path / ".venv" / "installed").write_text("another one")
        script = f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n'
        (tmp_path / "without-venv").write_text(script)
        (tmp_path / "without-venv").chmod(0o755)
        line = ["make", "setup", f"PYTHON={python}"]
        result = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 2
        first, _ = result.stderr.splitlines()  # the second is make's own
        assert first.startswith(f"make: {python} {problem}")

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("train DATA=sample FORCE=1", 'scripts/train.py --data "sample" --force'),
            ("train MODEL=examples/adult", "examples/adult/train.py"),
            ("shadow DRIFT=age-missing@5", '--drift "age-missing@5"'),
            ("check ALLOW_SAMPLE=1", "check.py --allow-sample"),
            (
                "shadow TARGET=localhost:1 METRIC=localhost:2",
                '--target "localhost:1" --metric "localhost:2"',
            ),
            (
                "image MODEL=examples/adult RUNTIME=x ALLOW_SAMPLE=1",
                'image.py --folder "examples/adult" --runtime "x" --allow-sample',
            ),
            ("upload ALLOW_SAMPLE=1 RUNTIME=x", '--runtime "x" --allow-sample'),
            (
                "metric TARGET=adult:1 CLUSTER=http://x DETACH=1",
                '"adult:1" --cluster "http://x" --detach',
            ),
            (
                "metric TARGET=adult:1 NAME=hvdm METRIC=census_monitoring:2",
                '"adult:1" --name "hvdm" --metric "census_monitoring:2"',
            ),
            (
                "watch TARGET=adult:1 NAME=hvdm SINCE=2h FOLLOW=60 CLUSTER=http://x",
                'watch.py "adult:1" --metric "hvdm" --since "2h" --follow "60" --cluster "http://x"',
            ),
        ],
    )
    def test_variables_reach_the_command(self, line, words):
        line = ["make", "--dry-run", *line.split()]
        result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
        assert words in " ".join(result.stdout.replace("\\\n", " ").split())
