"""The cluster's manager: versions of models, their contracts, and the metrics attached to them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from knn_metric.cli import UserError, show
from knn_metric.contract import NUMPY_NAMES, TYPES, YAML_NAMES, Field

TIMEOUT = 30  # seconds without a byte of the answer
WHOLE = 60  # seconds until the last byte, however steadily they come
LARGEST = 64 * 2**20  # bytes of an answer
ASSEMBLING, RELEASED = "Assembling", "Released"  # a version's status; the last can be used
# What is said of an error of a call, the first that fits.
FAULTS: dict[type[Exception], str] = {
    requests.exceptions.SSLError: "the connection cannot be encrypted: {error}",
    requests.Timeout: f"no answer in {TIMEOUT} seconds",
    urllib3.exceptions.TimeoutError: f"no answer in {TIMEOUT} seconds",
    requests.RequestException: "it does not answer ({kind})",
    urllib3.exceptions.HTTPError: "the answer ends early ({kind})",
    json.JSONDecodeError: "the answer is not JSON",
    RecursionError: "the answer is not JSON",
    UnicodeDecodeError: "the answer is not JSON",
    ValueError: "{error}",
}
Entry = dict[str, Any]  # a version of a model, or a metric on one, as the manager lists it
# What reading an answer of another form than the platform's ends in.
MALFORMED = (AttributeError, KeyError, OverflowError, TypeError, ValueError)


class HTTPProblem(UserError):
    """What a service refused, and with which status."""

    def __init__(self, line: str, status: int) -> None:
        super().__init__(line)
        self.status = status


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


class Service:
    """A REST API of a cluster, errors turned into one line each."""

    NAME: str
    ROOT: str
    REFUSALS: ClassVar[dict[int, str]] = {}  # by status what is said of the cluster

    def __init__(self, address: str) -> None:
        if not _is_address(address):
            raise UserError(f"a cluster's address is http://HOST or https://HOST, got {address!r}")
        self.address = address

    def url(self, path: str) -> str:
        return urljoin(self.address, f"{self.ROOT}{path}")

    def call(self, method: str, path: str, body: dict[str, Any] | list[Any] | None = None) -> Any:
        url = self.url(path)
        what, deadline = f"{method} {url}", time.monotonic() + WHOLE

        def take(response: requests.Response, **_: Any) -> None:
            # Of each answer, since requests would read all that comes with a redirect.
            response._content = _read_within(response, deadline)

        try:
            response = requests.request(
                method,
                url,
                json=body,
                timeout=TIMEOUT,
                stream=True,
                hooks={"response": take},
                # Followed, a redirected POST becomes a GET, which is answered and changes nothing.
                allow_redirects=method == "GET",
            )
            content, status = response.content, response.status_code
            if response.ok and not response.is_redirect:
                return json.loads(content) if content else None
        except tuple(FAULTS) as error:
            said = next(text for kind, text in FAULTS.items() if isinstance(error, kind))
            reason = said.format(kind=type(error).__name__, error=str(error)[:200])
            raise UserError(f"{what}: {reason}") from error
        if response.is_redirect:
            to = response.headers["Location"]
            raise UserError(f"{what} is redirected to {to}: give that cluster's address")
        is_page = "html" in response.headers.get("Content-Type", "")
        text = response.reason if is_page else content.decode(errors="replace")
        line = f"{what}: HTTP {status} {' '.join(text.split())[:200]}".rstrip()
        if status in self.REFUSALS:
            line = f"{self.address} {self.REFUSALS[status]}"
        raise HTTPProblem(line, status)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Say of an answer that has not what it must have that another server sent it."""
        try:
            yield
        except MALFORMED as error:
            what = f"does not answer like {self.NAME}: {repr(error)[:200]}"
            raise UserError(f"{self.address} {what}") from error


def _read_within(response: requests.Response, deadline: float) -> bytes:
    """Read a body, and close its connection, whatever comes."""
    content = bytearray()
    with response:
        # `iter_content` waits for whole blocks, which a server that drips never fills.
        while part := response.raw.read1(2**16, decode_content=True):
            content += part
            if len(content) > LARGEST:
                raise ValueError(f"the answer is longer than {LARGEST // 2**20} MB")
            if time.monotonic() > deadline:
                raise ValueError(f"no whole answer in {WHOLE} seconds")
    return bytes(content)


class Manager(Service):
    NAME = "a manager"
    ROOT = "/api/v2/"

    def versions(self) -> dict[object, Entry]:
        with self.reading():
            return {version["id"]: version for version in self.call("GET", "model/version")}

    def version(self, reference: str) -> Entry:
        """Return the version that NAME:VERSION names, or the newest of NAME; it must be released.

        The UserError says which models or versions there are, or what the version's status is.
        """
        name, _, number = reference.partition(":")
        with self.reading():
            models = self.versions().values()
            known = {one["modelVersion"]: one for one in models if one["model"]["name"] == name}
            wanted = [known[one] for one in sorted(known) if number in ("", str(one))]
            if not wanted:
                what = f"version {number} of {name}" if known else f"model {name}"
                there = map(str, sorted(known or {one["model"]["name"] for one in models}))
                raise UserError(
                    f"no {what} at {self.address}, there is {', '.join(there) or 'none'}"
                )
            status = wanted[-1].get("status", RELEASED)
            if status != RELEASED:
                hint = "" if number else f"; {name}:VERSION names an older one"
                raise UserError(f"{name_version(wanted[-1])} is {status}, not {RELEASED}{hint}")
            return wanted[-1]


class Gateway(Service):
    """The cluster's gateway, by which any servable can be asked."""

    NAME = "a gateway"
    ROOT = "/gateway/"


def name_version(version: Entry | None) -> str:
    """Return how a user names a version: NAME:VERSION."""
    if not version:
        return "unknown version"
    return show(f"{version['model']['name']}:{version['modelVersion']}")


def read_signature(
    version: dict[str, Any], kinds: tuple[str, ...] = ("inputs", "outputs")
) -> tuple[list[Field], list[str]]:
    """Read a version's fields, and why others, maps and unknown types, are none."""
    contract = version.get("modelContract") or {}  # of 2.x
    signature = version.get("modelSignature") or contract.get("predict") or {}
    fields, others = [], []
    for one in (field for kind in kinds for field in signature.get(kind, ())):
        name, kind = one["name"], str(one.get("dtype", "")).removeprefix("DT_").lower()
        if one.get("subfields") or NUMPY_NAMES.get(kind, kind) not in TYPES:
            found = "a map" if one.get("subfields") else kind or "a field without a type"
            others.append(f"{name}: a metric cannot take {found}")
            continue
        shape = one.get("shape") or {}  # 3.x's {"dims": [2]}, or 2.x's {"dim": [{"size": 2}]}
        dims = shape.get("dims") or [dim["size"] for dim in shape.get("dim") or ()]
        profile = str(one.get("profile") or "none").lower()
        fields.append(Field(name, YAML_NAMES.get(kind, kind), tuple(map(int, dims)), profile))
    return fields, others
