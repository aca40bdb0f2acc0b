"""Check a package and upload it with the installed hs command line, of either generation.

examples:
  upload.py                   this package, to the cluster that hs has selected
  upload.py --runtime IMAGE   in another image than the platform's usual one
  upload.py --allow-sample    a model trained on the sample, for a trial
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lib import command
from lib.detector import load_detector
from lib.inspection import inspect, require_passed
from lib.package import copy_payload
from lib.platform import HS, USUAL_RUNTIME_3X, Manager, describe_artifact, selected_cluster
from lib.runtime import read_definition

import yaml


@command.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = command.make_parser(__file__, __doc__)
    option = parser.add_argument
    option("--model", type=Path, default=command.ROOT, help="default: this package")
    option("--runtime", help="image (default: serving.yaml's, or for 3.x 3.0.3's)")
    option("--hs", default="hs", help="the command line to use (default: hs)")
    option("--allow-sample", action="store_true", help="accept a model trained on the sample")
    arguments = parser.parse_args(argv)
    folder = arguments.model
    generation = generation_of(arguments.hs)
    runtime = arguments.runtime or (USUAL_RUNTIME_3X if generation == 3 else None)
    address = selected_cluster(generation)
    findings = inspect(folder, runtime, generation, arguments.allow_sample)
    require_passed(findings, "nothing was uploaded")
    Manager(address).call("GET", "model/version")  # hs 3.x would end in a traceback
    name = read_definition(folder)["name"]
    print(f"uploading {name} to {address} with hs {generation}.x")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".upload-") as staged:
        stage(folder, Path(staged), runtime)
        upload(arguments.hs, generation, Path(staged))


def generation_of(hs: str) -> int:
    """Return 2 if hs has `upload`, as up to 2.4.0, else 3."""
    if shutil.which(hs) is None:
        how = ", or ".join(
            f"`pip install {' '.join(map(repr, pins))}` for a {generation}.x platform"
            for generation, pins in HS.items()
        )
        raise command.UserError(f"{hs} is not installed: on Python 3.8 {how}")
    result = subprocess.run([hs, "--help"], capture_output=True, text=True)
    if result.returncode:
        raise command.UserError(f"`{hs} --help` failed: {command.last_line(result)}")
    return 2 if re.search(r"^\s+upload\s", result.stdout, re.MULTILINE) else 3


def stage(folder: Path, staged: Path, runtime: str | None) -> None:
    """Copy what is uploaded, with the image and what `make metric` asks about in serving.yaml.

    Within the package's folder hs still finds the repository that it describes.
    """
    definition = yaml.safe_load((folder / "serving.yaml").read_text(encoding="utf-8"))
    copy_payload(folder, definition["payload"], staged)
    if runtime:
        definition["runtime"] = runtime
    training_data = definition.get("training-data")
    if training_data and "://" not in training_data:
        definition["training-data"] = str((folder / training_data).resolve())
    artifact = folder / command.ARTIFACT.name
    if artifact.exists():
        described = describe_artifact(artifact, load_detector(artifact).threshold_)
        definition["metadata"] = {**(definition.get("metadata") or {}), **described}
    (staged / "serving.yaml").write_text(yaml.safe_dump(definition, sort_keys=False))


def upload(hs: str, generation: int, staged: Path) -> None:
    """Run hs, and believe its exit status only if it says success too."""
    if generation == 2:
        arguments, success = [hs, "upload"], "Success:"
    else:
        arguments, success = [hs, "apply", "-f", "serving.yaml"], "was applied successfully"
    result = subprocess.run(arguments, cwd=staged, stdout=subprocess.PIPE, text=True)
    print(result.stdout, end="")
    if result.returncode or success not in result.stdout:
        raise command.UserError(f"`{' '.join(arguments)}` failed (exit status {result.returncode})")


if __name__ == "__main__":
    sys.exit(main())
