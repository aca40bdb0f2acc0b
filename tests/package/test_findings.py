"""Findings: a good package has none, and each way to break one is found."""

import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from helpers import run

from knn_metric.contract import Contract, Field
from knn_metric.package import findings as checks
from knn_metric.package import payload, requirements
from knn_metric.platform.releases import USUAL_RUNTIME_3X


@pytest.fixture
def folder(package, tmp_path):
    """A copy of the package to break."""
    return shutil.copytree(package, tmp_path / "package")


@pytest.fixture(scope="module")
def checked(package):
    """What the command says of the package as it is, and what its probe found."""
    kept, probe = [], checks.probe_payload

    def keep(*arguments):
        kept.append(probe(*arguments))
        return kept[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "probe_payload", keep)
        result = run("check", "--package", package, "--allow-sample")
    return result, *kept[0]


@pytest.fixture(scope="module")
def found(checked):
    return checked[1]


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def inspect(folder, runtime):
    """Return the last problem of each aspect."""
    contract = Contract.read(folder, runtime)
    found = checks.inspect_package(folder, contract, None, allow_sample=False)
    return {one.aspect: one.problem for one in found}


def read_findings(out):
    cells = (re.split(r"  +", line, maxsplit=2) for line in out.splitlines())
    return [(*line, "")[:3] for line in cells]


class TestWhole:
    """Through the command, with the probe in a process of its own."""

    def test_a_package_trained_on_the_sample(self, checked):
        result, _, failure = checked
        assert (result.status, result.err, failure) == (0, "", "")
        findings = read_findings(result.out)
        assert {(verdict, problem) for verdict, _, problem in findings} == {("ok", "")}
        aspects = "name runtime payload install requirements import contract".split()
        assert [aspect for _, aspect, _ in findings] == [*aspects, "training data"]

    def test_a_broken_one(self, folder):
        """What several things at once break is all named, each on a line of its own."""
        edit(folder / "serving.yaml", "name: census_monitoring", "name: my metric!")
        edit(folder / "serving.yaml", "install-command: pip install -r requirements.txt\n", "")
        (folder / "monitoring_model.joblib").unlink()
        (folder / "src" / "portable_knn" / "messages.py").unlink()
        result = run("check", "--package", folder)
        assert (result.status, result.err) == (1, "")
        failed = {
            a: problem for verdict, a, problem in read_findings(result.out) if verdict == "FAIL"
        }
        unknown = {"contract", "training data"}
        assert failed.keys() == {"name", "payload", "install", "import"} | unknown
        assert failed["name"].startswith("'my metric!'")
        makes = f"`knn-metric train --package {folder}` makes it"
        assert failed["payload"] == f"monitoring_model.joblib is missing: {makes}"
        assert "cannot import name 'messages'" in failed["import"]
        assert all(failed[aspect].startswith("not known") for aspect in unknown)

    def test_a_renamed_input_and_a_function_that_prints(self, light_package):
        edit(light_package / "serving.yaml", "    age:", "    years:")
        with (light_package / "src" / "func_main.py").open("a") as file:
            file.write('print("hello")')
        result = run("check", "--package", light_package)
        problems = [text for verdict, _, text in read_findings(result.out) if verdict == "FAIL"]
        assert problems[0].startswith("inputs are years, workclass,")
        assert problems[1:] == ["predict fails on the contract's inputs: ValueError: age: missing"]


