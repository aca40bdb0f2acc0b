"""Write what the platform builds a version's image from, and build it with docker or podman.

examples:
  image.py                     this package, in the runtime that serving.yaml names
  image.py --runtime hydrosphere/serving-runtime-python-3.7:3.0.3
  image.py --model examples/adult --allow-sample

Writing needs neither of the two, nor root or the network; where neither works, the commands are
printed. Building fetches the runtime and what install-command installs. A build that fails ends
with status 2 and the builder's last line; the folder stays, and can be built on another machine.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lib import command
from lib.inspection import inspect, require_passed
from lib.package import copy_payload, generation_of
from lib.platform import PORTS
from lib.runtime import TO_TENSOR, dims_of, read_definition

from google.protobuf import any_pb2
from hydro_serving_grpc.serving.contract.field_pb2 import ModelField
from hydro_serving_grpc.serving.contract.signature_pb2 import ModelSignature
from hydro_serving_grpc.serving.contract.tensor_pb2 import TensorShape

BUILDERS = ("docker", "podman")
VERSION = "local"  # where the platform has the version's number


@command.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = command.make_parser(__file__, __doc__)
    option = parser.add_argument
    option("--model", type=Path, default=command.ROOT, help="default: this package")
    option("--runtime", help="image (default: serving.yaml's)")
    option("--allow-sample", action="store_true", help="accept a model trained on the sample")
    option("--reports", type=Path, default=command.REPORTS, help="where image/NAME/ is written")
    arguments = parser.parse_args(argv)
    findings = inspect(arguments.model, arguments.runtime, None, arguments.allow_sample)
    require_passed(findings, "nothing was written")
    definition = read_definition(arguments.model)
    definition["runtime"] = arguments.runtime or definition["runtime"]
    context = arguments.reports / "image" / definition["name"]
    with replacing_context(context) as new:
        write_context(arguments.model, definition, new)
    print(f"{'written':<12}{command.shorten(context)}", flush=True)
    build_or_tell(
        context, f"{definition['name']}:{VERSION}", PORTS[generation_of(definition["runtime"])]
    )


@contextmanager
def replacing_context(path: Path) -> Iterator[Path]:
    """Yield a new folder; it takes the place of an earlier one once it is whole, or never."""
    if path.exists() and not (path / "model" / "contract.protobin").exists():
        raise command.UserError(f"{path} was not written by image.py: move it away")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tmp-") as beside:
        new, old = Path(beside, "new"), Path(beside, "old")
        new.mkdir()
        yield new
        if path.exists():
            path.rename(old)
        new.rename(path)


def write_context(folder: Path, definition: dict, context: Path) -> None:
    """Write what the manager hands to the builder, readable for the image's own user."""
    model = context / "model"
    copy_payload(
        folder,
        definition["payload"],
        model / "files",
        flat=generation_of(definition["runtime"]) == 2,
    )
    (model / "contract.protobin").write_bytes(serialize_contract(definition))
    (context / "Dockerfile").write_text(format_dockerfile(definition), encoding="utf-8")
    for path in context.rglob("*"):
        command.make_readable(path)


def serialize_contract(definition: dict) -> bytes:
    """Return the contract as the runtime reads it: 3.x's ModelSignature, or 2.x's ModelContract."""
    contract = definition["contract"]
    signature = ModelSignature(
        signature_name=contract["name"],
        inputs=list_fields(contract["inputs"]),
        outputs=list_fields(contract["outputs"]),
    ).SerializeToString()
    if generation_of(definition["runtime"]) == 3:
        return signature
    # hydro-serving-grpc 3.x has no ModelContract. Any has the same fields on the wire: 1, a string,
    # here the model's name, and 2, bytes, here the signature, in which 2.x would write only dims
    # otherwise; no runtime reads them.
    return any_pb2.Any(type_url=definition["name"], value=signature).SerializeToString()


def list_fields(fields: dict[str, dict]) -> list[ModelField]:
    return [
        ModelField(
            name=name,
            shape=TensorShape(dims=dims_of(field)),
            dtype=TO_TENSOR[field["numpy_type"]][0],
        )
        for name, field in fields.items()
    ]


def format_dockerfile(definition: dict) -> str:
    lines = [
        f"FROM {definition['runtime']}",
        f"LABEL MODEL_NAME={definition['name']}",
        f"LABEL MODEL_VERSION={VERSION}",
        "ADD model /model",
        "WORKDIR /model/files",
    ]
    if definition.get("install-command"):
        lines.append(f"RUN {definition['install-command']}")
    return "\n".join(lines)


def build_or_tell(context: Path, tag: str, port: int) -> None:
    """Build the image and print how to run it, or print how to do both where a builder is."""
    problems = {builder: problem_of(builder) for builder in BUILDERS}
    builder = next((builder for builder in BUILDERS if not problems[builder]), None)
    program = builder or BUILDERS[0]
    build = [program, "build", "--tag", tag, command.shorten(context)]
    run = [program, "run", "--rm", "--publish", f"127.0.0.1:{port}:{port}", tag]
    if builder:
        run_builder(build)
    else:
        print(f"no builder was found: {'; '.join(problems.values())}")
        print(f"{'to build':<12}{shlex.join(build)}")
    print(f"{'to run':<12}{shlex.join(run)}")


def problem_of(builder: str) -> str:
    """Say why a builder cannot be used, or ''; docker may be there without its daemon."""
    if shutil.which(builder) is None:
        return f"{builder} is not on the path"
    result = subprocess.run([builder, "version"], capture_output=True, text=True, errors="replace")
    if result.returncode == 0:
        return ""
    return f"{builder} does not work: {command.last_line(result)}"


def run_builder(line: Sequence[str]) -> None:
    """Run a build and pass its output on; what it says last is why it failed.

    Raises
    ------
    UserError
        If it fails.
    """
    last = ""
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for text in process.stdout:
            print(text, end="", flush=True)
            last = text.strip() or last
    if process.returncode:
        status = f"exit status {process.returncode}"
        raise command.UserError(f"`{shlex.join(line)}` failed ({status}): {last}")


if __name__ == "__main__":
    sys.exit(main())
