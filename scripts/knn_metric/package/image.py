"""What the platform builds a version's image from, written and built on this machine."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from google.protobuf import any_pb2
from hydro_serving_grpc.serving.contract.field_pb2 import ModelField
from hydro_serving_grpc.serving.contract.signature_pb2 import ModelSignature
from hydro_serving_grpc.serving.contract.tensor_pb2 import TensorShape
from hydro_serving_grpc.serving.contract.types_pb2 import DataProfileType

from knn_metric.cli import UserError, last_line
from knn_metric.contract import Contract, Field
from knn_metric.files import make_readable, replacing_folder, shorten
from knn_metric.package.payload import copy_payload
from knn_metric.platform.releases import PORTS, generation_of_image
from knn_metric.platform.tensors import TO_TENSOR

BUILDERS = ("docker", "podman")
VERSION = "local"  # where the platform has the version's number


def write_context(folder: Path, contract: Contract, context: Path) -> None:
    """Write what the manager hands to the builder, readable for the image's own user.

    Parameters
    ----------
    folder : Path
        Of the package.
    contract : Contract
        With the runtime to build on.
    context : Path
        A folder that is not there, or one that was written before.

    Raises
    ------
    UserError
        If `context` is a folder of something else.
    """
    if context.exists() and not (context / "model" / "contract.protobin").exists():
        raise UserError(f"{context} was not written by `knn-metric image`: move it away")
    with replacing_folder(context) as new:
        model = new / "model"
        flat = generation_of_image(contract.runtime) == 2
        copy_payload(folder, contract.payload, model / "files", flat)
        (model / "contract.protobin").write_bytes(serialize_contract(contract))
        (new / "Dockerfile").write_text(format_dockerfile(contract), encoding="utf-8")
        for path in new.rglob("*"):
            make_readable(path)


def serialize_contract(contract: Contract) -> bytes:
    """Return the contract as the runtime reads it: 3.x's ModelSignature, or 2.x's ModelContract."""
    signature = ModelSignature(
        signature_name=contract.function,
        inputs=map(_describe_field, contract.inputs),
        outputs=map(_describe_field, contract.outputs),
    ).SerializeToString()
    if generation_of_image(contract.runtime) == 3:
        return signature
    # hydro-serving-grpc 3.x has no ModelContract. Any has the same fields on the wire: 1, a string,
    # the model's name, for which hs 2.x writes this; and 2, bytes, here the signature.
    return any_pb2.Any(type_url="model", value=signature).SerializeToString()


def _describe_field(field: Field) -> ModelField:
    dtype, _ = TO_TENSOR[field.numpy_type]
    profile = DataProfileType.Value(field.profile.upper())
    shape = TensorShape(dims=field.dims)
    return ModelField(name=field.name, shape=shape, dtype=dtype, profile=profile)


def format_dockerfile(contract: Contract) -> str:
    lines = [
        f"FROM {contract.runtime}",
        f"LABEL MODEL_NAME={contract.name}",
        f"LABEL MODEL_VERSION={VERSION}",
        "ADD model /model",
        "WORKDIR /model/files",
    ]
    if contract.install_command:
        lines.append(f"RUN {contract.install_command}")
    return "\n".join(lines)


def build_image(context: Path, contract: Contract) -> list[tuple[str, str]]:
    """Build the image where docker or podman works.

    Returns
    -------
    list of (str, str)
        What is left to type and what for: how to run the image, and before that how to build it
        where no builder works.

    Raises
    ------
    UserError
        If the build fails.
    """
    tag = f"{contract.name}:{VERSION}"
    port = PORTS[generation_of_image(contract.runtime) or 3]
    # The metric's and the watched model's containers run side by side.
    host_port = port if is_metric(contract) else port + 1
    problems = {builder: _problem_of(builder) for builder in BUILDERS}
    working = [builder for builder in BUILDERS if not problems[builder]]
    program = working[0] if working else BUILDERS[0]
    build = [program, "build", "--tag", tag, shorten(context)]
    run = [program, "run", "--rm", "--publish", f"127.0.0.1:{host_port}:{port}", tag]
    left = [("to run", shlex.join(run))]
    if working:
        _run_builder(build)
        return left
    problem = f"no builder was found: {'; '.join(problems.values())}"
    return [("not built", problem), ("to build", shlex.join(build)), *left]


def is_metric(contract: Contract) -> bool:
    """Tell whether a function returns the one value that a metric is."""
    return [field.name for field in contract.outputs] == ["value"]


def _problem_of(builder: str) -> str:
    """Say why a builder cannot be used, or ''; docker may be there without its daemon."""
    if shutil.which(builder) is None:
        return f"{builder} is not on the path"
    result = subprocess.run([builder, "version"], capture_output=True, text=True, errors="replace")
    return f"{builder} does not work: {last_line(result)}" if result.returncode else ""


def _run_builder(line: Sequence[str]) -> None:
    """Run a build and pass its output on; what it says last is why it failed."""
    last = ""
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for text in process.stdout or ():
            print(text, end="", flush=True)
            last = text.strip() or last
    if process.returncode:
        status = f"exit status {process.returncode}"
        raise UserError(f"`{shlex.join(line)}` failed ({status}): {last}")
