"""What the platform builds an image from, beside what real hs sends and runtimes read."""

import os
import shutil
import subprocess
from dataclasses import replace

import pytest
import yaml
from helpers import NORMAL, assert_one_line, make_home, run
from hydro_serving_grpc.serving.contract import types_pb2 as types
from hydro_serving_grpc.serving.contract.field_pb2 import ModelField
from hydro_serving_grpc.serving.contract.signature_pb2 import ModelSignature
from hydro_serving_grpc.serving.contract.tensor_pb2 import TensorShape

from knn_metric.contract import Contract, Field
from knn_metric.data.census import FEATURES, IS_CODE
from knn_metric.files import ROOT
from knn_metric.package import findings
from knn_metric.package.findings import Finding
from knn_metric.package.image import format_dockerfile, serialize_contract
from knn_metric.platform.server import load_module

RUNTIMES = {
    2: "hydrosphere/serving-runtime-python-3.7:2.4.3",
    3: "hydrosphere/serving-runtime-python-3.8.11:3.0.3",
}
# Fields of each kind of type, shape and profile, and their contract as 2.x's own library writes it.
FIELDS = (
    Field("age", "int64", (), "numerical"),
    Field("pixels", "uint8", (2,), "image"),
    Field("rows", "float", (-1, 3)),
    Field("plan", "string", (), "ordinal"),
)
VALUE = Field("value", "double", (), "continuous")
CONTRACT_2X = bytes.fromhex(
    "0a056d6f64656c12640a0770726564696374120b0a0361676512002009500212120a06706978656c73120412020802"
    "20045003121b0a04726f77731211120b08ffffffffffffffffff01120208032001120c0a04706c616e12002007500c"
    "1a0d0a0576616c7565120020025015"
)
# What hydro-serving-grpc 2.x, which hs 2.4.0 has installed, reads in a contract.
READ_2X = """\
import sys
from hydro_serving_grpc.contract import ModelContract
contract = ModelContract.FromString(open(sys.argv[1], "rb").read())
signature = contract.predict
print(contract.model_name, signature.signature_name)
for field in [*signature.inputs, *signature.outputs]:
    print(field.name, field.dtype, field.HasField("shape"), len(field.shape.dim))
"""


@pytest.fixture
def checked(monkeypatch):
    """Take the check as passed, which is tested by itself and takes seconds."""
    monkeypatch.setattr(findings, "inspect_package", lambda *_: [Finding("import")])


