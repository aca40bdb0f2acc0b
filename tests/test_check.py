"""scripts/check.py: a good package passes, and each way to break one is found before the upload."""

import json
import os
import shutil

import pytest
from conftest import assert_one_line, run_script


@pytest.fixture
def folder(package, tmp_path):
    """A copy of the package to break."""
    folder = tmp_path / "package"
    shutil.copytree(package, folder)
    return folder


def check(folder, *options):
    result = run_script("check.py", "--folder", folder, "--json", "--allow-sample", *options)
    assert result.stderr == ""
    problems = [(row["check"], row["problem"]) for row in json.loads(result.stdout)]
    found = {name: problem for name, problem in problems if problem}
    assert result.returncode == (1 if found else 0)
    return found


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_good_package_passes(folder):
    assert check(folder) == {}


def test_findings_are_one_line_each(folder):
    edit(folder / "serving.yaml", "type: double", "type: float32")
    (folder / "requirements.txt").unlink()
    result = run_script("check.py", "--folder", folder)
    assert result.returncode == 1
    lines = {tuple(line.split()[:2]) for line in result.stdout.splitlines()}
    assert ("FAIL", "contract") in lines
    assert ("FAIL", "payload") in lines
    assert ("FAIL", "training") in lines
    assert ("ok", "runtime") in lines


def test_a_renamed_input(folder):
    edit(folder / "serving.yaml", "    sex:", "    gender:")
    problem = check(folder)
    assert "inputs are age" in problem["import"] or "sex: missing" in problem["import"]


def test_swapped_inputs(folder):
    edit(folder / "serving.yaml", "    sex:", "    other:")
    edit(folder / "serving.yaml", "    race:", "    sex:")
    edit(folder / "serving.yaml", "    other:", "    race:")
    assert "expected age, workclass" in check(folder)["contract"]


def test_a_float_output(folder):
    edit(folder / "serving.yaml", "type: double", "type: float32")
    assert check(folder) == {
        "contract": "output value is float32, but the function returns float64"
    }


def test_another_output(folder):
    edit(folder / "serving.yaml", "    value:", "    score:")
    assert check(folder) == {"contract": "outputs are score, got value"}


def test_an_array_output(folder):
    head, tail = (folder / "serving.yaml").read_text().split("outputs:")
    (folder / "serving.yaml").write_text(f"{head}outputs:{tail.replace('scalar', '[1]')}")
    assert check(folder) == {"contract": "output value is [1], but has 0 dimensions"}


def test_a_float_input(folder):
    head, tail = (folder / "serving.yaml").read_text().split("inputs:")
    tail = tail.replace("int64", "float64", 1)
    (folder / "serving.yaml").write_text(f"{head}inputs:{tail}")
    assert check(folder) == {"contract": "input age is scalar float64, expected scalar int64"}


def test_a_function_that_is_not_there(folder):
    edit(folder / "serving.yaml", "  name: predict", "  name: score")
    assert check(folder) == {"contract": "func_main has no function score"}


@pytest.mark.parametrize("line", ["kind: [", "payload: 7", "name: census_monitoring"])
def test_a_malformed_contract(folder, line):
    (folder / "serving.yaml").write_text(line)
    assert "serving.yaml cannot be read" in check(folder)["contract"]


def test_no_contract(tmp_path):
    assert_one_line(run_script("check.py", "--folder", tmp_path), "serving.yaml: No such file")


@pytest.mark.parametrize("name", ["src/portable_knn.py", "monitoring_model.joblib"])
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    found = check(folder)
    assert "import" in found
    assert ("payload" in found) == name.endswith(".joblib")


def test_a_file_outside_the_payload(folder):
    (folder / "src" / "portable_knn.py").rename(folder / "portable_knn.py")
    assert "No module named 'portable_knn'" in check(folder)["import"]


def test_a_truncated_artifact(folder):
    path = folder / "monitoring_model.joblib"
    os.truncate(path, path.stat().st_size // 2)
    assert "cannot load monitoring_model.joblib" in check(folder)["import"]


def test_an_artifact_from_the_sample(folder):
    result = run_script("check.py", "--folder", folder, "--json")
    assert result.returncode == 1
    (row,) = [row for row in json.loads(result.stdout) if not row["ok"]]
    assert row["check"] == "training data"
    assert "trained on the synthetic sample" in row["problem"]


def test_an_artifact_from_uci(uci_package):
    assert run_script("check.py", "--folder", uci_package[0]).returncode == 0


def test_too_much_to_upload(folder):
    (folder / "src" / "random").write_bytes(os.urandom(201_000_000))
    assert "over the manager's 200,000,000" in check(folder)["payload"]


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
    assert problem in check(folder)["requirements"]


@pytest.mark.parametrize(
    ("runtime", "options", "problem"),
    [
        ("python-3.8:2.4.3", (), None),
        ("python-3.6:2.2.0", (), None),
        ("python-3.8.11:3.0.3", ("--platform", 3), None),
        ("python-3.7:2.4.3", ("--platform", 2), None),
        ("python-3.7:2.4.3", ("--platform", 3), "of another generation than the 3.x platform"),
        ("python-3.7:2.2.0", (), "of release 2.2.0 there is Python 3.6"),
        ("python-3.6:3.0.3", (), "of release 3.0.3 there is Python 3.7, 3.8"),
        ("python-3.7:3.1.0", (), "none from 2.1.0 to 3.0.3"),
        ("python-3.7:latest", (), "is not hydrosphere/serving-runtime-python"),
    ],
)
def test_runtime(folder, runtime, options, problem):
    found = check(folder, "--runtime", f"hydrosphere/serving-runtime-{runtime}", *options)
    assert (problem in found["runtime"]) if problem else (found == {})
