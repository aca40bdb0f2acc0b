"""The check of a package: what is known to go wrong after its upload."""

from __future__ import annotations

import re
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from packaging.version import Version

from knn_metric.cli import complain
from knn_metric.contract import Contract
from knn_metric.package.payload import probe_payload
from knn_metric.package.requirements import (
    problems_of_install,
    problems_of_requirements,
    read_requirements,
)
from knn_metric.platform.releases import (
    IMAGE,
    RELEASES,
)
from knn_metric.tables import format_table

UPLOAD_LIMIT = 200_000_000  # bytes that the manager takes in a request
NAME = re.compile(r"[a-z0-9_-]+")  # what the manager takes
MADE_BY = {".joblib": "knn-metric train"}
MADE_BY |= dict.fromkeys((".csv", ".json"), "python examples/adult/train.py")
FEWEST_ABOVE = 20  # training rows that a threshold needs above it, to be off by a fifth or so


@dataclass(frozen=True)
class Finding:
    """What the check says of an aspect of a package: a problem, or '' where there is none."""

    aspect: str
    problem: str = ""


def check(
    folder: Path,
    runtime: str | None = None,
    platform: int | None = None,
    allow_sample: bool = False,
) -> list[Finding]:
    """Say of each aspect of a package what would go wrong after its upload.

    Parameters
    ----------
    folder : Path
    runtime, platform : optional
        An image instead of serving.yaml's; the cluster's generation, 2 or 3.
    allow_sample : bool
        Whether a model trained on the sample will do.

    Raises
    ------
    UserError
        If serving.yaml cannot be read.
    """
    contract = Contract.read(folder)
    runtime = runtime or contract.runtime
    requirements = read_requirements(folder / "requirements.txt")
    found, failure = probe_payload(folder, contract, runtime)
    problems = {
        "name": problems_of_name(contract.name),
        "runtime": problems_of_runtime(runtime, platform),
        "payload": problems_of_payload(folder, contract),
        "install": problems_of_install(contract, requirements),
        "requirements": problems_of_requirements(requirements, runtime),
        "import": [failure] if failure else [],
        "contract": problems_of_contract(contract, found),
        "training data": problems_of_training(found, allow_sample),
    }
    return [
        Finding(aspect, problem)
        for aspect, of_aspect in problems.items()
        for problem in (list(of_aspect) or [""])
    ]


def format_findings(findings: Sequence[Finding]) -> str:
    rows = [["FAIL" if one.problem else "ok", one.aspect, one.problem] for one in findings]
    return format_table(rows, "<<<")


def passes(findings: Sequence[Finding], refusal: str) -> bool:
    """Print the findings, and say what follows if one of them is a problem."""
    print(format_findings(findings), flush=True)
    found = any(finding.problem for finding in findings)
    if found:
        complain(f"{refusal}: the check found problems")
    return not found


def problems_of_name(name: str) -> Iterator[str]:
    if not NAME.fullmatch(str(name)):
        yield f"{name!r} has more in it than the letters a to z, digits, - and _"


def problems_of_runtime(runtime: str, platform: int | None) -> Iterator[str]:
    image = IMAGE.fullmatch(runtime)
    if image is None:
        yield f"{runtime} is not hydrosphere/serving-runtime-python-<X.Y>:<release>"
        return
    python, release = image.groups()
    pythons = next(
        (p for low, high, p in RELEASES if Version(low) <= Version(release) <= Version(high)), ()
    )
    if python not in pythons:
        names = f"Python {', '.join(pythons)}" if pythons else "none from 2.1.0 to 3.0.3"
        yield f"no image {runtime} to use: of release {release} there is {names}"
    if platform is not None and not release.startswith(f"{platform}."):
        yield f"{runtime} is of another generation than the {platform}.x platform"


def problems_of_payload(folder: Path, contract: Contract) -> Iterator[str]:
    payload = contract.payload
    yield from _problems_of_training_data(folder, contract)
    missing = [entry for entry in payload if not (folder / entry).exists()]
    yield from map(_describe_missing, missing)
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w:gz") as tar:
            for entry in set(payload) - set(missing):
                tar.add(folder / entry, arcname=entry)
        if file.tell() > UPLOAD_LIMIT:
            yield f"{file.tell():,} bytes packed, over the manager's {UPLOAD_LIMIT:,}"


def _problems_of_training_data(folder: Path, contract: Contract) -> Iterator[str]:
    """Say why the platform could not hold live requests against the file that is uploaded."""
    training_data = contract.training_data
    if training_data is None or "://" in training_data:
        return
    if not (folder / training_data).is_file():
        yield f"training-data {_describe_missing(training_data)}"
        return
    with (folder / training_data).open("rb") as file:
        header = file.readline().decode("utf-8", "replace").strip().split(",")
    fields = [field.name for field in (*contract.inputs, *contract.outputs)]
    if header != fields:
        # What is in the file may be nobody's business.
        yield f"training-data {training_data} does not begin with {','.join(fields)}"


def _describe_missing(entry: str) -> str:
    made = MADE_BY.get(Path(entry).suffix)
    return f"{entry} is missing" + (f": `{made}` makes it" if made else "")


def problems_of_contract(contract: Contract, found: dict[str, Any]) -> Iterator[str]:
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


def _problems_of_types(
    contract: Contract, trained: dict[str, tuple[float, float, bool]]
) -> Iterator[str]:
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
        yield (
            f"{above} rows above the threshold, {FEWEST_ABOVE} or more make one to rely on:"
            " more rows, or --allow-sample for a trial"
        )
