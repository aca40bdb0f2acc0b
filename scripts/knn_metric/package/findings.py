"""What is known to go wrong after a package's upload: findings, a look at each aspect of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from packaging.version import Version

from knn_metric.cli import clean, complain, last_line
from knn_metric.contract import Contract, lost_by_sonar
from knn_metric.package import requirements as pins
from knn_metric.package.payload import Payload, problems_of_payload
from knn_metric.platform.releases import IMAGE, RELEASES, generation_of_image, gives_messages
from knn_metric.platform.tensors import TO_TENSOR
from knn_metric.tables import format_table

PROBE = Path(__file__).with_name("probe.py")
NAME = re.compile(r"[a-z0-9_-]+")  # what the manager takes
FEWEST_ABOVE = 20  # training rows that a threshold needs above it, to be off by a fifth or so


class Finding(NamedTuple):
    """What is found of an aspect of a package: a problem, or '' where there is none."""

    aspect: str
    problem: str = ""


def inspect_package(
    folder: Path, contract: Contract, platform: int | None, allow_sample: bool
) -> list[Finding]:
    """Say of each aspect of a package what would go wrong after its upload to 2.x, 3.x or any."""
    requirements = pins.read_requirements(folder)
    found, failure = probe_payload(folder, contract)
    problems = {
        "name": problems_of_name(contract.name),
        "runtime": problems_of_runtime(contract.runtime, platform),
        "payload": problems_of_payload(folder, contract, platform),
        "install": pins.problems_of_install(contract, requirements),
        "requirements": pins.problems_of_requirements(requirements, contract.runtime),
        "import": [failure] if failure else [],
        "contract": problems_of_contract(contract, found),
        "training data": problems_of_training(found, allow_sample),
    }
    return [
        Finding(aspect, problem)
        for aspect, of_aspect in problems.items()
        for problem in (list(of_aspect) or [""])
    ]


def passes(findings: Sequence[Finding], refusal: str = "") -> bool:
    """Print the findings, and say what follows if one of them is a problem."""
    rows = [["FAIL" if one.problem else "ok", one.aspect, clean(one.problem)] for one in findings]
    print(format_table(rows, "<<<"), flush=True)
    found = any(one.problem for one in findings)
    if found and refusal:
        complain(f"{refusal}: the check found problems")
    return not found


def probe_payload(folder: Path, contract: Contract) -> tuple[dict[str, Any], str]:
    """Return what `probe.py` finds in the payload alone, or nothing and why it has no function."""
    kinds = {field.name: field.numpy_type for field in contract.inputs}
    inputs = {name: (np.dtype(kind).name, *TO_TENSOR[kind]) for name, kind in kinds.items()}
    how = "messages" if gives_messages(contract.runtime) else "numbers"
    with tempfile.TemporaryDirectory() as alone:
        flat = generation_of_image(contract.runtime) == 2
        Payload(folder, contract.payload).copy(Path(alone), flat)
        line = [sys.executable, "-I", "-B", str(PROBE), contract.function, json.dumps(inputs), how]
        result = subprocess.run(line, cwd=alone, capture_output=True, text=True)
    if result.returncode:
        return {}, last_line(result).replace(f"{alone}/", "")
    return json.loads(result.stdout.splitlines()[-1]), ""  # the function may print on import


def problems_of_name(name: str) -> Iterator[str]:
    if not NAME.fullmatch(name):
        yield f"{name!r} has more in it than the letters a to z, digits, - and _"


def problems_of_runtime(runtime: str, platform: int | None) -> Iterator[str]:
    image = IMAGE.fullmatch(runtime)
    if image is None:
        yield f"{runtime} is not hydrosphere/serving-runtime-python-<X.Y>:<release>"
        return
    python, release = image.groups()
    ranges = [(Version(low), Version(high), pythons) for low, high, pythons in RELEASES]
    pythons = next((own for low, high, own in ranges if low <= Version(release) <= high), ())
    if python not in pythons:
        names = f"Python {', '.join(pythons)}" if pythons else "none from 2.1.0 to 3.0.3"
        yield f"no image {runtime} to use: of release {release} there is {names}"
    if platform is not None and not release.startswith(f"{platform}."):
        yield f"{runtime} is of another generation than the {platform}.x platform"


def problems_of_contract(contract: Contract, found: dict[str, Any]) -> Iterator[str]:
    for name in lost_by_sonar(field.name for field in (*contract.inputs, *contract.outputs)):
        yield f"{name} has a dot or begins with $: sonar loses every request with such a field"
    if not contract.inputs:
        yield "there are no inputs"
    for field in contract.inputs:
        if not field.is_number and "trained" in found:
            yield f"input {field.name} is {field.shape} {field.type}, expected a scalar number"
    if not found:
        yield "not known, because the function cannot be imported"
        return
    inputs = list(contract.input_names)
    if inputs != found["features"]:
        yield f"inputs are {', '.join(inputs)}, expected {', '.join(found['features'])}"
    else:
        yield from _problems_of_types(contract, found.get("trained", {}))
    if not found["function"]:
        yield f"func_main has no function {contract.function}"
    elif "failure" in found:
        yield f"{contract.function} fails on the contract's inputs: {found['failure']}"
    else:
        yield from _problems_of_outputs(contract, found["outputs"])


def _problems_of_types(contract: Contract, trained: dict[str, Any]) -> Iterator[str]:
    """Say which numbers that the artifact was trained on the contract's types would cut."""
    for field in contract.inputs:
        if field.name not in trained or not field.is_whole:
            continue
        low, high, is_whole = trained[field.name]
        kind = np.dtype(field.numpy_type)
        least, most = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
        if not is_whole:
            yield f"input {field.name} is {field.type}, and the artifact was trained on fractions"
        elif low < least or high > most:
            numbers = f"{low:.15g} to {high:.15g}"
            yield f"input {field.name} is {field.type}, and the artifact was trained on {numbers}"


def _problems_of_outputs(contract: Contract, found: dict[str, tuple[str, int]]) -> Iterator[str]:
    names = [field.name for field in contract.outputs]
    if set(names) != found.keys():
        yield f"outputs are {', '.join(names)}, got {', '.join(found)}"
        return
    for field in contract.outputs:
        dtype, dimensions = found[field.name]
        if np.dtype(field.numpy_type).name != dtype:
            yield f"output {field.name} is {field.type}, but the function returns {dtype}"
        if len(field.dims) != dimensions:
            yield f"output {field.name} is {field.shape}, but has {dimensions} dimensions"


def problems_of_training(found: dict[str, Any], allow_sample: bool) -> Iterator[str]:
    if not found:
        yield "not known, because the function cannot be imported"
        return
    if found["source"] == "sample" and not allow_sample:
        yield "the synthetic sample: `knn-metric train`, or --allow-sample for a trial"
    above = found["n_above"]
    if above is not None and above < FEWEST_ABOVE and not allow_sample:
        what = f"{above} rows above the threshold, {FEWEST_ABOVE} or more make one to rely on"
        yield f"{what}: more rows, or --allow-sample for a trial"
