"""Findings: a good package has none, and each way to break one is found."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_one_line, run

from knn_metric.contract import Contract, Field
from knn_metric.files import ROOT
from knn_metric.package import findings as checks
from knn_metric.package import payload, probe
from knn_metric.platform.releases import USUAL_RUNTIME_3X

PACKAGE = Contract("a", "image", (), None, None, "predict", (Field("age", "int64"),), ())
OURS = Contract.read(ROOT)
CONTROL = "install-command has a line break or another control character"


@pytest.fixture
def folder(package, tmp_path):
    """A copy of the package to break."""
    return shutil.copytree(package, tmp_path / "package")


@pytest.fixture(scope="module")
def probed(package):
    """What `check` prints of the package as it is, and what its probe finds."""
    found, probe_payload = [], checks.probe_payload

    def note(*own):
        found[:] = probe_payload(*own)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "probe_payload", note)
        patch.setenv("NUMBA_DISABLE_JIT", "1")  # what is compiled is tested where it is searched
        return run("check", "--package", package, "--allow-sample"), found[0]


def assert_said(problems, words):
    """Assert that the problems hold the words, or that there are none where they are ''."""
    text = "; ".join(problems)
    assert words in text
    assert bool(text) == bool(words)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_package_trained_on_the_sample(probed):
    assert (probed[0].status, probed[0].err) == (0, "")
    aspects = "name,runtime,payload,install,requirements,import,contract,training data"
    assert probed[0].out.split("\n") == [*(f"ok  {one}" for one in aspects.split(",")), ""]


def test_a_broken_one(folder):
    """What several things at once break is all named, each on a line of its own."""
    edit(folder / "serving.yaml", "name: census_monitoring", "name: my metric!")
    edit(folder / "serving.yaml", "install-command: pip install -r requirements.txt\n", "")
    (folder / "monitoring_model.joblib").unlink()
    (folder / "src" / "portable_knn" / "detector.py").unlink()
    result = run("check", "--package", folder)
    assert (result.status, result.err) == (1, "")
    failed = [line for line in result.out.splitlines() if line.startswith("FAIL")]
    words = (
        "FAIL  name           'my metric!' has more in it than",
        "FAIL  payload        monitoring_model.joblib is missing: `knn-metric train --package ",
        "FAIL  install        install-command does not install requirements.txt",
        "FAIL  import         ModuleNotFoundError: No module named 'portable_knn.detector'",
        "FAIL  contract       not known",
        "FAIL  training data  not known",
    )
    assert len(failed) == len(words)
    assert all(map(str.startswith, failed, words))
    (folder / "requirements.txt").write_bytes(b"\xff")
    result = run("check", "--package", folder)
    assert_one_line(result, "requirements.txt cannot be read: byte 0")


def end(folder):
    (folder / "src" / "func_main.py").write_text("raise SystemExit(0)")


def rename_and_print(folder):
    edit(folder / "serving.yaml", "    age:", "    years:")
    with (folder / "src" / "func_main.py").open("a") as file:
        file.write('print("hello")')


def move(folder):
    """hs 2.x packs a folder below others under its last name, where the function is looked for."""
    (folder / "build").mkdir()
    (folder / "src").rename(folder / "build" / "src")
    edit(folder / "serving.yaml", "  - src/", "  - build/src/")


RENAMED = "predict fails on the contract's inputs: ValueError: age: "


@pytest.mark.parametrize(
    ("change", "release", "problems"),
    [
        (end, "3.0.3", ["func_main ended the process on import", checks.UNKNOWN]),
        (rename_and_print, "3.0.3", ["inputs are years, workclass,", RENAMED]),
        (move, "2.4.3", []),
        (move, "3.0.3", ["ModuleNotFoundError: import of func_", checks.UNKNOWN]),
        (bool, "2.2.0", [RENAMED]),  # whose image hands messages to the function
    ],
)
def test_what_the_probe_finds(change, release, problems, light_package):
    change(light_package)
    runtime = f"hydrosphere/serving-runtime-python-3.7:{release}"
    contract = Contract.read(light_package, runtime)
    found = checks.inspect_package(light_package, contract, None, allow_sample=True)
    said = [*found["import"], *found["contract"]]
    assert len(said) == len(problems)
    assert all(map(str.startswith, said, problems))


def test_a_function_that_reads_messages(func_main):
    inputs = dict.fromkeys(func_main.features, ("int64", 9, "int64_val"))
    assert probe.call_with_messages(func_main.predict, inputs) == {"value": ("float64", 0)}


@pytest.mark.parametrize(
    ("side", "field", "problem"),
    [
        ("inputs", Field("gender", "int64"), "train again (it lacks gender; serv"),
        ("inputs", Field("age", "string"), "age is scalar string, expected a scalar number"),
        ("inputs", Field("age", "int64", (3,)), "age is [3] int64, expected a scalar number"),
        ("inputs", Field("age", "double"), ""),
        ("inputs", Field("age", "uint8"), ""),
        ("inputs", Field("age", "bool"), "age is bool, and the artifact was trained on 17 to"),
        ("outputs", Field("value", "float"), "value is float, but the function returns double"),
        ("outputs", Field("score", "double"), "outputs are score, got value"),
        ("outputs", Field("value", "double", (1,)), "value is [1], but has 0 dimensions"),
        ("outputs", Field("capital.gain", "double"), "capital.gain has a dot or begins with"),
        ("outputs", Field("$x", "double"), "$x has a dot or begins with $: sonar loses every"),
    ],
)
def test_another_field_in_the_place_of_the_first(probed, side, field, problem):
    changed = replace(OURS, **{side: (field, *getattr(OURS, side)[1:])})
    assert_said(checks.problems_of_contract(changed, probed[1]), problem)


def test_another_order_and_no_function_and_fractions(probed):
    fractions, backwards = {"age": (17, 90, False)}, replace(OURS, inputs=OURS.inputs[::-1])
    for contract, changes, problem in (
        (backwards, {}, "train again (the same ones are in another order)"),
        (OURS, {"function": False}, "func_main has no function predict"),
        (OURS, {"trained": fractions}, "age is int64, and the artifact was trained on fract"),
    ):
        assert_said(checks.problems_of_contract(contract, {**probed[1], **changes}), problem)


class TestPayload:
    def test_too_much_to_upload(self, folder, monkeypatch):
        monkeypatch.setattr(payload, "UPLOAD_LIMITS", {2: 10**9, 3: 1_050_000})
        contract = replace(PACKAGE, payload=("src/",))
        assert list(payload.problems_of_payload(folder, contract, None)) == []
        (folder / "src" / "random").write_bytes(np.random.default_rng(0).bytes(60_000))
        (problem,) = payload.problems_of_payload(folder, contract, None)
        assert "bytes packed, and the manager takes 1,050,000 with the request's rest" in problem
        assert list(payload.problems_of_payload(folder, contract, 2)) == []

    @pytest.mark.parametrize("data", ["s3://bucket/train.csv", "gone.csv", "gone.json", "."])
    def test_training_data(self, tmp_path, data):
        advice = ": `knn-metric train --package " * data.startswith("gone")
        problem = "" if ":" in data else f"training-data {data} is missing{advice}"
        contract = replace(PACKAGE, training_data=data)
        assert_said(payload.problems_of_payload(tmp_path, contract, None), problem)

    def test_training_data_has_the_contracts_fields(self, tmp_path):
        contract = replace(PACKAGE, training_data="a.csv", outputs=(Field("classes", "int64"),))
        wrong = ("age\n", "classes,age\n", "age;classes\n", "\ufeffage,classes\n", "\xff" * 100_000)
        for header in ("", *wrong, "age,classes\n", "age,classes\r\n"):
            (tmp_path / "a.csv").write_text(f"{header}40,1\n", encoding="utf-8", newline="")
            problem = "training-data a.csv does not begin with age,classes"
            problem *= not header.startswith("age,classes")
            assert_said(payload.problems_of_payload(tmp_path, contract, None), problem)

    def test_what_must_not_be_uploaded(self, tmp_path):
        files = ".env .env.prod .envrc .func_main.py.swp a.py~ #a# server.KEY cert.pem id_rsa"
        private = [*files.split(), "aws-credentials.json", ".git", ".ssh"]
        source = tmp_path / "package" / "src"
        for folder in (source, source / ".git", source / ".ssh"):
            folder.mkdir(parents=True)
            (folder / ".hidden").touch()
        for name in private[:-2]:
            (source / name).touch()
        links = {"secret": tmp_path, "up": source, "gone": "nothing", "alias": ".env"}
        for name, target in links.items():
            (source / name).symlink_to(target)
        os.mkfifo(source / "fifo")
        words = {
            "secret": "is a link out of the package",
            "up": "is a link to a folder that it lies in",
            "gone": "is no regular file",
            "fifo": "is no regular file",
            "alias": "is private or a leftover, and would be uploaded",
            ".hidden": "begins with a dot, and the platform leaves it out",
            **dict.fromkeys(private, "is private or a leftover, and would be uploaded"),
        }
        found = payload.Payload(source.parent, ["src/"])
        assert found.problems == [f"src/{name} {words[name]}" for name in sorted(words)]
        assert found.files == {}
        whole = payload.Payload(source.parent, ["", ".", "./"])
        assert whole.problems == ["'.' is the whole package: name files and folders"] * 3
        within = payload.Payload(source.parent, ["src/.git/.hidden"])
        assert within.problems == [f"src/.git/.hidden {words['.git']}"]

    def test_what_is_copied(self, folder, tmp_path):
        """A link within the package as a file, byte code not at all."""
        (folder / "latest.joblib").symlink_to("monitoring_model.joblib")
        files = [
            path for path in (folder / "src").rglob("*.*") if path.parent.name != "__pycache__"
        ]
        (folder / "src" / "__pycache__").mkdir(exist_ok=True)
        (folder / "src" / "__pycache__" / "func_main.cpython-37.pyc").touch()
        found = payload.Payload(folder, ["src/", "latest.joblib", "gone"])
        assert found.problems == ["gone is missing"]
        found.copy(tmp_path / "to")
        copies = {path.relative_to(tmp_path / "to") for path in (tmp_path / "to").rglob("*.*")}
        assert copies == {Path("latest.joblib"), *(path.relative_to(folder) for path in files)}
        copy = tmp_path / "to" / "latest.joblib"
        assert copy.read_bytes() == (folder / "monitoring_model.joblib").read_bytes()
        assert not copy.is_symlink()


INSTALL = "pip install -r requirements.txt"
BOTH = ["src/", "requirements.txt"]


def image(name, platform=None):
    return checks.problems_of_runtime(f"hydrosphere/serving-runtime-python-{name}", platform)


def require(line):
    return checks.problems_of_requirements([line], USUAL_RUNTIME_3X)


def install(command, payload=BOTH, lines=("pyod",)):
    contract = replace(PACKAGE, install_command=command, payload=tuple(payload))
    return checks.problems_of_install(contract, lines)


def train(source, n_above, allow_sample=False):
    return checks.problems_of_training({"source": source, "n_above": n_above}, allow_sample)


@pytest.mark.parametrize(
    ("problems", "words"),
    [
        (checks.problems_of_name("a-1"), ""),
        *((checks.problems_of_name(name), "has more in it than") for name in ("Census", "a.b", "")),
        (image("3.6:2.2.0"), ""),
        (image("3.8.11:3.0.3", 3), ""),
        (image("3.7:2.4.3", 2), ""),
        (image("3.7:2.4.3", 3), "of another generation than the 3.x platform"),
        (image("3.7:2.2.0"), "of release 2.2.0 there is Python 3.6"),
        (image("3.6:3.0.3"), "of release 3.0.3 there is Python 3.7, 3.8"),
        (image("3.7:3.1.0"), "none from 2.1.0 to 3.0.3"),
        (image("3.7:latest"), "is not hydrosphere/serving-runtime-python"),
        (require("scikit-learn==1.0.2"), ""),
        (require("scikit-learn==1.3.2"), "scikit-learn 1.3.2 breaks the image: 1.0.2 is the last"),
        (require('scikit-learn==1.3.2; python_version >= "3.9"'), ""),
        (require("numpy==1.21.6"), "numpy 1.21.6 replaces the image's own: expected 1.18.*"),
        (require("numpy>=1.18"), "numpy is not pinned: expected ==VERSION, got >=1.18"),
        (require("pyod==1.0.4"), "pyod 1.0.4 breaks the image"),
        (require("protobuf==3.20.3"), "protobuf is the image's own"),
        (require("Hydro_Serving-grpc==3.0.3"), "hydro-serving-grpc is the image's own"),
        (require("joblib"), "joblib is not pinned"),
        (require("git+ssh://x joblib"), "is not a requirement that can be checked"),
        (install(INSTALL), ""),
        (install(f"{INSTALL}\n"), ""),
        (install(f"{INSTALL}\nUSER root"), CONTROL),
        (install(f"{INSTALL}\x1b[2J"), CONTROL),
        (install(INSTALL, ["src/"]), "the payload has no requirements.txt"),
        (install("pip install pyod"), "install-command does not install"),
        (install(None, [], []), ""),
        (train("few.csv", 19), "19 rows above the threshold"),
        (train("sample", 19, allow_sample=True), ""),
        (train("uci", 20), ""),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_what_needs_no_package(problems, words):
    assert_said(problems, words)
