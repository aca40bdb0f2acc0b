"""The cluster's manager: versions of models, and the metrics attached to them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import requests
import urllib3

from knn_metric.cli import UserError, show

if TYPE_CHECKING:
    from portable_knn import PortableKNN

TIMEOUT = 30  # seconds without a byte of the answer
WHOLE = 60  # seconds until the last byte, however steadily they come
LARGEST = 64 * 2**20  # bytes of an answer
RELEASED = "Released"  # the status of a version that can be used
# What is said of an error of a call, the first that fits.
FAULTS: dict[type[Exception], str] = {
    requests.exceptions.SSLError: "the connection cannot be encrypted: {error}",
    requests.exceptions.Timeout: f"no answer in {TIMEOUT} seconds",
    urllib3.exceptions.TimeoutError: f"no answer in {TIMEOUT} seconds",
    requests.RequestException: "{kind}",
    urllib3.exceptions.HTTPError: "the answer ends early ({kind})",
    json.JSONDecodeError: "the answer is not JSON",
    RecursionError: "the answer is not JSON",
    UnicodeDecodeError: "the answer is not JSON",
    ValueError: "{error}",
}
# What reading an answer of another form than the platform's ends in.
MALFORMED = (AttributeError, KeyError, OverflowError, TypeError, ValueError)


def describe_artifact(path: Path, artifact: PortableKNN) -> dict[str, str]:
    """Return the metadata by which an uploaded version is known to hold this artifact."""
    described = {
        "artifact.sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "artifact.threshold": repr(float(artifact.threshold_)),
    }
    if artifact.calibration_:
        described["artifact.calibration"] = json.dumps(artifact.calibration_)
    return described


@contextmanager
def saying(what: str) -> Iterator[None]:
    """Turn an error of a call into one line by the table of `FAULTS`."""
    try:
        yield
    except tuple(FAULTS) as error:
        said = next(text for kind, text in FAULTS.items() if isinstance(error, kind))
        reason = said.format(kind=type(error).__name__, error=str(error)[:200])
        raise UserError(f"{what}: {reason}") from error


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
        what = f"{method} {self.url(path)}"
        with (
            saying(what),
            requests.request(
                method,
                self.url(path),
                json=body,
                timeout=TIMEOUT,
                stream=True,
                # Followed, a redirected POST becomes a GET, which is answered and changes nothing.
                allow_redirects=method == "GET",
            ) as response,
        ):
            if response.is_redirect:
                to = response.headers["Location"]
                raise UserError(f"{what} is redirected to {to}: give that cluster's address")
            content = _read(response, what)
            if not response.ok:
                text = " ".join(content.decode(errors="replace").split())[:200]
                raise UserError(f"{what}: HTTP {response.status_code} {text}".rstrip())
            return json.loads(content) if content else None

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Say of an answer that has not what it must have that another server sent it."""
        try:
            yield
        except MALFORMED as error:
            raise UserError(
                f"{self.address} does not answer like {self.NAME}: {repr(error)[:200]}"
            ) from error


def _read(response: requests.Response, what: str) -> bytes:
    """Return a body as long as it may be; the connection is closed where it goes beyond that."""
    deadline, content = time.monotonic() + WHOLE, bytearray()
    # `iter_content` waits for whole blocks, which a server that drips never fills.
    while part := response.raw.read1(2**16, decode_content=True):
        content += part
        if len(content) > LARGEST:
            raise UserError(f"{what}: the answer is longer than {LARGEST // 2**20} MB")
        if time.monotonic() > deadline:
            raise UserError(f"{what}: no whole answer in {WHOLE} seconds")
    return bytes(content)


class Manager(Service):
    """The cluster's manager: versions of models, and the metrics attached to them."""

    NAME = "a manager"
    ROOT = "/api/v2/"

    def versions(self) -> dict[object, dict[str, Any]]:
        """Return all versions by their ids."""
        with self.reading():
            return {version["id"]: version for version in self.call("GET", "model/version")}

    def metrics(self, target: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the metrics that are attached to a version."""
        return self.call("GET", f"monitoring/metricspec/modelversion/{target['id']}")

    def version(self, reference: str) -> dict[str, Any]:
        """Return the released version that NAME:VERSION names, or the newest of NAME.

        Raises
        ------
        UserError
            Says which models or versions there are, or that a version is not released.
        """
        name, _, number = reference.partition(":")
        with self.reading():
            models = self.versions().values()
            versions = [one for one in models if one["model"]["name"] == name]
            if not versions:
                known = ", ".join(sorted({show(one["model"]["name"]) for one in models})) or "none"
                raise UserError(f"no model {name} at {self.address}, there is {known}")
            if number:
                known = ", ".join(str(one["modelVersion"]) for one in versions)
                versions = [one for one in versions if str(one["modelVersion"]) == number]
            if not versions:
                what = f"version {number} of {name}"
                raise UserError(f"no {what} at {self.address}, there is {known}")
            released = [one for one in versions if one.get("status", RELEASED) == RELEASED]
            if not released:
                newest = _newest(versions)
                raise UserError(f"{name_version(newest)} is {newest['status']}, not {RELEASED}")
            return _newest(released)


def _newest(versions: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return max(versions, key=lambda version: version["modelVersion"])


def name_version(version: dict[str, Any] | None) -> str:
    """Return how a user names a version: NAME:VERSION."""
    if version is None:
        return "unknown version"
    return show(f"{version['model']['name']}:{version['modelVersion']}")
