"""The cluster's manager: versions of models, and the metrics attached to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import requests

from monitoring.cli import UserError

if TYPE_CHECKING:
    from portable_knn import PortableKNN

TIMEOUT = 30  # seconds


def describe_artifact(path: Path, artifact: PortableKNN) -> dict[str, str]:
    """Return the metadata by which an uploaded version is told to hold this artifact."""
    described = {
        "artifact.sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "artifact.threshold": repr(float(artifact.threshold_)),
    }
    if artifact.calibration_:
        described["artifact.calibration"] = json.dumps(artifact.calibration_)
    return described


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

    def call(self, method: str, path: str, body: dict | list | None = None) -> Any:
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

    def metadata_by_id(self) -> dict[object, dict[str, str]]:
        """Return the metadata with which each version was uploaded, by the version's id."""
        with self.reading():
            versions = self.call("GET", "model/version")
            return {version["id"]: version.get("metadata") or {} for version in versions}

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
