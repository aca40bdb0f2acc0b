"""Uploads with the real hs command lines of both generations, against a stub manager."""

import shutil
import subprocess

import joblib
import pytest
import yaml
from helpers import NORMAL, assert_one_line, make_home, run

from knn_metric.cli import UserError
from knn_metric.contract import Contract
from knn_metric.data.census import FEATURES
from knn_metric.files import ROOT
from knn_metric.package import findings
from knn_metric.package.findings import Finding
from knn_metric.package.payload import staging
from knn_metric.platform import hs as hs_module
from knn_metric.platform.hs import selected_cluster
from knn_metric.platform.manager import describe_artifact
from knn_metric.platform.server import load_function

pytestmark = pytest.mark.slow


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
    modules = "__init__.py artifact.py detector.py index.py messages.py py.typed".split()
    assert sorted(files) == [*names, *(f"src/portable_knn/{module}" for module in modules)]
    for name, content in files.items():
        assert content == (repository / name).read_bytes()
    assert all(mode & 0o444 == 0o444 for mode in upload["modes"].values())
    metadata = upload["metadata"]
    assert metadata["name"] == model["name"]
    assert metadata["installCommand"] == model["install-command"]
    assert f"{metadata['runtime']['name']}:{metadata['runtime']['tag']}" == runtime
    signature = read_signature(metadata)
    assert signature == model["contract"]
    assert list(signature["inputs"]) == list(FEATURES)
    head = subprocess.run(
        ["git", "-C", repository, "rev-parse", "HEAD"], capture_output=True, text=True
    )
    assert metadata["metadata"]["git.branch.head.sha"] == head.stdout.strip()


RUNTIMES = {
    2: "hydrosphere/serving-runtime-python-3.7:2.4.3",
    3: "hydrosphere/serving-runtime-python-3.7:3.0.3",
}


class TestUpload:
    @pytest.fixture
    def send(self, hs, manager, tmp_path, monkeypatch):
        """Return a function that uploads a folder with either hs to the stub manager."""
        monkeypatch.setenv("HOME", make_home(tmp_path, hs[1], manager.address)["HOME"])

        def send(folder, *options):
            return run("upload", "--package", folder, "--hs", hs[0], *options)

        return send

    @pytest.fixture
    def checked(self, monkeypatch):
        """Take the check as passed, which is tested by itself and takes seconds."""
        monkeypatch.setattr(findings, "inspect_package", lambda *_: [Finding("import")])

    @pytest.mark.usefixtures("checked")
    def test_it_arrives_and_serves(self, hs, send, manager, repository, tmp_path, func_main):
        before = sorted(repository.rglob("*"))
        result = send(repository)
        assert result.status == 0, result
        assert sorted(repository.rglob("*")) == before
        (sent,) = manager.uploads
        assert_arrived(sent, repository, RUNTIMES[hs[1]])
        artifact = repository / "monitoring_model.joblib"
        described = describe_artifact(artifact, joblib.load(artifact))
        assert described.items() <= sent["metadata"]["metadata"].items()
        files = tmp_path / "model" / "files"
        for name, content in sent["files"].items():
            path = files / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        shutil.copy(repository / "serving.yaml", files)
        assert load_function(files)(**NORMAL) == func_main.predict(**NORMAL)

    def test_the_target_uploads_too(self, send, manager, adult_package, tmp_path):
        folder = shutil.copytree(adult_package, tmp_path / "adult")
        assert send(folder).status == 1
        assert manager.uploads == []
        result = send(folder, "--allow-sample")
        assert result.status == 0, result
        (sent,) = manager.uploads
        assert sent["metadata"]["name"] == "adult"
        files = sorted(name.replace("//", "/") for name in sent["files"])
        assert files == ["classifier.json", "requirements.txt", "src/func_main.py"]
        (training_data,) = manager.training_data.values()
        assert training_data == (adult_package / "training_data.csv").read_bytes()

    def test_plain_hs(self, hs, manager, repository, tmp_path):
        hs, generation = hs
        environment = make_home(tmp_path, generation, manager.address)
        shutil.rmtree(repository / "src" / "__pycache__")
        line = [hs, "upload"] if generation == 2 else [hs, "apply", "-f", "serving.yaml"]
        result = subprocess.run(line, cwd=repository, env=environment, capture_output=True)
        assert result.returncode == 0, result
        assert_arrived(manager.uploads[0], repository, RUNTIMES[2])

    @pytest.mark.usefixtures("checked")
    def test_a_failure_is_told(self, send, manager, repository):
        manager.failing["POST"] = 500
        result = send(repository)
        assert result.status == 2
        assert "failed (exit status" in result.err.splitlines()[-1]

    @pytest.mark.usefixtures("checked")
    def test_a_cluster_that_is_not_there(self, hs, send, repository, tmp_path, monkeypatch):
        """One line, and not the traceback of hs 3.x."""
        shutil.rmtree(tmp_path / "home")
        environment = make_home(tmp_path, hs[1], "http://127.0.0.1:1")
        monkeypatch.setenv("HOME", environment["HOME"])
        assert_one_line(send(repository), "GET http://127.0.0.1:1/api/v2/model/version: Connection")

    def test_no_cluster(self, hs, send, repository, tmp_path):
        shutil.rmtree(tmp_path / "home")
        words = {2: "write it to ~/.hs-home/config.yaml", 3: "hs cluster add --name NAME"}
        assert_one_line(send(repository), "no cluster is selected", words[hs[1]])

    def test_a_deployment_configuration(self, hs, manager, tmp_path):
        hs, generation = hs
        if generation == 2:
            pytest.skip("DeploymentConfiguration is for 3.x platforms")
        environment = make_home(tmp_path, generation, manager.address)
        path = ROOT / "examples" / "deployment.yaml"
        line = [hs, "apply", "-f", path]
        result = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True)
        assert result.returncode == 0, result
        wanted = yaml.safe_load(path.read_text())
        (sent,) = manager.deployments
        assert sent["name"] == wanted["name"]
        assert sent["hpa"] == wanted["hpa"]
        assert sent["deployment"] == wanted["deployment"]
        assert sent["container"]["resources"] == wanted["container"]["resources"]


