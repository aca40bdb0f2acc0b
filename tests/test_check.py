"""scripts/check.py: a good package passes, and each way to break one is found before the upload."""

import shutil

from lib import census, inspection, package
from lib.command import UserError
from lib.platform import USUAL_RUNTIME_3X
from lib.runtime import read_definition

import numpy as np
import pytest
from helpers import assert_one_line, run

import check
import train


@pytest.fixture
def folder(package, tmp_path):
    """A copy of the package to break."""
    return shutil.copytree(package, tmp_path / "package")


@pytest.fixture(scope="module")
def checked(package):
    """What the command says of the package as it is, and what its probe found."""
    kept, probe = [], inspection.probe

    def keep(*arguments):
        kept.append(probe(*arguments))
        return kept[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspection, "probe", keep)
        result = run(check.main, "--model", package, "--allow-sample")
    return result, *kept[0]


@pytest.fixture(scope="module")
def found(checked):
    return checked[1]


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def read_findings(out):
    return [(line[:4].strip(), line[6:20].strip(), line[20:]) for line in out.splitlines()]


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
        (folder / "src" / "messages.py").rename(folder / "messages.py")
        result = run(check.main, "--model", folder)
        assert (result.status, result.err) == (1, "")
        failed = {
            a: problem for verdict, a, problem in read_findings(result.out) if verdict == "FAIL"
        }
        unknown = {"contract", "training data"}
        assert failed.keys() == {"name", "payload", "install", "import"} | unknown
        assert failed["name"].startswith("'my metric!'")
        assert failed["payload"] == "monitoring_model.joblib is missing: `make train` makes it"
        assert "No module named 'messages'" in failed["import"]
        assert all(failed[aspect].startswith("not known") for aspect in unknown)

    def test_a_renamed_input_and_a_function_that_prints(self, light_package):
        edit(light_package / "serving.yaml", "    age:", "    years:")
        with (light_package / "src" / "func_main.py").open("a") as file:
            file.write('print("hello")')
        result = run(check.main, "--model", light_package)
        problems = [text for verdict, _, text in read_findings(result.out) if verdict == "FAIL"]
        assert problems[0].startswith("inputs are years, workclass,")
        assert problems[1:] == ["predict fails on the contract's inputs: ValueError: age: missing"]

    def test_no_contract(self, tmp_path):
        assert_one_line(run(check.main, "--model", tmp_path), "serving.yaml: No such file")

    @pytest.mark.parametrize(
        "line", ["", "- a", "kind: [", "payload: 7", "name: census_monitoring"]
    )
    def test_a_malformed_contract(self, folder, line):
        (folder / "serving.yaml").write_text(line)
        assert_one_line(run(check.main, "--model", folder), "serving.yaml cannot be read")


class TestContract:
    def problems(self, folder, found):
        definition = read_definition(folder)
        return "; ".join(inspection.problems_of_contract(definition["contract"], found))

    def test_none(self, folder, found):
        assert self.problems(folder, found) == ""

    @pytest.mark.parametrize(
        ("old", "new", "problem"),
        [
            ("    sex:", "    gender:", "inputs are age, workclass, education"),
            ("type: double", "type: float32", "value is float32, but the function returns float64"),
            ("    value:", "    score:", "outputs are score, got value"),
        ],
    )
    def test_a_changed_field(self, folder, found, old, new, problem):
        edit(folder / "serving.yaml", old, new)
        assert problem in self.problems(folder, found)

    def test_swapped_inputs(self, folder, found):
        edit(folder / "serving.yaml", "    sex:", "    other:")
        edit(folder / "serving.yaml", "    race:", "    sex:")
        edit(folder / "serving.yaml", "    other:", "    race:")
        assert "expected age, workclass" in self.problems(folder, found)

    def test_an_array_output(self, folder, found):
        head, tail = (folder / "serving.yaml").read_text().split("outputs:")
        (folder / "serving.yaml").write_text(f"{head}outputs:{tail.replace('scalar', '[1]')}")
        assert self.problems(folder, found) == "output value is [1], but has 0 dimensions"

    def test_a_float_input(self, folder, found):
        head, tail = (folder / "serving.yaml").read_text().split("inputs:")
        tail = tail.replace("int64", "float64", 1)
        (folder / "serving.yaml").write_text(f"{head}inputs:{tail}")
        assert self.problems(folder, found) == (
            "input age is scalar float64, expected scalar int64"
        )

    def test_a_function_that_is_not_there(self, folder, found):
        edit(folder / "serving.yaml", "  name: predict", "  name: score")
        without = {**found, "function": False}
        assert self.problems(folder, without) == "func_main has no function score"

    def test_a_type_that_the_platform_does_not_know(self, folder):
        edit(folder / "serving.yaml", "type: double", "type: number")
        with pytest.raises(UserError, match=r"cannot be read: .*number"):
            read_definition(folder)


