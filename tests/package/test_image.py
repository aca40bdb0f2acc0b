"""What the platform builds an image from, beside what real hs sends and runtimes read."""

import os

import pytest
from helpers import assert_one_line, read_files, run

from knn_metric.contract import Contract, Field
from knn_metric.package.image import format_dockerfile, serialize_contract

RUNTIMES = {
    2: "hydrosphere/serving-runtime-python-3.7:2.4.3",
    3: "hydrosphere/serving-runtime-python-3.8.11:3.0.3",
}
# Fields of each kind of type, shape and profile, and their contracts as each library writes them.
FIELDS = (
    Field("age", "int64", (), "numerical"),
    Field("pixels", "uint8", (2,), "image"),
    Field("rows", "float", (-1, 3)),
    Field("plan", "string", (), "ordinal"),
)
VALUE = Field("value", "double", (), "continuous")
CONTRACTS = {
    2: bytes.fromhex(
        "0a056d6f64656c12640a0770726564696374120b0a0361676512002009500212120a06706978656c7312"
        "041202080220045003121b0a04726f77731211120b08ffffffffffffffffff01120208032001120c0a04"
        "706c616e12002007500c1a0d0a0576616c7565120020025015"
    ),
    3: bytes.fromhex(
        "0a0770726564696374120b0a0361676512002009280212110a06706978656c7312030a01022004280312"
        "170a04726f7773120d0a0bffffffffffffffffff01032001120c0a04706c616e12002007280c1a0d0a05"
        "76616c7565120020022815"
    ),
}


@pytest.fixture
def builder(monkeypatch, tmp_path):
    """Return a function that puts a builder on the path, where none is, as a script of its own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def install(name, script="", version="true"):
        lines = ["#!/bin/sh", f"if [ $1 = version ]; then {version}; exit; fi"]
        (folder / name).write_text("\n".join([*lines, 'echo "called with $@"', script]))
        (folder / name).chmod(0o755)

    return install


@pytest.fixture
def make(builder, package, tmp_path):
    """Return a function that runs the command where no builder is."""
    where = ("--out", tmp_path / "out")
    return lambda *options, folder=package: run("image", "--package", folder, *where, *options)


class TestImage:
    @pytest.fixture
    def context(self, tmp_path):
        return tmp_path / "out" / "image" / "census_monitoring"

    def test_the_check_comes_first(self, make, adult_package, tmp_path):
        result = make(folder=adult_package)
        refusal = "knn-metric image: nothing was written: the check found problems\n"
        assert (result.status, result.err) == (1, refusal)
        assert "FAIL  training data  the synthetic sample" in result.out
        assert not (tmp_path / "out").exists()

    def test_the_target(self, make, light_package, tmp_path):
        """Files that the image's own user can read, whatever this machine's grants to others."""
        (light_package / "requirements.txt").chmod(0o600)
        before = os.umask(0o077)
        try:
            result = make("--allow-sample", folder=light_package)
        finally:
            os.umask(before)
        assert (result.status, result.err) == (0, "")
        context = tmp_path / "out" / "image" / "adult"
        for path in context.rglob("*"):
            wanted = 0o755 if path.is_dir() else 0o444
            assert path.stat().st_mode & wanted == wanted
        files = read_files(context)
        contract = files.pop("model/contract.protobin")
        assert contract == serialize_contract(Contract.read(light_package))
        names = "classifier.json", "requirements.txt", "src/func_main.py"
        assert files.keys() == {"Dockerfile", *(f"model/files/{name}" for name in names)}

    @pytest.mark.parametrize(("generation", "port"), [(2, 9090), (3, 9091)])
    def test_no_builder_and_each(self, make, builder, context, generation, port, checked):
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

    def test_what_fails(self, make, builder, context, checked):
        """As docker without its daemon: the other one is used, or both lines are printed."""
        context.mkdir(parents=True)
        assert_one_line(make(), f"{context} was not written by `knn-metric image`: move it away")
        assert not any(context.iterdir())
        context.rmdir()
        builder("docker", version="echo 'is the daemon running?' >&2; exit 1")
        assert "docker does not work: is the daemon running?; podman is not" in make().out
        builder("podman")
        assert "\ncalled with build" in make().out
        builder("docker", "echo 'no daemon' >&2; echo; exit 7")
        line = f"`docker build --tag census_monitoring:local {context}` failed (exit status 7)"
        assert_one_line(make(), f"{line}: no daemon")


@pytest.mark.parametrize("generation", [2, 3])
def test_contracts_to_the_last_byte(generation):
    runtime = RUNTIMES[generation]
    contract = Contract("churn", runtime, (), None, None, "predict", FIELDS, (VALUE,))
    assert serialize_contract(contract) == CONTRACTS[generation]


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