@pytest.mark.parametrize("data", ["s3://bucket/known.csv", "data/known.csv"])
def test_training_data_is_found_from_where_hs_runs(data, repository):
    with (repository / "serving.yaml").open("a") as file:
        file.write(f"training-data: {data}\n")
    with staging(repository, Contract.read(repository)) as folder:
        staged = yaml.safe_load((folder / "serving.yaml").read_text())
    expected = data if data.startswith("s3:") else str(repository / data)
    assert staged["training-data"] == expected


def test_no_hs(package):
    result = run("upload", "--package", package, "--hs", "no-such-hs")
    assert_one_line(result, "no-such-hs is not installed: on Python 3.8", "pip install 'hs==2.4.0'")


class TestCluster:
    @pytest.fixture
    def select(self, tmp_path, monkeypatch):
        """Return a function that lets an hs select an address."""

        def select(generation, address):
            monkeypatch.setenv("HOME", make_home(tmp_path, generation, address)["HOME"])
            return tmp_path / "home" / hs_module.CONFIGS[generation]

        return select

    @pytest.mark.parametrize("generation", [2, 3])
    def test_it_is_read_from_either_configuration(self, generation, select):
        select(generation, "http://one.example")
        assert selected_cluster() == selected_cluster(generation) == "http://one.example"

    def test_two_different_ones(self, select):
        select(2, "http://one.example")
        select(3, "http://two.example")
        words = r"http://one\.example and http://two\.example: say which with --cluster ADDRESS"
        with pytest.raises(UserError, match=words):
            selected_cluster()
        assert selected_cluster(2) == "http://one.example"

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "no cluster is selected"),
            ("clusters: []\ncurrent-cluster: null\n", "no cluster is selected"),
            ("[", r"config\.yaml cannot be read"),
        ],
    )
    def test_none_selected(self, text, words, select):
        select(2, "http://one.example").write_text(text)
        with pytest.raises(UserError, match=words):
            selected_cluster()
