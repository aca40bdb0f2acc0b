"""Uploads with the real hs command lines of both generations, against a stub manager."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import stub_manager
import yaml
from conftest import ROOT, assert_one_line, import_function, run_script
from test_func_main import NORMAL

import census

PINS = {2: ("hs==2.4.0", "markupsafe<2.1"), 3: ("hs==3.0.3",)}
CONFIGS = {2: ".hs-home/config.yaml", 3: ".hs/config.yaml"}
CURRENT = {2: "current-cluster", 3: "current_cluster"}


def find_python_3_8():
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = ["python3.8", *map(str, sorted(pyenv.glob("versions/3.8.*/bin/python")))]
    for candidate in filter(shutil.which, candidates):
        if subprocess.run([candidate, "--version"], capture_output=True).returncode == 0:
            return candidate
    return None


@pytest.fixture(scope="session", params=[2, 3], ids=["hs-2.4.0", "hs-3.0.3"])
def hs(request):
    """The real command line, installed once, and its generation."""
    folder = ROOT / ".nox" / PINS[request.param][0].replace("==", "-")
    if not (folder / "installed").exists():
        python = find_python_3_8()
        if python is None:
            pytest.skip(f"Python 3.8 is not installed, which {PINS[request.param][0]} needs")
        subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
        pip = [folder / "bin" / "pip", "install", "--quiet", *PINS[request.param]]
        subprocess.run(pip, check=True)
        (folder / "installed").touch()
    return folder / "bin" / "hs", request.param


@pytest.fixture
def manager():
    with stub_manager.running() as manager:
        yield manager


@pytest.fixture
def repository(package, tmp_path):
    """The package as a user has it: committed, with byte code that a run has left behind."""
    folder = tmp_path / "repository"
    shutil.copytree(package, folder)
    (folder / "src" / "__pycache__").mkdir(exist_ok=True)
    (folder / "src" / "__pycache__" / "func_main.cpython-311.pyc").write_bytes(b"\0")
    git = ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git[:3], "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "all"], check=True)
    return folder


def make_home(tmp_path, generation, address):
    """Return an environment in which hs has selected a cluster."""
    config = tmp_path / "home" / CONFIGS[generation]
    config.parent.mkdir(parents=True)
    clusters = [{"name": "stub", "cluster": {"server": address}}]
    config.write_text(yaml.safe_dump({"clusters": clusters, CURRENT[generation]: "stub"}))
    return {**os.environ, "HOME": str(tmp_path / "home")}


def read_signature(metadata):
    """Bring the contract that either generation posts into serving.yaml's form."""
    contract = metadata.get("contract") or {"predict": metadata["modelSignature"]}

    def read_fields(fields):
        return {
            field["name"]: {
                "shape": "scalar" if not any(field["shape"].values()) else field["shape"],
                "type": {"DT_INT64": "int64", "DT_DOUBLE": "double"}[field["dtype"]],
                "profile": field["profile"].lower(),
            }
            for field in contract["predict"]["inputs" if fields == "inputs" else "outputs"]
        }

    name = contract["predict"]["signatureName"]
    return {"name": name, "inputs": read_fields("inputs"), "outputs": read_fields("outputs")}


def assert_arrived(upload, repository, runtime):
    """Assert that what arrived is what the repository holds and serving.yaml says."""
    model = yaml.safe_load((repository / "serving.yaml").read_text())
    names = ["monitoring_model.joblib", "requirements.txt", "src/func_main.py"]
    files = {name.replace("//", "/"): content for name, content in upload["files"].items()}
    modules = ["src/messages.py", "src/neighbors.py", "src/portable_knn.py"]
    assert sorted(files) == [*names, *modules]
    for name, content in files.items():
        assert content == (repository / name).read_bytes()
    assert all(mode & 0o444 == 0o444 for mode in upload["modes"].values())
    metadata = upload["metadata"]
    assert metadata["name"] == model["name"]
    assert metadata["installCommand"] == model["install-command"]
    assert f"{metadata['runtime']['name']}:{metadata['runtime']['tag']}" == runtime
    signature = read_signature(metadata)
    assert signature == model["contract"]
    assert list(signature["inputs"]) == list(census.FEATURES)
    head = subprocess.run(
        ["git", "-C", repository, "rev-parse", "HEAD"], capture_output=True, text=True
    )
    assert metadata["metadata"]["git.branch.head.sha"] == head.stdout.strip()


RUNTIMES = {
    2: "hydrosphere/serving-runtime-python-3.7:2.4.3",
    3: "hydrosphere/serving-runtime-python-3.7:3.0.3",
}


