"""Say before an upload what would go wrong after it. Exit status 0 if nothing would, else 1."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = """\
examples:
  check.py                             this package, as serving.yaml has it
  check.py --runtime IMAGE --platform 3  for another image, on a 3.x platform
  check.py --allow-sample --json       a trial upload, findings for a program
"""
UPLOAD_LIMIT = 200_000_000  # bytes that the manager takes in a request
IMAGE = re.compile(r"hydrosphere/serving-runtime-python-(\d\.\d+)(?:\.\d+)?:(\d+\.\d+\.\d+)")
# Released images that src/ runs on: first release, last release, Pythons.
RELEASES = (
    ("2.1.0", "2.3.0", ("3.6",)),
    ("2.3.1", "2.4.3", ("3.6", "3.7", "3.8")),
    ("3.0.0", "3.0.3", ("3.7", "3.8")),
)
# The image's own, which the runtime does not start without.
IMAGE_OWNS = {"grpcio", "hydro-serving-grpc", "hydrosdk", "pandas", "protobuf"}
IMAGE_NUMPY = "1.18.*"
# The last releases that install and run beside numpy 1.18, on each Python.
LAST_BESIDE_NUMPY = {
    "joblib": {"3.6": "1.1.1", "3.7": "1.3.2", "3.8": "1.4.2"},
    "matplotlib": {"3.6": "3.3.4", "3.7": "3.5.3", "3.8": "3.5.3"},
    "numba": {"3.6": "0.53.1", "3.7": "0.56.4", "3.8": "0.56.4"},
    "pyod": {"3.6": "1.0.3", "3.7": "1.0.3", "3.8": "1.0.3"},
    "scikit-learn": {"3.6": "0.24.2", "3.7": "1.0.2", "3.8": "1.3.2"},
    "scipy": {"3.6": "1.5.4", "3.7": "1.7.3", "3.8": "1.8.1"},
    "statsmodels": {"3.6": "0.12.2", "3.7": "0.13.5", "3.8": "0.13.5"},
}
NUMPY_NAMES = {"double": "float64", "string": "str"}
# Runs where nothing but the payload is: imports the function and calls it once.
PROBE = """\
import json, sys
sys.path.append("src")
import numpy as np
import func_main

name, types = json.loads(sys.argv[1])
function = getattr(func_main, name, None)
found = {"function": callable(function), "features": list(func_main.features)}
model = getattr(func_main, "detector", None) or func_main.classifier
found["source"] = model.origin_["source"]
if found["function"]:
    inputs = {field: np.dtype(kind).type(1) for field, kind in types.items()}
    outputs = {field: np.asarray(value) for field, value in function(**inputs).items()}
    found["outputs"] = {field: [v.dtype.name, v.ndim] for field, v in outputs.items()}
print(json.dumps(found))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="check.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, default=ROOT, help="default: this package")
    parser.add_argument("--runtime", help="image to use instead of serving.yaml's")
    parser.add_argument("--platform", type=int, choices=(2, 3), help="the cluster's generation")
    parser.add_argument("--allow-sample", action="store_true", help="accept a trial artifact")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    arguments = parser.parse_args()
    try:
        model = yaml.safe_load((arguments.folder / "serving.yaml").read_text())
        findings = find_all(arguments, model)
    except OSError as error:
        parser.exit(2, f"check.py: {error.filename}: {error.strerror}\n")
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        first = " ".join(str(error).split())
        findings = [("contract", f"serving.yaml cannot be read: {type(error).__name__}: {first}")]
    report(findings, arguments.json)
    sys.exit(1 if any(problem for _, problem in findings) else 0)


def report(findings: list[tuple[str, str]], as_json: bool) -> None:
    if as_json:
        rows = [{"check": name, "ok": not text, "problem": text or None} for name, text in findings]
        print(json.dumps(rows, indent=2))
        return
    for name, problem in findings:
        print(f"{'FAIL' if problem else 'ok':<6}{name:<14}{problem}".rstrip())


def find_all(arguments: argparse.Namespace, model: dict) -> list[tuple[str, str]]:
    """Return every check's name with each problem that it found, or with '' if it found none."""
    runtime = arguments.runtime or model["runtime"]
    python = read_python(runtime)
    found, failure = probe(arguments.folder, model)
    problems = {
        "runtime": find_in_runtime(runtime, arguments.platform),
        "payload": find_in_payload(arguments.folder, model["payload"]),
        "requirements": find_in_requirements(arguments.folder / "requirements.txt", python),
        "import": [failure] if failure else [],
        "contract": find_in_contract(model["contract"], found),
        "training data": [],
    }
    if found.get("source") == "sample" and not arguments.allow_sample:
        sample = "trained on the synthetic sample: `make train`, or --allow-sample for a trial"
        problems["training data"].append(sample)
    return [(name, problem) for name, all_ in problems.items() for problem in (list(all_) or [""])]


