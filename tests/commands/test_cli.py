"""What all subcommands do alike: help, errors, interruption; and an installed wheel."""

import ast
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import assert_one_line, load_script, run

from knn_metric import cli
from knn_metric.__main__ import SUBCOMMANDS
from knn_metric.cli import UserError
from knn_metric.files import ROOT

NAMES = [name for names in SUBCOMMANDS.values() for name in names]
SCRIPTS = "benchmarks/environments benchmarks/histories data/make_sample examples/adult/train"
IMPORTED = """\
import contextlib, sys, knn_metric.__main__ as command
for words in ([], ["score"], ["watch"]):
    with contextlib.suppress(SystemExit):
        command.main([*words, "--help"])
print([*sys.modules])
import knn_metric.plotting
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
def test_help_has_examples_that_the_parser_takes_and_a_bad_option_is_one_line(name):
    out = run(name, "--help").out
    examples = re.findall(rf"^  knn-metric {name}\b((?: .*\\\n)?.*?)(?:   .*)?$", out, re.MULTILINE)
    assert examples
    taken = set(re.findall(r"--[a-z-]+", out.partition("examples:")[0]))
    assert set(re.findall(r"--[a-z-]+", " ".join(examples))) <= taken
    given = {"new": ["a", "--for", "a:1"], "replay": ["--target", "a"]}
    words = given.get(name, ["a:1"] if name in ("attach", "watch", "explain", "score") else [])
    line = f"knn-metric {name}: unrecognized arguments: --no-such\n"
    assert run(name, *words, "--no-such") == (2, "", line)
    assert_one_line(run(f"{name}s"), f"knn-metric: argument SUBCOMMAND: invalid choice: '{name}s'")


@pytest.mark.parametrize("script", SCRIPTS.split())
def test_scripts_have_examples_too(script):
    path = ROOT / f"{script}.py"
    assert path.name in run(load_script(path).main, "--help").out.partition("examples:")[2]


REPLAY = "replay --data sample --target 127.0.0.1:1 --runtime 127.0.0.1:1"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train --neighbors x", "invalid number value: 'x'"),
        ("train --p 0.5", "argument --p: must be from 1 to 15, got 0.5"),
        ("train --contamination 0.6", "--contamination"),
        ("train --test-size nan", "--test-size"),
        (
            "train --data sample --time at",
            "sample is of the census, which has no times for --time=at",
        ),
        ("train --plot zz", "--plot: expected a name in .png, .pdf, .svg"),
        (f"train --data sample --plot {ROOT}/Makefile/a.png", "Makefile/a.png cannot be written: "),
        ("upload --hs no-such-hs", "no-such-hs is not installed: on Python 3.8"),
        ("serve --host 'no host'", "cannot listen on no host:9090: "),
        *((f"serve --port {port}", "argument --port: ") for port in ("99999", "-1", "x")),
        ("explain", "NAME=VALUE is missing, as in `knn-metric explain "),
        ("explain age=39", "workclass: missing; education: missing; "),
        ("explain age=nan", "age: expected a finite number, got NaN; workclass: missing"),
        ("explain gender=1", "gender: not one of age, workclass, "),
        ("explain age", "expected NAME=VALUE of each field, or NAME:VERSION, got 'age'"),
        ("explain adult:1 age=3", "or NAME:VERSION, got 'adult:1 age=3'"),
        ("explain age=3 --last 2", "--request and --last are of a model"),
        ("explain age=old", "expected NAME=NUMBER, got 'age=old'"),
        ("explain sex=man", "expected a number or one of Female, Male, got 'sex=man'"),
        ("explain age=39 sex=1 age=540", "age is given 2 times"),
        ("evaluate --data sample --corrupt scale:age", "expected scale:FIELD:BY"),
        ("evaluate --data sample --corrupt age-in-months,", "'' is no corruption"),
        (f"evaluate --data sample --out {ROOT}/Makefile", "evaluation.png cannot be written"),
        (f"{REPLAY} --corrupt age-in-months", "expected NAME@ROW"),
        (f"{REPLAY} --corrupt age@5", "'age' is no corruption: expected scale:FIELD:BY"),
        (f"{REPLAY} --corrupt age-missing@99999", "--corrupt: only 2,000 requests are sent"),
        (f"{REPLAY} --rows 0", "--rows: must be from 1 to 1,000,000, got 0"),
        (f"{REPLAY} --concurrency 0", "--concurrency: must be"),
        (f"{REPLAY} --rate -1", "--rate: must be"),
        (f"{REPLAY} --repeat 0", "--repeat: must be"),
        (f"{REPLAY} --pattern hours", "--pattern=hours: the rows of sample have no times"),
        (f"{REPLAY} --package none", "none/serving.yaml is not there"),
        (f"{REPLAY} --out {ROOT}/Makefile", "Makefile/replay.csv cannot be written"),
        ("attach adult", "expected NAME:VERSION, got 'adult'"),
        ("attach adult:1 --cluster nowhere", "is http://HOST or https://HOST, got 'nowhere'"),
        ("watch adult:1 --since yesterday", "--since: expected a number and s, m, h or d"),
        ("watch adult:1 --requests 0", "--requests: must be from 1"),
    ],
)
def test_a_bad_command_line_is_refused(line, words, package, tmp_path, monkeypatch):
    """Before anything is written or sent."""
    monkeypatch.chdir(tmp_path)
    name, *options = shlex.split(line)
    assert_one_line(run(name, "--package", package, *options), f"knn-metric {name}: ", words)
    assert list(tmp_path.iterdir()) == []


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


def test_help_is_there_at_once_and_no_backend_of_matplotlibs_is_asked_for(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "nope")
    line = [sys.executable, "-c", IMPORTED]
    imported = subprocess.check_output(line, text=True).splitlines()[-1]
    heavy = {"numpy", "scipy", "yaml", "requests", "matplotlib", "grpc", "tqdm", "portable_knn"}
    assert not heavy & set(ast.literal_eval(imported))


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("no rows"), 2, "no rows"),
        (FileNotFoundError(2, "No such file", "a.csv"), 2, "a.csv: No such file"),
        (OSError("disk full"), 2, "disk full"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (KeyError("by\nnothing"), 2, r"a fault of this program, KeyError: .*; please report (.*)"),
    ],
)
def test_what_ends_a_command(error, status, line):
    """A fault of ours is one line that names its traceback."""

    @cli.entry
    def main(argv):
        raise error

    result = run(main)
    found = re.fullmatch(f"[^:]*: {line}\n", result.err)
    assert (result.status, bool(found)) == (status, True), result.err
    for path in map(Path, found.groups()):
        assert "in main\n    raise error" in path.read_text()
        path.unlink()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:secret@host:80/p", "http://***@host:80/p"),
        ("https://me:se/cr?et#x@host/p", "https://***@host/p"),
        *((same, same) for same in ("https://[::1]:80/x@2x.csv", "http://host:8080?mail=a@b")),
        *[('"http://host:8080","mail":"x@y"',) * 2],
    ],
)
def test_passwords_of_addresses_are_hidden_and_nothing_else(text, shown):
    assert cli.hide_password(text) == shown


def test_a_reader_that_leaves(tmp_path):
    line = f"{COMMAND} new {tmp_path}/a --for examples/adult | true; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=ROOT)
    assert (result.returncode, result.stderr) == (141, "")


@pytest.mark.parametrize(
    "shell",
    ['PYTHONOPTIMIZE=2 "$0" "$@" >&-', '"$0" "$@" 2>&-'],
    ids=["no docstrings and no output", "no errors"],
)
def test_whatever_surrounds_it(shell, tmp_path):
    """A refusal in one line, or in none where there is nowhere to write it."""
    line = ["sh", "-c", shell, COMMAND, "new", tmp_path, "--for", tmp_path]
    result = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path)
    refusal = f"{tmp_path}/serving.yaml is not there: name the folder of a package\n"
    expected = "" if "2>" in shell else f"knn-metric new: {refusal}"
    assert (result.returncode, result.stdout, result.stderr) == (2, "", expected)


def test_an_interrupt_of_which_a_library_makes_an_error(capsys):
    @cli.entry
    def main(_):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise ValueError("Invalid affine transformation matrix") from None

    assert main() == cli.INTERRUPTED
    assert capsys.readouterr().err.endswith(": interrupted\n")


@pytest.mark.slow
def test_an_installed_wheel(adult_package, tmp_path):
    """Outside of the repository, with this environment's packages and none of its own code."""
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--quiet", "install", "--no-deps", "--target", site, ROOT]
    subprocess.run(pip, check=True)
    program = "import sys; sys.path[:0] = [sys.argv.pop(1)]; import knn_metric.__main__ as command"
    program += "; assert command.__file__.startswith(sys.path[0]); sys.exit(command.main())"
    folder = tmp_path / "census"

    def knn_metric(*words):
        line = [sys.executable, "-c", program, site, *words]
        return subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)

    assert knn_metric("new", folder, "--for", adult_package).returncode == 0
    trained = knn_metric("train", "--package", folder, "--data", "sample")
    assert (trained.returncode, trained.stderr) == (0, "")
    assert knn_metric("check", "--package", folder, "--allow-sample").returncode == 0
    for line in ("upload --hs no", "watch adult:1 --cluster http://127.0.0.1:1"):
        failed = knn_metric(*line.split())
        assert (failed.returncode, failed.stderr.count("\n")) == (2, 1)
