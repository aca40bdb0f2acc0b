"""What all subcommands do alike: help, errors, interruption; and an installed wheel."""

import ast
import os
import re
import subprocess
import sys

import pytest
from helpers import assert_one_line, load_script, run

from knn_metric import cli
from knn_metric.__main__ import SUBCOMMANDS
from knn_metric.cli import UserError
from knn_metric.files import ROOT

NAMES = [name for names in SUBCOMMANDS.values() for name in names]
SCRIPTS = [
    *(ROOT / "benchmarks" / f"{stem}.py" for stem in ("environments", "histories")),
    ROOT / "data" / "make_sample.py",
    ROOT / "examples" / "adult" / "train.py",
]
IMPORTED = """\
import contextlib, sys, knn_metric.__main__ as command
with contextlib.suppress(SystemExit):
    command.main(sys.argv[1:])
print([*sys.modules])
"""
COMMAND = os.path.join(os.path.dirname(sys.executable), "knn-metric")


def test_help_lists_every_subcommand():
    out = run("--help").out
    files = {path.stem for path in (ROOT / "scripts" / "knn_metric" / "commands").glob("[a-z]*.py")}
    assert files == set(NAMES)
    for group, names in SUBCOMMANDS.items():
        assert re.search(rf"^{group}: ", out, re.MULTILINE)
        for name, what in names.items():
            assert re.search(rf" {name} +{re.escape(what)}$", out, re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_help_has_examples_that_the_parser_takes(name):
    out = run(name, "--help").out
    examples = re.findall(rf"^  knn-metric {name}\b((?: .*\\\n)?.*?)(?:   .*)?$", out, re.MULTILINE)
    assert examples
    taken = set(re.findall(r"--[a-z-]+", out.partition("examples:")[0]))
    assert set(re.findall(r"--[a-z-]+", " ".join(examples))) <= taken


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_have_examples_too(path):
    assert f"{path.name}" in run(load_script(path).main, "--help").out.partition("examples:")[2]


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_option_is_one_line(name):
    given = {"new": ["a", "--for", "a:1"], "replay": ["--target", "a"], "serve": []}
    words = given.get(name, ["a:1"] if name in ("attach", "watch", "explain", "score") else [])
    line = f"knn-metric {name}: unrecognized arguments: --no-such\n"
    assert run(name, *words, "--no-such") == (2, "", line)
    assert_one_line(run(f"{name}s"), f"knn-metric: argument SUBCOMMAND: invalid choice: '{name}s'")


def test_one_option_has_one_meaning():
    """The same name has the same help everywhere, but for what a subcommand does with a number."""
    meanings = {}
    for name in NAMES:
        options = run(name, "--help").out.partition("examples:")[0]
        for one in re.split(r"\n  (?=-)", options.partition("\noptions:")[2])[1:]:
            option, _, meaning = " ".join(one.split("\n\n")[0].split()).partition(" ")
            meanings.setdefault(option, set()).add(meaning)
    own = {"--help", "--out", "--metric", "--target", "--seed", "--plot", "--corrupt"}
    own |= {"--most-rejected"}
    assert {option for option, said in meanings.items() if len(said) > 1} <= own


@pytest.mark.parametrize("words", [[], ["score"], ["watch"], ["replay"]])
def test_help_is_there_at_once(words):
    """Nothing is imported for it that takes a tenth of a second."""
    result = subprocess.run(
        [sys.executable, "-c", IMPORTED, *words, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"numpy", "scipy", "yaml", "requests", "matplotlib", "grpc", "tqdm", "portable_knn"}
    assert not heavy & set(ast.literal_eval(result.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("no rows"), 2, ": no rows\n"),
        (FileNotFoundError(2, "No such file", "a.csv"), 2, ": a.csv: No such file\n"),
        (OSError("disk full"), 2, ": disk full\n"),
        (KeyboardInterrupt(), 130, ": interrupted\n"),
    ],
)
def test_what_ends_a_command(error, status, line):
    @cli.entry
    def main(argv):
        raise error

    result = run(main)
    assert (result.status, re.sub("^[^:]*", "", result.err)) == (status, line)


def test_a_fault_of_ours_is_one_line_that_names_its_traceback():
    @cli.entry
    def main(argv):
        raise ZeroDivisionError("by\nnothing")

    result = run(main)
    assert_one_line(result, "a fault of this program, ZeroDivisionError: by nothing; please report")
    path = result.err.split()[-1]
    with open(path) as file:
        assert "in main\n    raise ZeroDivisionError" in file.read()
    os.unlink(path)


class TestProcess:
    """Ctrl-C while a command works, and a reader that leaves."""

    def test_ctrl_c(self, tmp_path):
        program = (
            "import os, signal, sys\n"
            "from knn_metric import __main__ as command\n"
            "from knn_metric.data import rows\n"
            "rows.load_rows = lambda *_: os.kill(os.getpid(), signal.SIGINT)\n"
            "sys.exit(command.main(sys.argv[1:]))"
        )
        line = [sys.executable, "-c", program, "train", "--data", "sample", "--package", ROOT]
        line += ["--plot", tmp_path / "a.png"]
        result = subprocess.run(line, capture_output=True, text=True)
        assert (result.returncode, result.stdout) == (130, "")
        assert result.stderr == "knn-metric train: interrupted\n"
        assert os.listdir(tmp_path) == []

    def test_a_reader_that_leaves(self, light_package):
        line = f"{COMMAND} check --package {light_package} | true; exit ${{PIPESTATUS[0]}}"
        result = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
        assert (result.returncode, result.stderr) == (141, "")


def test_no_backend_of_matplotlibs_is_asked_for():
    line = [sys.executable, "-c", "from knn_metric import cli, plotting"]
    environment = {**os.environ, "MPLBACKEND": "nope"}
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
    line = ["sh", "-c", shell, COMMAND, "new", tmp_path, "--for", tmp_path]
    environment = {**os.environ, **environment}
    result = subprocess.run(line, capture_output=True, text=True, env=environment, cwd=tmp_path)
    refusal = f"{tmp_path}/serving.yaml is not there: name the folder of a package\n"
    expected = "" if "2>" in shell else f"knn-metric new: {refusal}"
    assert (result.returncode, result.stdout, result.stderr) == (2, "", expected)


def test_a_picture_of_another_kind(tmp_path):
    result = run("train", "--plot", tmp_path / "zz")
    assert_one_line(result, "--plot: expected a name in .png, .pdf, .svg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_installed_wheel(adult_package, tmp_path):
    """Outside of the repository, with this environment's packages and none of its own code."""
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--quiet", "install", "--no-deps", "--target", site, ROOT]
    subprocess.run(pip, check=True)
    program = (
        "import sys; sys.path[:0] = [sys.argv.pop(1)]; import knn_metric.__main__ as command; "
    )
    program += "assert command.__file__.startswith(sys.path[0]); sys.exit(command.main())"
    folder = tmp_path / "census"

    def knn_metric(*words):
        line = [sys.executable, "-c", program, site, *words]
        return subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)

    assert knn_metric("new", folder, "--for", adult_package).returncode == 0
    trained = knn_metric("train", "--package", folder, "--data", "sample")
    assert (trained.returncode, trained.stderr) == (0, "")
    assert knn_metric("check", "--package", folder, "--allow-sample").returncode == 0
    for name in ("upload", "watch"):
        words = (
            ["--cluster", "http://127.0.0.1:1", "adult:1"] if name == "watch" else ["--hs", "no"]
        )
        failed = knn_metric(name, *words)
        assert (failed.returncode, failed.stderr.count("\n")) == (2, 1)
