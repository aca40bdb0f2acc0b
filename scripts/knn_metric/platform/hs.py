"""The hs command line of either generation: the cluster that it has selected, and its upload."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import yaml

from knn_metric.cli import UserError, last_line
from knn_metric.platform.releases import HS

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


def run_hs(hs: str, generation: int, staged: Path) -> None:
    """Upload a folder, and believe hs's exit status only if it says success too."""
    if generation == 2:
        line, success = [hs, "upload"], "Success:"
    else:
        line, success = [hs, "apply", "-f", "serving.yaml"], "was applied successfully"
    result = subprocess.run(line, cwd=staged, stdout=subprocess.PIPE, text=True)
    print(result.stdout, end="")
    if result.returncode or success not in result.stdout:
        raise UserError(f"`{' '.join(line)}` failed (exit status {result.returncode})")
