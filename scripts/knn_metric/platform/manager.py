"""The cluster's manager: versions of models, and the metrics attached to them."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin

import requests

from knn_metric.cli import UserError, show

if TYPE_CHECKING:
    from portable_knn import PortableKNN

TIMEOUT = 30  # seconds without a byte of the answer
WHOLE = 60  # seconds until the last byte, however steadily they come
T = TypeVar("T")


def describe_artifact(path: Path, artifact: PortableKNN) -> dict[str, str]:
    """Return the metadata by which an uploaded version is known to hold this artifact."""
    described = {
        "artifact.sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "artifact.threshold": repr(float(artifact.threshold_)),
    }
    if artifact.calibration_:
        described["artifact.calibration"] = json.dumps(artifact.calibration_)
    return described


RELEASED = "Released"  # the status of a version that can be used


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
        # Followed, a redirected POST becomes a GET, which is answered and changes nothing.
        options: dict[str, Any] = {
            "json": body,
            "timeout": TIMEOUT,
            "allow_redirects": method == "GET",
        }
        try:
            response = _within(WHOLE, partial(requests.request, method, url, **options))
            if response.is_redirect:
                to = response.headers["Location"]
                raise UserError(
                    f"{method} {url} is redirected to {to}: give that cluster's address"
                )
            response.raise_for_status()
            return response.json() if response.content else None
        except TimeoutError as error:
            raise UserError(f"{method} {url}: no whole answer in {WHOLE} seconds") from error
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


def _within(seconds: float, function: Callable[[], T]) -> T:
    """Call a function; raise TimeoutError, and let it go on alone, where it takes longer."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(seconds)


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

    def names_by_id(self) -> dict[object, str]:
        """Return how a user names each version, NAME:VERSION, by the version's id."""
        with self.reading():
            return {one["id"]: name_version(one) for one in self.call("GET", "model/version")}

    def version(self, reference: str) -> dict:
        """Return the released version that NAME:VERSION names, or the newest of NAME.

        Raises
        ------
        UserError
            Says which models or versions there are, or that a version is not released.
        """
        name, _, number = reference.partition(":")
        models = self.call("GET", "model/version")
        versions = [one for one in models if one["model"]["name"] == name]
        if not versions:
            known = ", ".join(sorted({show(one["model"]["name"]) for one in models})) or "none"
            raise UserError(f"no model {name} at {self.address}, there is {known}")
        if number:
            asked = [one for one in versions if str(one["modelVersion"]) == number]
            if not asked:
                known = ", ".join(str(one["modelVersion"]) for one in versions)
                raise UserError(
                    f"no version {number} of {name} at {self.address}, there is {known}"
                )
            versions = asked
        released = [one for one in versions if one.get("status", RELEASED) == RELEASED]
        if not released:
            newest = _newest(versions)
            raise UserError(f"{name_version(newest)} is {newest['status']}, not {RELEASED}")
        return _newest(released)


def _newest(versions: Iterable[dict]) -> dict:
    return max(versions, key=lambda version: version["modelVersion"])


def name_version(version: dict[str, Any]) -> str:
    """Return how a user names a version: NAME:VERSION."""
    return f"{version['model']['name']}:{version['modelVersion']}"