class TestTraining:
    def test_the_sample_is_for_trials(self, found):
        (problem,) = inspection.problems_of_training(found, allow_sample=False)
        assert "the synthetic sample" in problem
        assert "--allow-sample" in problem
        assert list(inspection.problems_of_training(found, allow_sample=True)) == []
        real = {**found, "source": "uci"}
        assert list(inspection.problems_of_training(real, allow_sample=False)) == []

    def test_too_few_rows_to_set_a_threshold(self, found, tmp_path):
        """32 rows: the threshold is that of a row or two."""
        path = tmp_path / "few.csv"
        path.write_text("\n".join(census.SAMPLE_PATH.read_text().splitlines()[:32]))
        detector, _ = train.fit(census.load(str(path)))
        few = {**found, "source": "few.csv", "n_above": int(detector.labels_.sum())}
        (problem,) = inspection.problems_of_training(few, allow_sample=False)
        assert problem.startswith("2 rows above the threshold")
        assert list(inspection.problems_of_training(few, allow_sample=True)) == []


class TestPayload:
    def test_too_much_to_upload(self, folder, monkeypatch):
        monkeypatch.setattr(inspection, "UPLOAD_LIMIT", 50_000)
        assert list(inspection.problems_of_payload(folder, {"payload": ["src/"]})) == []
        (folder / "src" / "random").write_bytes(np.random.default_rng(0).bytes(60_000))
        (problem,) = inspection.problems_of_payload(folder, {"payload": ["src/"]})
        assert problem.endswith("bytes packed, over the manager's 50,000")

    @pytest.mark.parametrize(
        ("data", "missing"),
        [
            ("s3://bucket/train.csv", []),
            ("gone.csv", ["gone.csv is missing: `make train MODEL=examples/adult` makes it"]),
            ("src", ["src is missing"]),
            (7, ["7 is missing"]),
        ],
    )
    def test_training_data(self, folder, data, missing):
        problems = inspection.problems_of_payload(folder, {"payload": [], "training-data": data})
        assert list(problems) == [f"training-data {problem}" for problem in missing]

    @pytest.mark.parametrize(
        ("header", "is_wrong"),
        [
            ("age,sex,classes\n", False),
            ("age,sex,classes\r\n", False),
            ("age,sex\n", True),
            ("sex,age,classes\n", True),
            ("age;sex;classes\n", True),
            ("\ufeffage,sex,classes\n", True),
            ("39,1,0\n", True),
            ("", True),
            ("\xff" * 100_000, True),
        ],
    )
    def test_training_data_has_the_contracts_fields(self, tmp_path, header, is_wrong):
        (tmp_path / "a.csv").write_text(f"{header}40,0,1\n", encoding="utf-8", newline="")
        contract = {"inputs": {"age": {}, "sex": {}}, "outputs": {"classes": {}}}
        definition = {"payload": [], "training-data": "a.csv", "contract": contract}
        problem = "training-data a.csv does not begin with age,sex,classes"
        problems = list(inspection.problems_of_payload(tmp_path, definition))
        assert problems == [problem] * is_wrong

    def test_what_makes_a_missing_artifact(self, tmp_path):
        missing = {"payload": ["classifier.json", "monitoring_model.joblib", "src/"]}
        assert list(inspection.problems_of_payload(tmp_path, missing)) == [
            "classifier.json is missing: `make train MODEL=examples/adult` makes it",
            "monitoring_model.joblib is missing: `make train` makes it",
            "src/ is missing",
        ]

    @pytest.mark.parametrize(("generation", "found"), [("2.4.3", True), ("3.0.3", False)])
    def test_a_folder_below_others(self, light_package, generation, found):
        """hs 2.x packs it under its last name, where the function is then looked for."""
        folder = light_package
        (folder / "build").mkdir()
        (folder / "src").rename(folder / "build" / "src")
        edit(folder / "serving.yaml", "  - src/", "  - build/src/")
        runtime = f"hydrosphere/serving-runtime-python-3.7:{generation}"
        findings = dict(inspection.inspect(folder, runtime))
        assert (not any(findings.values())) == found
        assert (findings["import"] == "") == found

    def test_byte_code_is_not_copied(self, folder, tmp_path):
        (folder / "src" / "__pycache__").mkdir()
        package.copy_payload(folder, ["src/", "requirements.txt", "gone"], tmp_path / "to")
        names = sorted(path.name for path in (tmp_path / "to").rglob("*.*"))
        modules = sorted(path.name for path in (folder / "src").glob("*.py"))
        assert "func_main.py" in modules
        assert names == [*modules, "requirements.txt"]


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
    requirements = inspection.read_requirements(folder / "requirements.txt")
    found = inspection.problems_of_requirements(requirements, USUAL_RUNTIME_3X)
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
    found = "; ".join(inspection.problems_of_runtime(image, platform))
    assert (problem in found) if problem else (found == "")


@pytest.mark.parametrize(
    ("name", "taken"),
    [("census_monitoring", True), ("a-1", True), ("Census", False), ("a.b", False), ("", False)],
)
def test_name(name, taken):
    assert (list(inspection.problems_of_name(name)) == []) == taken


@pytest.mark.parametrize(
    ("command", "payload", "requirements", "good"),
    [
        ("pip install -r requirements.txt", ["src/", "requirements.txt"], ["pyod"], True),
        ("pip install -r requirements.txt", ["src/"], ["pyod"], False),
        ("pip install pyod", ["requirements.txt"], ["pyod"], False),
        (None, ["requirements.txt"], ["pyod"], False),
        (None, [], [], True),
    ],
)
def test_install(command, payload, requirements, good):
    definition = {"install-command": command, "payload": payload}
    assert (list(inspection.problems_of_install(definition, requirements)) == []) == good
