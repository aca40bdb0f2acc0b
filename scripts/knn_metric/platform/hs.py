"""The hs command line of either generation: the cluster that it has selected, and its upload."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from knn_metric.cli import UserError, last_line, show
from knn_metric.files import read_text
from knn_metric.platform.manager import ASSEMBLING, RELEASED, Entry, Manager, name_version
from knn_metric.platform.releases import HS

PAUSE, LOOKS = 1.0, 1800  # seconds between two looks at an image that is built, and how many
CONFIGS = {3: ".hs/config.yaml", 2: ".hs-home/config.yaml"}
HOW_TO_SELECT = {
    3: "`hs cluster add --name NAME --server URL`, then `hs cluster use NAME`",
    # hs 2.4.0 fails on its own `cluster add` as long as no cluster is there.
    2: "write it to ~/.hs-home/config.yaml: `{clusters: [{name: NAME, cluster: {server: URL}}], "
    "current-cluster: NAME}`",
}


def selected_cluster(generation: int | None = None) -> str:
    """Return the address of the cluster that hs of a generation, or of either, has selected."""
    generations = [generation] if generation else list(CONFIGS)
    addresses = {_read_selected(CONFIGS[g]) for g in generations} - {""}
    if len(addresses) > 1:
        both = " and ".join(sorted(addresses))
        raise UserError(f"hs 2.x and 3.x have selected {both}: say which with --cluster ADDRESS")
    if not addresses:
        how = "; or ".join(f"for hs {g}.x {HOW_TO_SELECT[g]}" for g in generations)
        raise UserError(f"no cluster is selected: name one with --cluster ADDRESS; or {how}")
    return addresses.pop()


def _read_selected(config: str) -> str:
    path = Path("~") / config
    try:
        path = path.expanduser()
        content = (yaml.safe_load(read_text(path)) if path.exists() else None) or {}
        current = content.get("current-cluster") or content.get("current_cluster")
        clusters = content.get("clusters") or ()
        servers = {entry["name"]: entry["cluster"]["server"] for entry in clusters}
        server = servers.get(current) or ""
        if not isinstance(server, str):
            raise TypeError(f"expected the address of a server, got {server!r}")
        return server
    except UserError:
        raise
    except Exception as error:  # what a file may hold ends in any
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:200].rstrip(".")
        raise UserError(f"{path} cannot be read, {problem}: --cluster says which") from error


def generation_of_hs(hs: str) -> int:
    """Return 2 if hs has `upload`, as up to 2.4.0, else 3."""
    if shutil.which(hs) is None:
        lines = {g: f"`pip install {' '.join(map(repr, pins))}`" for g, pins in HS.items()}
        how = ", or ".join(f"{line} for a {g}.x platform" for g, line in lines.items())
        raise UserError(f"{hs} is not installed: on Python 3.8 {how}")
    result = subprocess.run([hs, "--help"], capture_output=True, text=True, errors="replace")
    if result.returncode:
        raise UserError(f"`{hs} --help` failed: {last_line(result)}")
    return 2 if re.search(r"^\s+upload\s", result.stdout, re.MULTILINE) else 3


def upload(hs: str, generation: int, staged: Path, address: str, name: str) -> str:
    """Upload a folder, wait until its image is built, and return NAME:VERSION.

    hs tells neither of a build that failed nor of a version that was made before hs failed.
    """
    manager = Manager(address)
    known = set(manager.versions())  # where there is no manager, hs 3.x would end in a traceback
    print(f"uploading {name} to {show(address)} with hs {generation}.x", flush=True)
    line, success = [hs, "apply", "-f", "serving.yaml"], "was applied successfully"
    if generation == 2:
        line, success = [hs, "upload"], "Success:"
    exit_status, said = run_aloud(line, staged)
    is_success = exit_status == 0 and any(success in text for text in said)
    failure = "" if is_success else f"`{' '.join(line)}` failed (exit status {exit_status})"
    version = _await_build(manager, name, known)
    if version is None:
        if failure:
            raise UserError(failure)
        return ""  # hs says success, and the manager lists no new version of it
    reference, status = name_version(version), version.get("status", RELEASED)
    if status == ASSEMBLING:
        raise UserError(f"{reference} is still {status} after {PAUSE * LOOKS / 60:.0f} minutes")
    if status != RELEASED:
        raise UserError(f"{reference} is {status}: the lines above say why its image was not built")
    if failure:
        raise UserError(f"{failure}; {reference} is {status} all the same: do not upload it again")
    return reference


def run_aloud(line: Sequence[str], folder: Path | None = None) -> tuple[int, list[str]]:
    """Run a program, its lines printed as they come; return its exit status and them."""
    said = []
    with subprocess.Popen(
        line,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",  # a build's log may hold bytes that are no text
        env={**os.environ, "PYTHONUNBUFFERED": "1"},  # hs would keep its lines until it ends
    ) as process:
        for text in process.stdout or ():
            said.append(text)
            print(show(text.rstrip("\n").expandtabs()), flush=True)
    return process.returncode, said


def _await_build(manager: Manager, name: str, known: set[object]) -> Entry | None:
    """Return the version of a name that is not known, once its image is built or has failed."""
    for _ in range(LOOKS):
        new = [one for identity, one in manager.versions().items() if identity not in known]
        with manager.reading():
            own = [one for one in new if one["model"]["name"] == name]
            version = max(own, key=lambda one: one["modelVersion"], default=None)
        if version is None or version.get("status") != ASSEMBLING:
            break
        time.sleep(PAUSE)
    return version
