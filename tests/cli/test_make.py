"""make: what is typed reaches the scripts, and setup destroys nothing."""

import ast
import os
import re
import shutil
import subprocess
import sys

import pytest
from helpers import NORMAL, Result, assert_one_line, run

import check
import explain
import metric
import score
import serve
import shadow
import train
import watch
from monitoring.data import adult
from monitoring.files import ROOT


@pytest.fixture
def checkout(tmp_path):
    """A folder with the Makefile, and a Python that prints what it is started with."""
    (tmp_path / "scripts" / "monitoring").mkdir(parents=True)
    setup = [f"scripts/{file}.py" for file in ("setup", "monitoring/__init__", "monitoring/cli")]
    for file in ("Makefile", "pyproject.toml", "requirements.txt", "requirements-dev.txt", *setup):
        shutil.copy(ROOT / file, tmp_path / file)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "installed").write_text("another one")
    show = f"#!{sys.executable}\nimport os, sys\nprint(sys.argv[1:], dict(os.environ))\n"
    (tmp_path / ".venv" / "bin" / "python").write_text(show)
    (tmp_path / ".venv" / "bin" / "python").chmod(0o755)
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


@pytest.fixture
def made(monkeypatch):
    """Return a function that runs a command as make starts it."""

    def made(main, target, **variables):
        monkeypatch.setenv("MAKE_TARGET", target)
        monkeypatch.setenv("MAKE_GIVEN", " ".join(variables))
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        return run(main)

    return made


class TestMake:
    def test_help_lists_every_target(self):
        makefile = (ROOT / "Makefile").read_text()
        (phony,) = re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
        out = make(ROOT, "help").out
        targets = phony.replace("\\\n", "").split()[:-1]
        assert re.findall(r"^  ([\w-]+) ", out, re.MULTILINE) == targets

    @pytest.mark.parametrize(
        "value",
        [
            *("a  b", "'a\"b", "$HOME $(HOME) $$", ">50K <=50K", "Trinadad&Tobago"),
            *("a;b|c", "*?[a]", "#\\`id`"),
        ],
    )
    def test_values_reach_scripts_as_they_were_typed(self, value, checkout):
        result = make(checkout, "explain", f"ROW={value}", f"DATA={value}")
        assert (result.status, result.err) == (0, "")
        started, environment = ast.literal_eval(f"[{result.out.replace('] {', '], {')}]")
        assert started == ["scripts/explain.py"]
        assert (environment["ROW"], environment["DATA"]) == (value, value)
        assert environment["MAKE_TARGET"] == "explain"
        assert set(environment["MAKE_GIVEN"].split()) == {"ROW", "DATA"}
        assert sorted(path.name for path in checkout.iterdir()) == [
            *(".venv", "Makefile", "pyproject.toml", "requirements-dev.txt", "requirements.txt"),
            "scripts",
        ]

    def test_another_models_script(self, checkout):
        result = make(checkout, "train", "MODEL=my models/a", "DATA=x")
        assert result.out.startswith("['my models/a/train.py'] ")
        assert "'MAKE_GIVEN': 'DATA'" in result.out

    @pytest.mark.parametrize("target", ["help", "test", "demo", "setup", "clean"])
    def test_targets_that_take_no_variable(self, target, checkout):
        result = make(checkout, target, "DATA=sample")
        assert_one_line(result, f"{target} takes no DATA")
        assert (checkout / ".venv").exists()

    @pytest.mark.parametrize("name", ["DATA", "DATUM"])
    def test_a_variable_that_a_target_does_not_take(self, name, made):
        result = made(check.main, "check", **{name: "a"})
        words = f"make check: {name} is no variable of this target, there is MODEL, RUNTIME, "
        assert_one_line(result, words)

    def test_check_takes_a_runtime(self, made, light_package):
        result = made(check.main, "check", RUNTIME="foo", MODEL=light_package)
        assert result.status == 1
        assert "FAIL  runtime        foo is not hydrosphere/serving-runtime-python" in result.out

    def test_watch_takes_a_metric(self, made, manager):
        target = manager.add_version("adult", 1)
        manager.specs.append({"name": "census_monitoring", "modelVersionId": target["id"]})
        given = {"TARGET": "adult:1", "CLUSTER": manager.address, "METRIC": "other"}
        result = made(watch.main, "watch", **given)
        assert_one_line(
            result, "make watch: no metric other on adult:1, there is census_monitoring"
        )

    @pytest.mark.parametrize(
        ("main", "target", "example"),
        [
            (explain.main, "explain", "ROW='age=540 workclass=4 ...'"),
            (metric.main, "metric", "TARGET=adult:1"),
            (watch.main, "watch", "TARGET=adult:1"),
            (score.main, "score", "DATA=requests.parquet"),
        ],
    )
    def test_what_is_missing_is_named_with_an_example(self, main, target, example, made):
        name = example.partition("=")[0]
        words = f"make {target}: {name} is missing, as in `make {target} {example}`\n"
        assert made(main, target).err == words
        script = run(main)
        assert_one_line(script, f"is missing, as in `{main.__module__}.py ")
        assert "make" not in script.err

    def test_names_of_categories_can_be_typed(self, made, artifact):
        """With blanks, as they come in."""
        row = " ".join(f"{name}={value}" for name, value in {**NORMAL, "classes": ">50K"}.items())
        row = row.replace("country=9", "\n country=Trinadad&Tobago ")
        result = made(explain.main, "explain", ROW=row, ARTIFACT=artifact)
        assert (result.status, result.err) == (0, "")
        assert re.search(r"^country .* 5 Dominican-Republic", result.out, re.MULTILINE)

    @pytest.mark.parametrize(("force", "status"), [("1", 0), ("0", 2), ("", 2)])
    def test_messages_are_in_the_words_that_are_typed(
        self, force, status, made, artifact, tmp_path
    ):
        path, out = tmp_path / "mine.csv", tmp_path / "model.joblib"
        path.write_text("\n".join(adult.SAMPLE_PATH.read_text().splitlines()[:400]))
        files = {"OUT": out, "PLOT": tmp_path / "a.png"}
        assert made(train.main, "train", DATA=path, **files).status == 0
        result = made(train.main, "train", DATA="sample", FORCE=force, **files)
        assert result.status == status
        if status:
            assert_one_line(result, "make train: ", ": FORCE=1 does, and keeps it as .previous")
            options = ("--data", "sample", "--out", out, "--plot", tmp_path / "a.png")
            assert_one_line(run(train.main, *options), "train.py: ", ": --force does, and keeps it")

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"ROWS": "many"}, "make shadow: argument ROWS: invalid number value: 'many'"),
            ({"DRIFT": "age-missing@9999"}, "DRIFT: only 2,000 requests are sent, see ROWS"),
            ({"DATA": ""}, "make shadow: DATA is empty"),
        ],
    )
    def test_bad_values(self, given, words, made):
        assert_one_line(made(shadow.main, "shadow", **given), words)

    def test_command_lines_in_messages_stay_as_they_are(self, made, monkeypatch, tmp_path):
        monkeypatch.setenv("HOME", str(tmp_path))
        result = made(metric.main, "metric", TARGET="adult:1")
        assert_one_line(result, "`hs cluster add --name NAME --server URL`")

    def test_serving_without_an_artifact_says_what_to_do(self, made, tmp_path):
        shutil.copytree(ROOT / "src", tmp_path / "src")
        shutil.copy(ROOT / "serving.yaml", tmp_path)
        result = made(serve.main, "serve", MODEL=tmp_path)
        assert_one_line(result, "make serve: cannot import predict from func_main: cannot load ")
        assert result.err.endswith("train it with `make train`\n")


