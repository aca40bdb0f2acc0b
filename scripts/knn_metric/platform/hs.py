"""The hs command line of either generation: the cluster that it has selected, and its upload."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import yaml

from knn_metric.cli import UserError, last_line, show
from knn_metric.platform.manager import RELEASED, Manager, name_version
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
    selected = {g: _read_selected(Path.home() / CONFIGS[g]) for g in generations}
    addresses = {address for address in selected.values() if address}
    if len(addresses) > 1:
        both = " and ".join(sorted(addresses))
        raise UserError(f"hs 2.x and 3.x have selected {both}: say which with --cluster ADDRESS")
    if not addresses:
        how = "; or ".join(f"for hs {g}.x {HOW_TO_SELECT[g]}" for g in generations)
        raise UserError(f"no cluster is selected: {how}")
    return addresses.pop()


def _read_selected(path: Path) -> str | None:
    if not path.exists():
        return None
    try:
        config = yaml.safe_load(path.read_text()) or {}
        current = config.get("current-cluster") or config.get("current_cluster")
        clusters = config.get("clusters") or ()
        servers = {entry["name"]: entry["cluster"]["server"] for entry in clusters}
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {type(error).__name__}") from error
    return servers.get(current)


def generation_of_hs(hs: str) -> int:
    """Return 2 if hs has `upload`, as up to 2.4.0, else 3."""
    if shutil.which(hs) is None:
        how = ", or ".join(
            f"`pip install {' '.join(map(repr, pins))}` for a {generation}.x platform"
            for generation, pins in HS.items()
        )
        raise UserError(f"{hs} is not installed: on Python 3.8 {how}")
    result = subprocess.run([hs, "--help"], capture_output=True, text=True)
    if result.returncode:
        raise UserError(f"`{hs} --help` failed: {last_line(result)}")
    return 2 if re.search(r"^\s+upload\s", result.stdout, re.MULTILINE) else 3


def upload(hs: str, generation: int, staged: Path, manager: Manager, name: str) -> str:
    """Upload a folder, wait until its image is built, and return NAME:VERSION.

    Neither the exit status of hs nor its words tell of a build that failed, or of a version that
    was made before hs failed: the manager's status does.
    """
    known = manager.versions().keys()
    failure = _run_hs(hs, generation, staged)
    version = _await_build(manager, name, set(known))
    if version is None:
        if failure:
            raise UserError(failure)
        return ""  # hs says success, and the manager lists no new version of it
    reference, status = name_version(version), show(str(version.get("status", RELEASED)))
    if status != RELEASED:
        raise UserError(f"{reference} is {status}: the lines above say why its image was not built")
    if failure:
        raise UserError(f"{failure}; {reference} is {status} all the same: do not upload it again")
    return reference


def _run_hs(hs: str, generation: int, staged: Path) -> str:
    """Run hs, its lines printed as they come; return what failed, '' if it says success."""
    if generation == 2:
        line, success = [hs, "upload"], "Success:"
    else:
        line, success = [hs, "apply", "-f", "serving.yaml"], "was applied successfully"
    succeeded = False
    with subprocess.Popen(line, cwd=staged, stdout=subprocess.PIPE, text=True) as process:
        for said in process.stdout or ():
            print(said, end="", flush=True)
            succeeded |= success in said
    if succeeded and process.returncode == 0:
        return ""
    return f"`{' '.join(line)}` failed (exit status {process.returncode})"


def _await_build(manager: Manager, name: str, known: set[object]) -> dict[str, Any] | None:
    """Return the version of a name that is not known, once its image is built or has failed."""
    version = None
    for _ in range(LOOKS):
        versions = manager.versions()
        new = [versions[one] for one in versions.keys() - known]
        with manager.reading():
            own = [one for one in new if one["model"]["name"] == name]
            version = max(own, key=lambda one: one["modelVersion"], default=None)
        if version is None or version.get("status") != "Assembling":
            break
        time.sleep(PAUSE)
    return version