class TestUpload:
    def test_it_arrives_and_serves(self, hs, manager, repository, tmp_path, func_main):
        hs, generation = hs
        environment = make_home(tmp_path, generation, manager.address)
        options = ("--folder", repository, "--hs", hs, "--allow-sample")
        result = run_script("upload.py", *options, env=environment)
        assert result.returncode == 0, result
        (upload,) = manager.uploads
        assert_arrived(upload, repository, RUNTIMES[generation])
        for name, content in upload["files"].items():
            path = tmp_path / "model" / "files" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        function = import_function(tmp_path / "model" / "files")
        assert function.predict(**NORMAL) == func_main.predict(**NORMAL)

    def test_another_runtime(self, hs, manager, repository, tmp_path):
        hs, generation = hs
        environment = make_home(tmp_path, generation, manager.address)
        runtime = RUNTIMES[generation].replace("3.7", "3.8")
        options = ("--folder", repository, "--hs", hs, "--allow-sample", "--runtime", runtime)
        result = run_script("upload.py", *options, env=environment)
        assert result.returncode == 0, result
        assert_arrived(manager.uploads[0], repository, runtime)

    def test_the_target_uploads_too(self, hs, manager, adult, tmp_path):
        hs, generation = hs
        environment = make_home(tmp_path, generation, manager.address)
        folder = shutil.copytree(adult, tmp_path / "adult")
        options = ("--folder", folder, "--hs", hs, "--allow-sample")
        result = run_script("upload.py", *options, env=environment)
        assert result.returncode == 0, result
        (upload,) = manager.uploads
        assert upload["metadata"]["name"] == "adult"
        files = sorted(name.replace("//", "/") for name in upload["files"])
        assert files == [
            "classifier.json",
            "requirements.txt",
            "src/func_main.py",
            "src/messages.py",
        ]

    def test_plain_hs(self, hs, manager, repository, tmp_path):
        hs, generation = hs
        environment = make_home(tmp_path, generation, manager.address)
        shutil.rmtree(repository / "src" / "__pycache__")
        command = [hs, "upload"] if generation == 2 else [hs, "apply", "-f", "serving.yaml"]
        result = subprocess.run(command, cwd=repository, env=environment, capture_output=True)
        assert result.returncode == 0, result
        assert_arrived(manager.uploads[0], repository, RUNTIMES[2])

    def test_the_check_comes_first(self, hs, manager, repository, tmp_path):
        hs, generation = hs
        environment = make_home(tmp_path, generation, manager.address)
        result = run_script("upload.py", "--folder", repository, "--hs", hs, env=environment)
        assert_one_line(result, "nothing was uploaded")
        assert re.search("FAIL +training data +trained on the synthetic sample", result.stdout)
        assert manager.uploads == []

    def test_a_failure_is_told(self, hs, manager, repository, tmp_path):
        hs, generation = hs
        environment = make_home(tmp_path, generation, manager.address)
        manager.failing["POST"] = 500
        options = ("--folder", repository, "--hs", hs, "--allow-sample")
        result = run_script("upload.py", *options, env=environment)
        assert result.returncode == 2
        assert "failed (exit status" in result.stderr.splitlines()[-1]

    def test_no_cluster(self, hs, repository, tmp_path):
        hs, generation = hs
        environment = {**os.environ, "HOME": str(tmp_path)}
        result = run_script("upload.py", "--folder", repository, "--hs", hs, env=environment)
        words = {2: "write it to ~/.hs-home/config.yaml", 3: "hs cluster add --name NAME"}
        assert_one_line(result, "no cluster is selected", words[generation])

    def test_a_deployment_configuration(self, hs, manager, tmp_path):
        hs, generation = hs
        if generation == 2:
            pytest.skip("DeploymentConfiguration is for 3.x platforms")
        environment = make_home(tmp_path, generation, manager.address)
        path = ROOT / "examples" / "deployment.yaml"
        command = [hs, "apply", "-f", path]
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
        assert result.returncode == 0, result
        wanted = yaml.safe_load(path.read_text())
        (sent,) = manager.deployments
        assert sent["name"] == wanted["name"]
        assert sent["hpa"] == wanted["hpa"]
        assert sent["deployment"] == wanted["deployment"]
        assert sent["container"]["resources"] == wanted["container"]["resources"]


def test_no_hs(package, tmp_path):
    result = run_script("upload.py", "--folder", package, "--hs", "no-such-hs")
    assert_one_line(result, "no-such-hs is not installed", "pip install hs==2.4.0")


class TestCluster:
    @pytest.mark.parametrize("generation", [2, 3])
    def test_it_is_read_from_either_configuration(self, generation, tmp_path):
        environment = make_home(tmp_path, generation, "http://one.example")
        result = run_script("cluster.py", env=environment)
        assert (result.returncode, result.stdout) == (0, "http://one.example\n")

    def test_two_different_ones(self, tmp_path):
        make_home(tmp_path, 2, "http://one.example")
        environment = make_home(tmp_path, 3, "http://two.example")
        result = run_script("cluster.py", env=environment)
        assert_one_line(result, "http://one.example and http://two.example")
        result = run_script("cluster.py", "--generation", 2, env=environment)
        assert result.stdout == "http://one.example\n"

    @pytest.mark.parametrize("text", ["", "clusters: []\ncurrent_cluster: null\n"])
    def test_none_selected(self, text, tmp_path):
        environment = make_home(tmp_path, 2, "http://one.example")
        (tmp_path / "home" / CONFIGS[2]).write_text(text)
        assert_one_line(run_script("cluster.py", env=environment), "no cluster is selected")

    def test_a_malformed_configuration(self, tmp_path):
        environment = make_home(tmp_path, 3, "http://one.example")
        (tmp_path / "home" / CONFIGS[3]).write_text("[")
        assert_one_line(run_script("cluster.py", env=environment), "config.yaml cannot be read")