class TestContract:
    @pytest.fixture
    def contract(self, package):
        return Contract.read(package)

    def problems(self, contract, found):
        return "; ".join(checks.problems_of_contract(contract, found))

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"name": "gender"}, "inputs are gender, workclass"),
            ({"type": "string"}, "input age is scalar string, expected a scalar number"),
            ({"dims": (3,)}, "input age is [3] int64, expected a scalar number"),
            ({"type": "double"}, ""),
            ({"type": "uint8"}, ""),
            ({"type": "bool"}, "input age is bool, and the artifact was trained on 17 to 90"),
        ],
    )
    def test_a_changed_input(self, contract, found, change, problem):
        first, *others = contract.inputs
        changed = replace(contract, inputs=(replace(first, **change), *others))
        assert self.problems(changed, found).startswith(problem)
        assert bool(self.problems(changed, found)) == bool(problem)

    def test_fractions_that_a_type_would_cut(self, contract, found):
        low, high, _ = found["trained"]["age"]
        fractions = {**found, "trained": {**found["trained"], "age": (low, high, False)}}
        problem = "input age is int64, and the artifact was trained on fractions"
        assert self.problems(contract, fractions) == problem

    @pytest.mark.parametrize(
        ("output", "problem"),
        [
            (Field("value", "float32"), "value is float32, but the function returns float64"),
            (Field("score", "double"), "outputs are score, got value"),
            (Field("value", "double", (1,)), "output value is [1], but has 0 dimensions"),
        ],
    )
    def test_another_output_or_order_or_no_function(self, contract, found, output, problem):
        assert problem in self.problems(replace(contract, outputs=(output,)), found)
        swapped = self.problems(replace(contract, inputs=contract.inputs[::-1]), found)
        assert swapped.startswith("inputs are classes, country")
        assert "expected age, workclass" in swapped
        for name in ("capital.gain", "$x"):
            fields = (*contract.outputs, Field(name, "int64"))
            problem = f"{name} has a dot or begins with $: sonar loses every request"
            assert problem in self.problems(replace(contract, outputs=fields), found)
        without = self.problems(replace(contract, function="score"), {**found, "function": False})
        assert without == "func_main has no function score"


class TestTraining:
    def test_the_sample_is_for_trials(self, found):
        (problem,) = checks.problems_of_training(found, allow_sample=False)
        assert "the synthetic sample" in problem
        assert "--allow-sample" in problem
        assert list(checks.problems_of_training(found, allow_sample=True)) == []
        real = {**found, "source": "uci"}
        assert list(checks.problems_of_training(real, allow_sample=False)) == []

    def test_too_few_rows_to_set_a_threshold(self, found):
        few = {**found, "source": "few.csv", "n_above": 2}
        (problem,) = checks.problems_of_training(few, allow_sample=False)
        assert problem.startswith("2 rows above the threshold")
        assert list(checks.problems_of_training(few, allow_sample=True)) == []


PACKAGE = Contract("a", "image", (), None, None, "predict", (Field("age", "int64"),), ())


