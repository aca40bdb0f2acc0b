"""Uploads with the real hs command lines of both generations, against a stub manager."""

import shutil
import subprocess

import pytest
import yaml
from helpers import assert_one_line, make_home, run

from knn_metric.contract import Contract
from knn_metric.files import ROOT
from knn_metric.package.payload import Payload
from knn_metric.platform.manager import read_signature
from knn_metric.platform.metrics import describe_artifact
from portable_knn import load

pytestmark = pytest.mark.slow


@pytest.fixture
def repository(package, tmp_path):
    """The package as a user has it: committed, with byte code that a run has left behind."""
    folder = shutil.copytree(package, tmp_path / "repository")
    (folder / "src" / "__pycache__").mkdir(exist_ok=True)
    (folder / "src" / "__pycache__" / "func_main.cpython-311.pyc").write_bytes(b"\0")
    git = ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "all"], check=True)
    return folder


def assert_arrived(upload, repository, runtime):
    """Assert that what arrived is what the repository holds and serving.yaml says."""
    contract = Contract.read(repository)
    files = {name.replace("//", "/"): content for name, content in upload["files"].items()}
    wanted = Payload(repository, contract.payload).files
    assert files == {name: path.read_bytes() for name, path in wanted.items()}
    assert all(mode & 0o444 == 0o444 for mode in upload["modes"].values())
    metadata = upload["metadata"]
    assert metadata["name"] == contract.name
    assert metadata["installCommand"] == contract.install_command
    assert "{name}:{tag}".format_map(metadata["runtime"]) == runtime
    signature = (metadata.get("contract") or {"predict": metadata["modelSignature"]})["predict"]
    assert signature["signatureName"] == contract.function
    fields = [*contract.inputs, *contract.outputs]
    assert read_signature({"modelSignature": signature}) == (fields, [])
    head = subprocess.check_output(["git", "-C", repository, "rev-parse", "HEAD"], text=True)
    assert metadata["metadata"]["git.branch.head.sha"] == head.strip()


RUNTIMES = {
    2: "hydrosphere/serving-runtime-python-3.7:2.4.3",
    3: "hydrosphere/serving-runtime-python-3.7:3.0.3",
}


@pytest.fixture
def send(hs, manager, tmp_path, monkeypatch):
    """Return a function that uploads a folder with either hs to the stub manager."""
    monkeypatch.setenv("HOME", make_home(tmp_path, hs[1], manager.address)["HOME"])
    return lambda folder, *options: run("upload", "--package", folder, "--hs", hs[0], *options)


@pytest.mark.usefixtures("checked")
def test_it_arrives(hs, send, manager, repository):
    before = sorted(repository.rglob("*"))
    result = send(repository)
    assert result.status == 0, result
    assert sorted(repository.rglob("*")) == before
    (sent,) = manager.uploads
    assert_arrived(sent, repository, RUNTIMES[hs[1]])
    described = describe_artifact(repository, load(repository / "monitoring_model.joblib"))
    assert described.items() <= sent["metadata"]["metadata"].items()


def test_the_target_uploads_too(send, manager, adult_package):
    assert send(adult_package).status == 1
    assert manager.uploads == []
    result = send(adult_package, "--allow-sample")
    assert result.status == 0, result
    (sent,) = manager.uploads
    assert sent["metadata"]["name"] == "adult"
    files = sorted(name.replace("//", "/") for name in sent["files"])
    assert files == ["classifier.json", "requirements.txt", "src/func_main.py"]
    (training_data,) = manager.training_data.values()
    assert training_data == (adult_package / "training_data.csv").read_bytes()


def test_no_cluster(hs, send, repository, tmp_path):
    shutil.rmtree(tmp_path / "home")
    words = {2: "write it to ~/.hs-home/config.yaml", 3: "hs cluster add --name NAME"}
    assert_one_line(send(repository), "no cluster is selected", words[hs[1]])


@pytest.mark.usefixtures("send")
def test_a_deployment_configuration(hs, manager):
    hs, generation = hs
    if generation == 2:
        pytest.skip("DeploymentConfiguration is for 3.x platforms")
    path = ROOT / "examples" / "deployment.yaml"
    subprocess.run([hs, "apply", "-f", path], check=True)
    wanted = yaml.safe_load(path.read_text())
    (sent,) = manager.deployments
    for key in ("name", "hpa", "deployment"):
        assert sent[key] == wanted[key]
    assert sent["container"]["resources"] == wanted["container"]["resources"]
