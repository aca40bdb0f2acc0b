"""What the README tells its reader to type, and what it says comes of it."""

import re
import shlex
import subprocess

import grpc
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from helpers import UNIT, load_script, run, served_package

from monitoring.files import ROOT
from monitoring.hydrosphere.server import PREDICT, load_module

README = (ROOT / "README.md").read_text()
ADDRESS = "127.0.0.1:9090"


def block(start):
    """Return the code of the README's block that begins so."""
    (text,) = re.findall(rf"```\w*\n({re.escape(start)}.*?)```", README, re.DOTALL)
    return text


@pytest.fixture
def served(package, monkeypatch):
    monkeypatch.chdir(ROOT)
    with served_package(package) as address:
        yield address


@pytest.fixture
def expected(func_main):
    codes = (45, 4, 1, 0, 8, 0, 4, 1, 2, 2, 50, 9, 1)
    return func_main.predict(**dict(zip(func_main.features, codes, strict=True)))["value"]


def test_scoring_in_process(uci_package):
    """The published figure, with the detector trained on UCI's data."""
    program = block(".venv/bin/python - <<'END'").split("<<'END'\n")[1].split("\nEND")[0]
    call = program.replace('sys.path.insert(0, "src")\nimport func_main', "").splitlines()
    names = {"func_main": load_module(uci_package[0])}
    printed = []
    exec("\n".join(call), {**names, "print": printed.append})
    (said,) = re.findall(r"prints `\{'value': (\S+)\}`", README)
    assert printed == [{"value": pytest.approx(float(said), rel=UNIT, abs=0)}]


def test_the_python_client(served, expected, capsys):
    exec(block("import grpc").replace(ADDRESS, served), {})
    assert float(capsys.readouterr().out) == expected


def test_the_grpcurl_line(served, expected):
    """What grpcurl does: ask the server what the method takes, and send the JSON as that."""
    line = block("grpcurl").split()
    assert [*line[:5], line[6]] == ["grpcurl", "-plaintext", "-d", "@", ADDRESS, "<"]
    method, path = line[5], line[7]
    assert f"/{method}" == PREDICT
    with grpc.insecure_channel(served) as channel:
        pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        described = pool.FindMethodByName(method.replace("/", "."))
        kinds = [
            message_factory.MessageFactory(pool).GetPrototype(kind)
            for kind in (described.input_type, described.output_type)
        ]
        request = json_format.Parse((ROOT / path).read_text(), kinds[0]())
        call = channel.unary_unary(PREDICT, kinds[0].SerializeToString, kinds[1].FromString)
        assert list(call(request).outputs["value"].double_val) == [expected]


def test_every_command_line_exists():
    """The README's indented `make` lines name targets, whose scripts take their variables."""
    for line in re.findall(r"^    make (.*)$", README, re.MULTILINE):
        target, *variables = shlex.split(line)
        names = [variable.partition("=")[0] for variable in variables]
        dry = ["make", "--dry-run", target]
        recipe = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        script = "scripts" + re.search(r"scripts\}?(/\w+\.py)", recipe)[1]
        described = run(load_script(ROOT / script).main, "--help").out
        for name in set(names) - {"MODEL"}:
            assert re.search(rf"--{name.lower().replace('_', '-')}\b|\b{name}\b", described), line


def test_every_picture_is_there():
    for path in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / path).read_bytes().startswith(b"\x89PNG")