class TestPayload:
    def test_too_much_to_upload(self, folder, monkeypatch):
        monkeypatch.setattr(payload, "UPLOAD_LIMITS", {2: 10**9, 3: 1_050_000})
        contract = replace(PACKAGE, payload=("src/",))
        assert list(payload.problems_of_payload(folder, contract, None)) == []
        (folder / "src" / "random").write_bytes(np.random.default_rng(0).bytes(60_000))
        (problem,) = payload.problems_of_payload(folder, contract, None)
        assert problem.endswith(
            " bytes packed, and the manager takes 1,050,000 with the request's rest"
        )
        assert list(payload.problems_of_payload(folder, contract, 2)) == []

    @pytest.mark.parametrize(
        ("data", "missing"),
        [
            ("s3://bucket/train.csv", []),
            ("gone.csv", ["gone.csv is missing: `knn-metric train --package FOLDER` makes it"]),
            ("src", ["src is missing"]),
        ],
    )
    def test_training_data(self, folder, data, missing):
        problems = payload.problems_of_payload(folder, replace(PACKAGE, training_data=data), None)
        expected = [f"training-data {problem}" for problem in missing]
        assert list(problems) == [problem.replace("FOLDER", str(folder)) for problem in expected]

    @pytest.mark.parametrize(
        ("header", "is_wrong"),
        [
            ("age,classes\n", False),
            ("age,classes\r\n", False),
            ("age\n", True),
            ("classes,age\n", True),
            ("age;classes\n", True),
            ("\ufeffage,classes\n", True),
            ("", True),
            ("\xff" * 100_000, True),
        ],
    )
    def test_training_data_has_the_contracts_fields(self, tmp_path, header, is_wrong):
        (tmp_path / "a.csv").write_text(f"{header}40,1\n", encoding="utf-8", newline="")
        outputs = (Field("classes", "int64"),)
        contract = replace(PACKAGE, training_data="a.csv", outputs=outputs)
        problem = "training-data a.csv does not begin with age,classes"
        problems = list(payload.problems_of_payload(tmp_path, contract, None))
        assert problems == [problem] * is_wrong

    def test_what_makes_a_missing_artifact(self, tmp_path):
        missing = ("classifier.json", "monitoring_model.joblib", "src/")
        assert list(
            payload.problems_of_payload(tmp_path, replace(PACKAGE, payload=missing), None)
        ) == [
            f"classifier.json is missing: `knn-metric train --package {tmp_path}` makes it",
            f"monitoring_model.joblib is missing: `knn-metric train --package {tmp_path}` makes it",
            "src is missing",
        ]

    @pytest.mark.parametrize(("generation", "found"), [("2.4.3", True), ("3.0.3", False)])
    def test_a_folder_below_others(self, light_package, generation, found):
        """hs 2.x packs it under its last name, where the function is then looked for."""
        folder = light_package
        (folder / "build").mkdir()
        (folder / "src").rename(folder / "build" / "src")
        edit(folder / "serving.yaml", "  - src/", "  - build/src/")
        runtime = f"hydrosphere/serving-runtime-python-3.7:{generation}"
        findings = inspect(folder, runtime)
        assert (not any(findings.values())) == found
        assert (findings["import"] == "") == found

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("secret", "is a link out of the package"),
            ("up", "is a link to a folder that it lies in"),
            ("gone", "is no regular file"),
            ("fifo", "is no regular file"),
            (".hidden", "begins with a dot, and the platform leaves it out"),
            *(
                (name, "is private or a leftover, and would be uploaded")
                for name in (".env", ".env.prod", ".git", ".func_main.py.swp", "a.py~", "#a#")
            ),
            *(
                (name, "is private or a leftover, and would be uploaded")
                for name in ("server.KEY", "cert.pem", "id_rsa", "aws-credentials.json", ".ssh")
            ),
        ],
    )
    def test_what_must_not_be_uploaded(self, folder, tmp_path, name, words):
        (tmp_path / "outside").mkdir()
        path = folder / "src" / "deep" / name
        path.parent.mkdir()
        links = {"secret": tmp_path / "outside", "up": folder / "src", "gone": "nothing"}
        if name in links:
            path.symlink_to(links[name])
        elif name == "fifo":
            os.mkfifo(path)
        elif name in (".git", ".ssh"):
            path.mkdir()
            (path / "config").touch()
        else:
            path.touch()
        found = payload.Payload(folder, ["src/"])
        assert found.problems == [f"src/deep/{name} {words}"]
        if path.is_dir() and "private" in words:  # nor by naming what is within
            found = payload.Payload(folder, [f"src/deep/{name}/config"])
            assert found.problems == [f"src/deep/{name}/config {words}"]
        assert not [one for one in found.files if "deep" in one]

    @pytest.mark.parametrize("entry", ["", ".", "./"])
    def test_the_whole_package_is_no_entry(self, folder, entry):
        found = payload.Payload(folder, [entry])
        assert found.problems == ["'.' is the whole package: name files and folders"]
        assert found.files == {}

    def test_a_link_within_the_package_is_copied_as_a_file(self, folder, tmp_path):
        (folder / "latest.joblib").symlink_to("monitoring_model.joblib")
        found = payload.Payload(folder, ["latest.joblib", "requirements-of-all.txt/"])
        assert found.problems == ["requirements-of-all.txt is missing"]
        found.copy(tmp_path / "to")
        copy = tmp_path / "to" / "latest.joblib"
        assert copy.read_bytes() == (folder / "monitoring_model.joblib").read_bytes()
        assert not copy.is_symlink()

    def test_byte_code_is_not_copied(self, folder, tmp_path):
        (folder / "src" / "__pycache__").mkdir()
        payload.Payload(folder, ["src/", "requirements.txt", "gone"]).copy(tmp_path / "to")
        names = sorted(path.name for path in (tmp_path / "to").rglob("*.*[!d]"))
        modules = sorted(path.name for path in (folder / "src").rglob("*.py"))
        assert "func_main.py" in modules
        assert names == sorted([*modules, "requirements.txt"])


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("scikit-learn==0.24.2", "scikit-learn==1.3.2", "scikit-learn 1.3.2 breaks the image"),
        ("numpy==1.18.*", "numpy==1.21.6", "numpy 1.21.6 replaces the image's own"),
        ("numpy==1.18.*", "numpy>=1.18", "numpy is not pinned: expected ==VERSION"),
        ("pyod==1.0.0", "pyod==1.0.4", "pyod 1.0.4 breaks the image"),
        ("joblib==1.1.1", "protobuf==3.20.3", "protobuf is the image's own"),
        ("joblib==1.1.1", "Hydro_Serving-grpc==3.0.3", "hydro-serving-grpc is the image's own"),
        ("joblib==1.1.1", "joblib", "joblib is not pinned"),
        ("joblib==1.1.1;", "git+ssh://x joblib;", "is not a requirement that can be checked"),
    ],
)
def test_requirements(folder, old, new, problem):
    edit(folder / "requirements.txt", old, new)
    lines = requirements.read_requirements(folder)
    found = requirements.problems_of_requirements(lines, USUAL_RUNTIME_3X)
    assert problem in "; ".join(found)