class TestSetup:
    @pytest.mark.parametrize(
        ("python", "problem"),
        [
            ("/bin/false", "is not a Python 3.11 to 3.13;"),
            ("no-such-python", "is not a Python 3.11 to 3.13;"),
            ("./without-venv", "cannot make a .venv; Debian and Ubuntu have what it lacks in"),
        ],
    )
    def test_a_python_that_will_not_do_is_one_line(self, python, problem, checkout):
        script = f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n'
        (checkout / "without-venv").write_text(script)
        (checkout / "without-venv").chmod(0o755)
        result = make(checkout, "setup", f"PYTHON={python}")
        assert result.status == 2
        first, _ = result.err.splitlines()  # the second is make's own
        assert first.startswith(f"make: {python} {problem}")

    @pytest.mark.parametrize("target", ["setup", "test", "train"])
    def test_a_link_is_not_followed(self, target, checkout):
        elsewhere = (checkout / ".venv").rename(checkout / "elsewhere")
        (checkout / ".venv").symlink_to("elsewhere")
        before = sorted(elsewhere.rglob("*"))
        assert_one_line(make(checkout, target, f"PYTHON={sys.executable}"), ".venv is a link")
        assert sorted(elsewhere.rglob("*")) == before

    @pytest.mark.slow
    def test_two_at_once_install_once(self, checkout):
        for name in ("requirements.txt", "requirements-dev.txt"):
            (checkout / name).write_text("")
        two = [start_make(checkout, "setup", f"PYTHON={sys.executable}") for _ in range(2)]
        out = "".join(process.communicate(timeout=120)[0] for process in two)
        assert [process.returncode for process in two] == [0, 0]
        assert out.count("installing the pinned requirements") == 1
        assert make(checkout, "setup").out == "make: Nothing to be done for 'setup'.\n"
