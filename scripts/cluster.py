"""Print the address of the Hydrosphere cluster that the hs command line has selected."""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

EXAMPLES = """\
examples:
  cluster.py                 the cluster of whichever hs has one
  cluster.py --generation 2  the cluster that hs 2.x has selected
"""
CONFIGS = {3: ".hs/config.yaml", 2: ".hs-home/config.yaml"}
HOW_TO_ADD = {
    3: "`hs cluster add --name NAME --server URL`, then `hs cluster use NAME`",
    # hs 2.4.0 fails on its own `cluster add` as long as no cluster is there.
    2: "write it to ~/.hs-home/config.yaml: `{clusters: [{name: NAME, cluster: {server: URL}}], "
    "current-cluster: NAME}`",
}


class ClusterError(Exception):
    """No cluster can be told; the message is one line for the user."""


def find_cluster(generation: int | None = None) -> str:
    """Return the selected cluster's address from hs's own configuration.

    Parameters
    ----------
    generation : {2, 3}, optional
        Of the hs command line; without it either will do.

    Raises
    ------
    ClusterError
        If none is selected, or the two generations have selected different ones.
    """
    generations = [generation] if generation else list(CONFIGS)
    selected = {g: _read_selected(Path.home() / CONFIGS[g]) for g in generations}
    addresses = {address for address in selected.values() if address}
    if len(addresses) > 1:
        raise ClusterError(f"hs 2.x and 3.x have selected {' and '.join(sorted(addresses))}")
    if not addresses:
        how = "; or ".join(f"for hs {g}.x {HOW_TO_ADD[g]}" for g in generations)
        raise ClusterError(f"no cluster is selected: {how}")
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
        raise ClusterError(f"{path} cannot be read: {type(error).__name__}") from error
    return servers.get(current)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="cluster.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--generation", type=int, choices=(2, 3), help="of hs (default: either)")
    try:
        print(find_cluster(parser.parse_args().generation))
    except ClusterError as error:
        parser.exit(2, f"cluster.py: {error}\n")


if __name__ == "__main__":
    main()