@pytest.mark.parametrize(
    ("runtime", "platform", "problem"),
    [
        ("python-3.8:2.4.3", None, None),
        ("python-3.6:2.2.0", None, None),
        ("python-3.8.11:3.0.3", 3, None),
        ("python-3.7:2.4.3", 2, None),
        ("python-3.7:2.4.3", 3, "of another generation than the 3.x platform"),
        ("python-3.7:2.2.0", None, "of release 2.2.0 there is Python 3.6"),
        ("python-3.6:3.0.3", None, "of release 3.0.3 there is Python 3.7, 3.8"),
        ("python-3.7:3.1.0", None, "none from 2.1.0 to 3.0.3"),
        ("python-3.7:latest", None, "is not hydrosphere/serving-runtime-python"),
    ],
)
def test_runtime(runtime, platform, problem):
    image = f"hydrosphere/serving-runtime-{runtime}"
    found = "; ".join(checks.problems_of_runtime(image, platform))
    assert (problem in found) if problem else (found == "")


def test_name():
    for name in ("census_monitoring", "a-1"):
        assert list(checks.problems_of_name(name)) == []
    for name in ("Census", "a.b", ""):
        assert list(checks.problems_of_name(name)) != []


@pytest.mark.parametrize(
    ("command", "entries", "lines", "good"),
    [
        ("pip install -r requirements.txt", ["src/", "requirements.txt"], ["pyod"], True),
        ("pip install -r requirements.txt\n", ["requirements.txt"], ["pyod"], True),
        ("pip install -r requirements.txt\nUSER root", ["requirements.txt"], ["pyod"], False),
        ("pip install -r requirements.txt\x1b[2J", ["requirements.txt"], ["pyod"], False),
        ("pip install -r requirements.txt", ["src/"], ["pyod"], False),
        ("pip install pyod", ["requirements.txt"], ["pyod"], False),
        (None, ["requirements.txt"], ["pyod"], False),
        (None, [], [], True),
    ],
)
def test_install(command, entries, lines, good):
    contract = replace(PACKAGE, install_command=command, payload=tuple(entries))
    assert (list(requirements.problems_of_install(contract, lines)) == []) == good


@pytest.mark.parametrize(("release", "is_dead"), [("2.2.0", True), ("2.4.3", False)])
def test_a_function_that_reads_no_messages(release, is_dead, adult_package):
    """Images up to 2.3.0 hand tensor messages to the function."""
    runtime = f"hydrosphere/serving-runtime-python-3.6:{release}"
    findings = inspect(adult_package, runtime)
    problem = "predict fails on the contract's inputs: ValueError: age: expected a whole number"
    assert findings["contract"].startswith(problem) == is_dead
    assert len(findings["contract"].splitlines()) == is_dead


@pytest.mark.slow
def test_ours_reads_both(package):
    runtime = "hydrosphere/serving-runtime-python-3.6:2.2.0"
    findings = inspect(package, runtime)
    assert findings["contract"] == ""
