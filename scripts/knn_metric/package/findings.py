"""What is known to go wrong after a package's upload, by the aspect of it that is looked at."""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from knn_metric.cli import complain, last_line, show
from knn_metric.contract import YAML_NAMES, Contract, lost_by_sonar
from knn_metric.files import read_text
from knn_metric.package.payload import Payload, problems_of_payload
from knn_metric.platform import releases
from knn_metric.platform.server import TO_TENSOR
from knn_metric.tables import format_table

PROBE = Path(__file__).with_name("probe.py")
NAME = re.compile(r"[a-z0-9_-]+")  # what the manager takes
FEWEST_ABOVE = 20  # training rows that a threshold needs above it, to be off by a fifth or so
UNKNOWN = "not known, because the function cannot be imported"


def check_package(
    folder: Path, image: str | None, platform: int | None, allow_sample: bool, refusal: str = ""
) -> Contract | None:
    """Print what is found of each aspect; return the contract, None if something is a problem."""
    contract = Contract.read(folder, image)
    found = inspect_package(folder, contract, platform, allow_sample)
    rows = [
        ["FAIL" if problem else "ok", aspect, show(problem)]
        for aspect, problems in found.items()
        for problem in problems or [""]
    ]
    print(format_table(rows, "<<<"), flush=True)
    if not any(found.values()):
        return contract
    if refusal:
        complain(f"{refusal}: the check found problems")
    return None


def inspect_package(
    folder: Path, contract: Contract, platform: int | None, allow_sample: bool
) -> dict[str, list[str]]:
    """Say of each aspect of a package what would go wrong after its upload to 2.x, 3.x or any."""
    listed = folder / "requirements.txt"
    lines = read_text(listed).splitlines() if listed.exists() else []
    requirements = [text for line in lines if (text := line.split("#")[0].strip())]
    found, failure = probe_payload(folder, contract)
    problems = {
        "name": problems_of_name(contract.name),
        "runtime": problems_of_runtime(contract.runtime, platform),
        "payload": problems_of_payload(folder, contract, platform),
        "install": problems_of_install(contract, requirements),
        "requirements": problems_of_requirements(requirements, contract.runtime),
        "import": [failure] if failure else [],
        "contract": problems_of_contract(contract, found),
        "training data": problems_of_training(found, allow_sample),
    }
    return {aspect: list(of_aspect) for aspect, of_aspect in problems.items()}


def probe_payload(folder: Path, contract: Contract) -> tuple[dict[str, Any], str]:
    """Return what `probe.py` finds in the payload alone, or nothing and why it has no function."""
    kinds = {field.name: field.numpy_type for field in contract.inputs}
    inputs = {name: (np.dtype(kind).name, *TO_TENSOR[kind]) for name, kind in kinds.items()}
    how = "messages" if releases.gives_messages(contract.runtime) else "numbers"
    with tempfile.TemporaryDirectory() as alone:
        flat = releases.generation_of_image(contract.runtime) == 2
        Payload(folder, contract.payload).copy(Path(alone), flat)
        line = [sys.executable, "-I", "-B", str(PROBE), contract.function, json.dumps(inputs), how]
        result = subprocess.run(line, cwd=alone, capture_output=True, text=True, errors="replace")
    if result.returncode:
        return {}, last_line(result).replace(f"{alone}/", "")
    try:
        return json.loads(result.stdout.splitlines()[-1]), ""  # the function may print on import
    except (IndexError, ValueError):
        return {}, "func_main ended the process on import"


def problems_of_name(name: str) -> Iterator[str]:
    if not NAME.fullmatch(name):
        yield f"{name!r} has more in it than the letters a to z, digits, - and _"


def problems_of_runtime(runtime: str, platform: int | None) -> Iterator[str]:
    python, release = releases.parse_image(runtime)
    if not python:
        yield f"{runtime} is not hydrosphere/serving-runtime-python-<X.Y>:<release>"
        return
    pythons = next((own for low, high, own in releases.RELEASES if low <= release <= high), ())
    if python not in pythons:
        names = f"Python {', '.join(pythons)}" if pythons else "none from 2.1.0 to 3.0.3"
        named = ".".join(map(str, release))
        yield f"no image {runtime} to use: of release {named} there is {names}"
    if platform not in (None, release[0]):
        yield f"{runtime} is of another generation than the {platform}.x platform"


