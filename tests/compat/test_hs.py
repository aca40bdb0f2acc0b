"""Uploads with the real hs command lines of both generations, against a stub manager."""

import os
import shutil
import subprocess

import pytest
import yaml
from helpers import METRIC, assert_one_line, commit, make_home, read_files, run

from knn_metric.contract import Contract
from knn_metric.files import ROOT
from knn_metric.platform.manager import read_signature
from knn_metric.platform.metrics import describe_artifact
from portable_knn import load

pytestmark = pytest.mark.slow


@pytest.fixture
def repository(package, tmp_path):
    """A committed package with byte code that a run left, and files that hs packs differently."""
    folder = shutil.copytree(package, tmp_path / "repository")
    (folder / "src" / "__pycache__").mkdir(exist_ok=True)
    (folder / "src" / "__pycache__" / "func_main.cpython-311.pyc").write_bytes(b"\0")
    shutil.copytree(ROOT / "examples" / "adult" / "src", folder / "more" / "below")
    shutil.copy(ROOT / "LICENSE", folder / "more")
    text = (folder / "serving.yaml").read_text()
    text = text.replace("  - src/", "  - src/\n  - more/LICENSE\n  - more/below/")
    (folder / "serving.yaml").write_text(text)
    return commit(folder)


@pytest.fixture
def send(hs, manager, tmp_path, monkeypatch):
    """Return a function that uploads a folder with either hs to the stub manager."""
    monkeypatch.setenv("HOME", make_home(tmp_path, hs[1], manager.address)["HOME"])
    return lambda folder, *options: run("upload", "--package", folder, "--hs", hs[0], *options)


@pytest.mark.usefixtures("checked")
def test_it_arrives(hs, send, manager, repository, tmp_path, monkeypatch):
    """What the repository holds and serving.yaml says; an image is built from the same files."""
    before = sorted(repository.rglob("*"))
    result = send(repository)
    assert result.status == 0, result
    assert sorted(repository.rglob("*")) == before
    (sent,) = manager.uploads
    release = {2: "2.4.3", 3: "3.0.3"}[hs[1]]
    runtime = f"hydrosphere/serving-runtime-python-3.7:{release}"
    head = subprocess.check_output(["git", "-C", repository, "rev-parse", "HEAD"], text=True)
    monkeypatch.setenv("PATH", "")  # where a builder may be
    options = ("--package", repository, "--image", runtime, "--out", tmp_path / "out")
    assert run("image", *options).status == 0
    files = tmp_path / "out" / "image" / METRIC / "model" / "files"
    arrived = {os.path.normpath(name): content for name, content in sent["files"].items()}
    assert len(arrived) == 11
    assert read_files(files) == arrived
    assert all(mode & 0o444 == 0o444 for mode in sent["modes"].values())
    metadata, contract = sent["metadata"], Contract.read(repository)
    assert metadata["name"] == contract.name
    assert metadata["installCommand"] == contract.install_command
    assert "{name}:{tag}".format_map(metadata["runtime"]) == runtime
    signature = (metadata.get("contract") or {"predict": metadata["modelSignature"]})["predict"]
    assert signature["signatureName"] == contract.function
    fields = [*contract.inputs, *contract.outputs]
    assert read_signature({"modelSignature": signature}) == (fields, [])
    assert metadata["metadata"]["git.branch.head.sha"] == head.strip()
    described = describe_artifact(repository, load(repository / "monitoring_model.joblib"))
    assert described.items() <= metadata["metadata"].items()


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
