"""The platform: the cluster that hs has selected, the manager's REST API, the released images."""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

from lib.command import UserError

import requests
import yaml

TIMEOUT = 30  # seconds
# The last release of each generation's command line; on Python 3.8.
HS = {2: ("hs==2.4.0", "markupsafe<2.1"), 3: ("hs==3.0.3",)}
CONFIGS = {3: ".hs/config.yaml", 2: ".hs-home/config.yaml"}
HOW_TO_SELECT = {
    3: "`hs cluster add --name NAME --server URL`, then `hs cluster use NAME`",
    # hs 2.4.0 fails on its own `cluster add` as long as no cluster is there.
    2: "write it to ~/.hs-home/config.yaml: `{clusters: [{name: NAME, cluster: {server: URL}}], "
    "current-cluster: NAME}`",
}
# What the images hold before requirements.txt is installed, by release; read off the images.
IMAGES = {
    "2.2.0": ("protobuf==3.11.3", "hydro-serving-grpc==2.1.0rc1", "requests==2.23.0"),
    "2.4.3": (
        "hydrosdk==2.3.2",
        "numpy==1.18.5",
        "pandas==1.0.5",
        "protobuf==3.13.0",
        "hydro-serving-grpc==2.2.1",
    ),
    "3.0.3": (
        "hydrosdk==3.0.3",
        "numpy==1.18.3",
        "pandas==1.1.5",
        "protobuf==3.17.3",
        "hydro-serving-grpc==3.0.3",
    ),
}
# Released images that src/ runs on: first release, last release, Pythons.
RELEASES = (
    ("2.1.0", "2.3.0", ("3.6",)),
    ("2.3.1", "2.4.3", ("3.6", "3.7", "3.8")),
    ("3.0.0", "3.0.3", ("3.7", "3.8")),
)
PORTS = {2: 9090, 3: 9091}  # that the images of each generation listen on
USUAL_RUNTIME_3X = "hydrosphere/serving-runtime-python-3.7:3.0.3"
# What the runtime does not start without, numpy aside, of which any 1.18 will do.
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


def describe_artifact(artifact: Path, threshold: float) -> dict[str, str]:
    """Return the metadata by which an uploaded version is told to hold this artifact."""
    sha256 = hashlib.sha256(artifact.read_bytes()).hexdigest()
    return {"artifact.sha256": sha256, "artifact.threshold": repr(float(threshold))}


def selected_cluster(generation: int | None = None) -> str:
    """Return the selected cluster's address from hs's own configuration.

    Parameters
    ----------
    generation : {2, 3}, optional
        Of the hs command line; without it either will do.

    Raises
    ------
    UserError
        If none is selected, or the two generations have selected different ones.
    """
    generations = [generation] if generation else list(CONFIGS)
    selected = {g: _read_selected(Path.home() / CONFIGS[g]) for g in generations}
    addresses = {address for address in selected.values() if address}
    if len(addresses) > 1:
        both = " and ".join(sorted(addresses))
        raise UserError(f"hs 2.x and 3.x have selected {both}: say which with --cluster=address")
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


def reference(text: str) -> str:
    """Take the option that names a version: NAME:VERSION."""
    if not re.fullmatch(r"[^:]+:\d+", text):
        raise argparse.ArgumentTypeError(f"expected NAME:VERSION, got {text!r}")
    return text


class Service:
    """A REST API of a cluster, errors turned into one line each."""

    NAME: str
    ROOT: str

    def __init__(self, address: str) -> None:
        if not address.startswith(("http://", "https://")):
            raise UserError(f"a cluster's address is http://HOST or https://HOST, got {address!r}")
        self.address = address

    def url(self, path: str) -> str:
        return urljoin(self.address, f"{self.ROOT}{path}")

    def call(self, method: str, path: str, body: dict | None = None) -> object:
        url = self.url(path)
        try:
            response = requests.request(method, url, json=body, timeout=TIMEOUT)
            response.raise_for_status()
            return response.json() if response.content else None
        except requests.HTTPError as error:
            text = " ".join(response.text.split())[:200]
            status = f"HTTP {response.status_code}"
            raise UserError(f"{method} {url}: {status} {text}".rstrip()) from error
        except (requests.JSONDecodeError, RecursionError) as error:
            raise UserError(f"{method} {url}: the answer is not JSON") from error
        except (requests.RequestException, ValueError) as error:
            raise UserError(f"{method} {url}: {type(error).__name__}") from error

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Say of an answer that has not what it must have that another server sent it."""
        try:
            yield
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise UserError(
                f"{self.address} does not answer like {self.NAME}: {repr(error)[:200]}"
            ) from error


class Manager(Service):
    """The cluster's manager: versions of models, and the metrics attached to them."""

    NAME = "a manager"
    ROOT = "/api/v2/"

    def metrics(self, target: dict) -> list[dict]:
        """Return the metrics that are attached to a version."""
        return self.call("GET", f"monitoring/metricspec/modelversion/{target['id']}")

    def version(self, reference: str) -> dict:
        """Return the version that NAME:VERSION names, or the newest of NAME."""
        name, _, number = reference.partition(":")
        versions = [v for v in self.call("GET", "model/version") if v["model"]["name"] == name]
        if not versions:
            raise UserError(f"no model {name} at {self.address}: `make upload` first")
        if not number:
            return max(versions, key=lambda version: version["modelVersion"])
        for version in versions:
            if str(version["modelVersion"]) == number:
                return version
        known = ", ".join(str(version["modelVersion"]) for version in versions)
        raise UserError(f"no version {number} of {name} at {self.address}, there is {known}")
