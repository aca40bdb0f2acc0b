"""What the platform builds a version's image from, written and built on this machine."""

import shlex
import shutil
import subprocess
from pathlib import Path

from hydro_serving_grpc.serving.contract.types_pb2 import DataProfileType

from knn_metric.cli import UserError, last_line
from knn_metric.contract import Contract, Field
from knn_metric.files import make_readable, replacing_folder, shorten
from knn_metric.package.payload import Payload
from knn_metric.platform.hs import run_aloud
from knn_metric.platform.releases import PORTS, generation_of_image
from knn_metric.platform.server import TO_TENSOR

BUILDERS = ("docker", "podman")
VERSION = "local"  # where the platform has the version's number


def write_context(folder: Path, contract: Contract, context: Path) -> None:
    """Write what the manager hands to the builder, readable for the image's own user."""
    if context.exists() and not (context / "model" / "contract.protobin").exists():
        raise UserError(f"{context} was not written by `knn-metric image`: move it away")
    with replacing_folder(context) as new:
        model = new / "model"
        flat = generation_of_image(contract.runtime) == 2
        Payload(folder, contract.payload).copy(model / "files", flat)
        (model / "contract.protobin").write_bytes(serialize_contract(contract))
        (new / "Dockerfile").write_text(format_dockerfile(contract), encoding="utf-8")
        for path in new.rglob("*"):
            make_readable(path)


def serialize_contract(contract: Contract) -> bytes:
    """Return the contract as the manager writes it: 3.x's ModelSignature, 2.x's ModelContract.

    By hand, as the libraries of the two generations exclude each other.
    """
    generation = generation_of_image(contract.runtime)
    fields = [(2, field) for field in contract.inputs] + [(3, field) for field in contract.outputs]
    messages = ((number, _serialize_field(field, generation)) for number, field in fields)
    signature = _message((1, contract.function), *messages)
    return signature if generation == 3 else _message((1, "model"), (2, signature))


def _serialize_field(field: Field, generation: int) -> bytes:
    if generation == 3:
        place, shape = 5, [(1, b"".join(map(_varint, field.dims)))] if field.dims else []
    else:
        place, shape = 10, [(2, _message((1, size))) for size in field.dims]
    dtype, profile = TO_TENSOR[field.numpy_type][0], DataProfileType.Value(field.profile.upper())
    return _message((1, field.name), (2, _message(*shape)), (4, dtype), (place, profile))


def _message(*fields: tuple[int, int | str | bytes]) -> bytes:
    """Serialize a message of protobuf: numbers, which are left out if 0, texts and messages."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts += [_varint(number << 3), _varint(value)] if value else []
        else:
            content = value.encode() if isinstance(value, str) else value
            parts += [_varint(number << 3 | 2), _varint(len(content)), content]
    return b"".join(parts)


def _varint(number: int) -> bytes:
    """Serialize a number, seven bits a byte and the lowest first; a negative one has 64 bits."""
    number &= 2**64 - 1
    groups = [number >> shift & 127 for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(group | 128 for group in groups[:-1]), groups[-1]])


def format_dockerfile(contract: Contract) -> str:
    lines = [f"FROM {contract.runtime}", f"LABEL MODEL_NAME={contract.name}"]
    lines += [f"LABEL MODEL_VERSION={VERSION}", "ADD model /model", "WORKDIR /model/files"]
    if contract.install_command:
        lines.append(f"RUN {contract.install_command.strip()}")
    return "\n".join(lines)


def build_image(context: Path, contract: Contract) -> list[tuple[str, str]]:
    """Build the image where docker or podman works; return what is left to type, and what for."""
    tag = f"{contract.name}:{VERSION}"
    port = PORTS[generation_of_image(contract.runtime)]
    # The metric's and the watched model's containers run side by side.
    is_metric = [field.name for field in contract.outputs] == ["value"]
    host_port = port if is_metric else port + 1
    problems = {builder: _problem_of(builder) for builder in BUILDERS}
    program = next((builder for builder in BUILDERS if not problems[builder]), BUILDERS[0])
    build = [program, "build", "--tag", tag, shorten(context)]
    run = [program, "run", "--rm", "--publish", f"127.0.0.1:{host_port}:{port}", tag]
    left = [("to run", shlex.join(run))]
    if problems[program]:
        problem = f"no builder was found: {'; '.join(problems.values())}"
        return [("not built", problem), ("to build", shlex.join(build)), *left]
    status, said = run_aloud(build)
    if status:
        last = next((text.strip() for text in said[::-1] if text.strip()), "")
        raise UserError(f"`{shlex.join(build)}` failed (exit status {status}): {last}")
    return left


def _problem_of(builder: str) -> str:
    """Say why a builder cannot be used, or ''; docker may be there without its daemon."""
    if shutil.which(builder) is None:
        return f"{builder} is not on the path"
    result = subprocess.run([builder, "version"], capture_output=True, text=True, errors="replace")
    return f"{builder} does not work: {last_line(result)}" if result.returncode else ""