@pytest.fixture
def builder(monkeypatch, tmp_path):
    """Return a function that puts a builder on the path, which writes what it builds with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def install(name, script="", version="true"):
        lines = ["#!/bin/sh", f"if [ $1 = version ]; then {version}; exit; fi"]
        (folder / name).write_text("\n".join([*lines, 'echo "called with $@"', script]))
        (folder / name).chmod(0o755)

    return install


@pytest.fixture
def write(builder, package, tmp_path):
    """Return a function that writes the folder, where no builder is; the folder it returns."""

    def write(generation, folder=package, name="census_monitoring"):
        where = ("--out", tmp_path, "--image", RUNTIMES[generation])
        result = run("image", "--package", folder, *where)
        assert result.status == 0, result
        return tmp_path / "image" / name

    return write


def read_files(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.usefixtures("checked")
class TestFiles:
    def test_they_are_what_hs_sends(self, hs, manager, write, package, tmp_path):
        """With a folder and a file below others, which the generations pack differently."""
        hs, generation = hs
        ignore = shutil.ignore_patterns("__pycache__")  # hs would pack it
        folder = shutil.copytree(package, tmp_path / "package", ignore=ignore)
        shutil.copytree(
            ROOT / "examples" / "adult" / "src", folder / "more" / "below", ignore=ignore
        )
        shutil.copy(ROOT / "LICENSE", folder / "more")
        definition = yaml.safe_load((folder / "serving.yaml").read_text())
        definition["payload"] += ["more/LICENSE", "more/below/"]
        (folder / "serving.yaml").write_text(yaml.safe_dump(definition, sort_keys=False))
        written = write(generation, folder) / "model" / "files"
        environment = make_home(tmp_path, generation, manager.address)
        line = [hs, "upload"] if generation == 2 else [hs, "apply", "-f", "serving.yaml"]
        result = subprocess.run(line, cwd=folder, env=environment, capture_output=True)
        assert result.returncode == 0, result
        (sent,) = manager.uploads
        assert len(sent["files"]) == 11
        assert read_files(written) == {
            os.path.normpath(name): content for name, content in sent["files"].items()
        }

    def test_the_function_that_the_contract_names_is_there(self, write, func_main):
        model = write(3) / "model"
        name = ModelSignature.FromString((model / "contract.protobin").read_bytes()).signature_name
        assert getattr(load_module(model / "files"), name)(**NORMAL) == func_main.predict(**NORMAL)

    def test_another_user_can_read_them(self, write, package, tmp_path):
        """As the image's own user has to, whatever this machine's user grants to others."""
        folder = shutil.copytree(package, tmp_path / "package")
        (folder / "requirements.txt").chmod(0o600)
        before = os.umask(0o077)
        try:
            context = write(3, folder)
        finally:
            os.umask(before)
        for path in (context / "model", *context.rglob("*")):
            wanted = 0o755 if path.is_dir() else 0o444
            assert path.stat().st_mode & wanted == wanted


@pytest.mark.usefixtures("checked")
class TestContract:
    def test_3x_is_the_signature(self, write):
        content = (write(3) / "model" / "contract.protobin").read_bytes()
        signature = ModelSignature.FromString(content)
        assert signature.signature_name == "predict"
        assert [field.name for field in signature.inputs] == list(FEATURES)
        assert {field.dtype for field in signature.inputs} == {types.DT_INT64}
        assert [(f.name, f.dtype) for f in signature.outputs] == [("value", types.DT_DOUBLE)]
        codes = [field.profile == types.CATEGORICAL for field in signature.inputs]
        assert tuple(codes) == IS_CODE
        for field in (*signature.inputs, *signature.outputs):
            assert field.HasField("shape")
            assert list(field.shape.dims) == []

    def test_2x_is_read_by_its_own_library(self, hs, write):
        hs, generation = hs
        if generation == 3:
            pytest.skip("hs 3.x has no ModelContract")
        line = [hs.parent / "python", "-c", READ_2X, write(2) / "model" / "contract.protobin"]
        out = subprocess.run(line, capture_output=True, text=True, check=True).stdout
        fields = [f"{name} 9 True 0" for name in FEATURES]
        assert out.splitlines() == ["model predict", *fields, "value 2 True 0"]


def test_contracts_to_the_last_byte():
    """2.x's beside what its own library wrote, 3.x's beside what its library writes here."""
    contract = Contract("churn", RUNTIMES[2], (), None, None, "predict", FIELDS, (VALUE,))
    assert serialize_contract(contract) == CONTRACT_2X
    kinds = (types.DT_INT64, types.DT_UINT8, types.DT_FLOAT, types.DT_STRING, types.DT_DOUBLE)
    inputs = [
        ModelField(
            name=field.name,
            dtype=kind,
            shape=TensorShape(dims=field.dims),
            profile=types.DataProfileType.Value(field.profile.upper()),
        )
        for field, kind in zip((*FIELDS, VALUE), kinds, strict=True)
    ]
    outputs = [inputs.pop()]
    signature = ModelSignature(signature_name="predict", inputs=inputs, outputs=outputs)
    written = serialize_contract(replace(contract, runtime=RUNTIMES[3]))
    assert written == signature.SerializeToString()


@pytest.mark.parametrize("install", ["pip install -r requirements.txt", None])
def test_the_dockerfile(install):
    contract = Contract("adult", RUNTIMES[2], (), install, None, "predict", (), ())
    assert format_dockerfile(contract).splitlines() == [
        "FROM hydrosphere/serving-runtime-python-3.7:2.4.3",
        "LABEL MODEL_NAME=adult",
        "LABEL MODEL_VERSION=local",
        "ADD model /model",
        "WORKDIR /model/files",
        *([f"RUN {install}"] if install else []),
    ]


class TestCommand:
    @pytest.fixture
    def make(self, package, tmp_path):
        """Return a function that runs the command."""

        def make(*options, folder=package):
            return run("image", "--package", folder, "--out", tmp_path, *options)

        return make

    @pytest.fixture
    def context(self, tmp_path):
        return tmp_path / "image" / "census_monitoring"

    def test_the_check_comes_first(self, make, adult_package, tmp_path):
        result = make(folder=adult_package)
        refusal = "knn-metric image: nothing was written: the check found problems\n"
        assert (result.status, result.err) == (1, refusal)
        assert "FAIL  training data  the synthetic sample" in result.out
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.usefixtures("builder")
    def test_the_target(self, make, adult_package, tmp_path):
        result = make("--allow-sample", folder=adult_package)
        assert (result.status, result.err) == (0, "")
        assert sorted(read_files(tmp_path / "image" / "adult")) == [
            "Dockerfile",
            "model/contract.protobin",
            "model/files/classifier.json",
            "model/files/requirements.txt",
            "model/files/src/func_main.py",
        ]

    @pytest.mark.parametrize(("generation", "port"), [(2, 9090), (3, 9091)])
    @pytest.mark.usefixtures("checked")
    def test_no_builder_and_each(self, make, builder, context, generation, port):
        built = f"build --tag census_monitoring:local {context}"
        ran = f"run --rm --publish 127.0.0.1:{port}:{port} census_monitoring:local"
        result = make("--image", RUNTIMES[generation])
        assert (result.status, result.err) == (0, "")
        assert result.out.splitlines()[-4:] == [
            f"written    {context}",
            "not built  no builder was found: docker is not on the path; podman is not on the path",
            f"to build   docker {built}",
            f"to run     docker {ran}",
        ]
        for name in ("podman", "docker"):  # docker comes first where both are
            builder(name, f"test -f {context}/Dockerfile")
            result = make("--image", RUNTIMES[generation])
            assert (result.status, result.err) == (0, "")
            assert result.out.splitlines()[-2:] == [f"called with {built}", f"to run  {name} {ran}"]

    @pytest.mark.usefixtures("checked")
    def test_a_builder_that_does_not_work(self, make, builder):
        """As docker without its daemon: the other one is used, or both lines are printed."""
        builder("docker", version="echo 'is the daemon running?' >&2; exit 1")
        result = make("--image", RUNTIMES[3])
        assert (result.status, result.err) == (0, "")
        assert "docker does not work: is the daemon running?; podman is not" in result.out
        builder("podman")
        assert "\ncalled with build" in make("--image", RUNTIMES[3]).out

    @pytest.mark.usefixtures("checked")
    def test_a_build_that_fails(self, make, builder, context):
        builder("docker", "echo 'no daemon' >&2; echo; exit 7")
        line = f"`docker build --tag census_monitoring:local {context}` failed (exit status 7)"
        assert_one_line(make(), f"{line}: no daemon")
        assert (context / "model" / "contract.protobin").exists()


@pytest.mark.usefixtures("checked")
class TestReplacing:
    def test_it_is_replaced_whole(self, write):
        before = read_files(write(3))
        context = write(3)
        (context / "model" / "files" / "src" / "old.py").touch()
        (context / "old").touch()
        beside = context.parent / "other"
        beside.mkdir()
        assert read_files(write(3)) == before
        assert sorted(context.parent.iterdir()) == [context, beside]

    def test_a_folder_of_someone_else_stays(self, package, tmp_path):
        other = tmp_path / "image" / "census_monitoring" / "notes"
        other.mkdir(parents=True)
        result = run("image", "--package", package, "--out", tmp_path)
        assert_one_line(
            result, f"{other.parent} was not written by `knn-metric image`: move it away"
        )
        assert other.exists()
