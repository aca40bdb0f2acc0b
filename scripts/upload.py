"""Check a package and upload it with the installed hs command line, of either generation."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from cluster import ClusterError, find_cluster

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = """\
examples:
  upload.py                   this package, to the cluster that hs has selected
  upload.py --runtime IMAGE   in another image than the platform's usual one
  upload.py --allow-sample    a detector trained on the sample, for a trial
"""
RUNTIME_LINE = re.compile(r"^runtime:.*$", re.MULTILINE)
HOW_TO_INSTALL = (
    "on Python 3.8 `pip install hs==2.4.0 'markupsafe<2.1'` for a 2.x platform, "
    "`pip install hs==3.0.3` for a 3.x one"
)
RUNTIME_3X = "hydrosphere/serving-runtime-python-3.7:3.0.3"


class UploadError(Exception):
    """The upload failed; the message is one line for the user."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="upload.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, default=ROOT, help="default: this package")
    parser.add_argument("--runtime", help="image (default: serving.yaml's, or for 3.x 3.0.3's)")
    parser.add_argument("--hs", default="hs", help="the command line to use (default: hs)")
    parser.add_argument("--allow-sample", action="store_true", help="accept a trial artifact")
    arguments = parser.parse_args()
    try:
        generation = find_generation(arguments.hs)
        address = find_cluster(generation)
        check(arguments, generation)
        print(f"uploading {arguments.folder.resolve().name} to {address} with hs {generation}.x")
        upload(arguments, generation)
    except (ClusterError, UploadError) as error:
        parser.exit(2, f"upload.py: {error}\n")


def find_generation(hs: str) -> int:
    """Return 2 if hs has `upload`, as up to 2.4.0, else 3."""
    if shutil.which(hs) is None:
        raise UploadError(f"{hs} is not installed: {HOW_TO_INSTALL}")
    result = subprocess.run([hs, "--help"], capture_output=True, text=True)
    if result.returncode:
        raise UploadError(f"`{hs} --help` failed: {result.stderr.strip().splitlines()[-1]}")
    return 2 if re.search(r"^\s+upload\s", result.stdout, re.MULTILINE) else 3


def check(arguments: argparse.Namespace, generation: int) -> None:
    options = ["--folder", arguments.folder, "--platform", generation]
    if arguments.runtime or generation == 3:
        options += ["--runtime", arguments.runtime or RUNTIME_3X]
    if arguments.allow_sample:
        options.append("--allow-sample")
    command = [sys.executable, ROOT / "scripts/check.py", *options]
    if subprocess.run(list(map(str, command))).returncode:
        raise UploadError("nothing was uploaded: the check found problems")


def upload(arguments: argparse.Namespace, generation: int) -> None:
    """Run hs in the package's folder, and believe its exit status only if it says success too."""
    # What Python wrote beside the sources on this machine is no part of the package.
    shutil.rmtree(arguments.folder / "src" / "__pycache__", ignore_errors=True)
    if generation == 2:
        options = ["--runtime", arguments.runtime] if arguments.runtime else []
        command, definition, success = [arguments.hs, "upload", *options], None, "Success:"
    else:
        command, success = [arguments.hs, "apply", "-f", "-"], "was applied successfully"
        text = (arguments.folder / "serving.yaml").read_text()
        definition = RUNTIME_LINE.sub(f"runtime: {arguments.runtime or RUNTIME_3X}", text)
    result = subprocess.run(
        command, cwd=arguments.folder, input=definition, stdout=subprocess.PIPE, text=True
    )
    print(result.stdout, end="")
    if result.returncode or success not in result.stdout:
        raise UploadError(f"`{' '.join(command)}` failed (exit status {result.returncode})")


if __name__ == "__main__":
    main()