def read_python(runtime: str) -> str | None:
    image = IMAGE.fullmatch(runtime)
    return image[1] if image else None


def find_in_runtime(runtime: str, platform: int | None) -> Iterator[str]:
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


def find_in_payload(folder: Path, payload: list[str]) -> Iterator[str]:
    missing = [entry for entry in payload if not (folder / entry).exists()]
    for entry in missing:
        hint = ": `make train` makes it" if entry.endswith((".joblib", ".json")) else ""
        yield f"{entry} is missing{hint}"
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w:gz") as tar:
            for entry in set(payload) - set(missing):
                tar.add(folder / entry, arcname=entry)
        if file.tell() > UPLOAD_LIMIT:
            yield f"{file.tell():,} bytes packed, over the manager's {UPLOAD_LIMIT:,}"


def find_in_requirements(path: Path, python: str | None) -> Iterator[str]:
    lines = path.read_text().splitlines() if path.exists() else []
    for line in lines:
        text = line.split("#")[0].strip()
        try:
            requirement = Requirement(text) if text else None
        except InvalidRequirement:
            yield f"{text!r} is not a requirement that can be checked"
            continue
        if requirement:
            yield from find_in_requirement(requirement, python)


def find_in_requirement(requirement: Requirement, python: str | None) -> Iterator[str]:
    name = re.sub(r"[-_.]+", "-", requirement.name).lower()
    pin = re.fullmatch(r"==([\w.*]+)", str(requirement.specifier))
    if name in IMAGE_OWNS:
        yield f"{name} is the image's own and must stay as it is"
    if not pin:
        yield f"{requirement.name} is not pinned: expected ==VERSION, got {requirement.specifier}"
        return
    environment = {"python_version": python or ""}
    if python is None or (requirement.marker and not requirement.marker.evaluate(environment)):
        return
    last = LAST_BESIDE_NUMPY.get(name, {}).get(python)
    if name == "numpy" and pin[1] != IMAGE_NUMPY:
        yield f"numpy {pin[1]} replaces the image's own: expected {IMAGE_NUMPY}"
    elif last and Version(pin[1].rstrip(".*")) > Version(last):
        yield (
            f"{name} {pin[1]} breaks the image: "
            f"{last} is the last beside numpy {IMAGE_NUMPY} on Python {python}"
        )


def probe(folder: Path, model: dict) -> tuple[dict, str]:
    """Import the function where nothing but the payload is; return what it says, or why not."""
    contract = model["contract"]
    types = {name: field["type"] for name, field in contract["inputs"].items()}
    with tempfile.TemporaryDirectory() as alone:
        for entry in filter(lambda entry: (folder / entry).exists(), model["payload"]):
            copy = shutil.copytree if (folder / entry).is_dir() else shutil.copy
            copy(folder / entry, Path(alone) / entry)
        command = [sys.executable, "-I", "-B", "-c", PROBE, json.dumps([contract["name"], types])]
        result = subprocess.run(command, cwd=alone, capture_output=True, text=True)
    if result.returncode:
        return {}, result.stderr.strip().splitlines()[-1].replace(f"{alone}/", "")
    return json.loads(result.stdout), ""


def find_in_contract(contract: dict, found: dict) -> Iterator[str]:
    for name, field in contract["inputs"].items():
        if (field["type"], field["shape"]) != ("int64", "scalar"):
            yield f"input {name} is {field['shape']} {field['type']}, expected scalar int64"
    if not found:
        return
    inputs = list(contract["inputs"])
    if inputs != found["features"]:
        yield f"inputs are {', '.join(inputs)}, expected {', '.join(found['features'])}"
    if not found["function"]:
        yield f"func_main has no function {contract['name']}"
        return
    if contract["outputs"].keys() != found["outputs"].keys():
        yield f"outputs are {', '.join(contract['outputs'])}, got {', '.join(found['outputs'])}"
        return
    for name, field in contract["outputs"].items():
        dtype, dimensions = found["outputs"][name]
        if NUMPY_NAMES.get(field["type"], field["type"]) != dtype:
            yield f"output {name} is {field['type']}, but the function returns {dtype}"
        if (field["shape"] == "scalar") != (dimensions == 0):
            yield f"output {name} is {field['shape']}, but has {dimensions} dimensions"


if __name__ == "__main__":
    main()