def problems_of_install(contract: Contract, requirements: list[str]) -> Iterator[str]:
    command = contract.install_command or ""
    if not command.strip().isprintable():
        yield "install-command has a line break or another control character"
    if requirements and "requirements.txt" not in command:
        yield "install-command does not install requirements.txt, which the function needs"
    if requirements and "requirements.txt" not in contract.payload:
        yield "the payload has no requirements.txt, which install-command needs"


def problems_of_requirements(requirements: list[str], runtime: str) -> Iterator[str]:
    """Hold what a package installs against what its image has."""
    python, own = releases.parse_image(runtime)[0], releases.IMAGE_NUMPY
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            yield f"{text!r} is not a requirement that can be checked"
            continue
        name, specifier = canonicalize_name(requirement.name), str(requirement.specifier)
        if name in releases.IMAGE_OWNS:
            yield f"{name} is the image's own and must stay as it is"
        pin = re.fullmatch(r"==([\w.*+!]+)", specifier)
        last = releases.LAST_BESIDE_NUMPY.get(name, {}).get(python)
        if not pin:
            yield f"{requirement.name} is not pinned: expected ==VERSION, got {specifier}"
        elif requirement.marker and not requirement.marker.evaluate({"python_version": python}):
            continue
        elif python and name == "numpy" and pin[1] != own:
            yield f"numpy {pin[1]} replaces the image's own: expected {own}"
        elif last and Version(pin[1].rstrip(".*")) > Version(last):
            beside = f"numpy {own} on Python {python}"
            yield f"{name} {pin[1]} breaks the image: {last} is the last beside {beside}"


def problems_of_contract(contract: Contract, found: dict[str, Any]) -> Iterator[str]:
    yield from lost_by_sonar(field.name for field in (*contract.inputs, *contract.outputs))
    if not contract.inputs:
        yield "there are no inputs"
    for field in contract.inputs:
        if not field.is_number and "trained" in found:
            yield f"input {field.name} is {field.shape} {field.type}, expected a scalar number"
    if not found:
        yield UNKNOWN
        return
    inputs = list(contract.input_names)
    if inputs == found["features"]:
        yield from _problems_of_types(contract, found.get("trained", {}))
    elif "trained" in found:
        yield f"the artifact {contract.find_other_fields(found['features'])}"
    else:
        yield f"inputs are {', '.join(inputs)}, expected {', '.join(found['features'])}"
    if not found["function"]:
        yield f"func_main has no function {contract.function}"
    elif "failure" in found:
        yield f"{contract.function} fails on the contract's inputs: {found['failure']}"
    else:
        yield from _problems_of_outputs(contract, found["outputs"])


def _problems_of_types(contract: Contract, trained: dict[str, Any]) -> Iterator[str]:
    """Say which numbers that the artifact was trained on the contract's types would cut."""
    for field in contract.inputs:
        kind = np.dtype(field.numpy_type)
        if field.name not in trained or kind.kind not in "biu":
            continue
        low, high, is_whole = trained[field.name]
        least, most = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
        if not is_whole or low < least or high > most:
            numbers = f"{low:.15g} to {high:.15g}" if is_whole else "fractions"
            yield f"input {field.name} is {field.type}, and the artifact was trained on {numbers}"


def _problems_of_outputs(contract: Contract, found: dict[str, tuple[str, int]]) -> Iterator[str]:
    names = [field.name for field in contract.outputs]
    if set(names) != found.keys():
        yield f"outputs are {', '.join(names)}, got {', '.join(found)}"
        return
    for field in contract.outputs:
        dtype, dimensions = found[field.name]
        named = YAML_NAMES.get(dtype, dtype)
        if np.dtype(field.numpy_type).name != dtype:
            yield f"output {field.name} is {field.type}, but the function returns {named}"
        if len(field.dims) != dimensions:
            yield f"output {field.name} is {field.shape}, but has {dimensions} dimensions"


def problems_of_training(found: dict[str, Any], allow_sample: bool) -> Iterator[str]:
    if not found:
        yield UNKNOWN
    elif not allow_sample:
        if found["source"] == "sample":
            yield "the synthetic sample: `knn-metric train`, or --allow-sample for a trial"
        above = found["n_above"]
        if above is not None and above < FEWEST_ABOVE:
            what = f"{above} rows above the threshold, {FEWEST_ABOVE} or more make one to rely on"
            yield f"{what}: more rows, or --allow-sample for a trial"
