"""Sonar, the platform's monitoring: the requests of a target, and their checks by each metric."""

import math
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

from tqdm import tqdm

from knn_metric.data.cells import read_number
from knn_metric.platform.manager import HTTPProblem, Service, read_signature

PAGE = 200  # results at a time
STALE_PAGES = 10  # without anything new, after which there is nothing more
# Requests in a row that are not wanted, after which none is expected: some are listed late.
MARGIN = 400
FURTHEST = 10_000  # requests among which one is looked for by its UUID


class Check(NamedTuple):
    """What a metric made of a request: its score, held against a threshold."""

    value: float
    threshold: float
    spec: str = ""


class Request(NamedTuple):
    """A request that the target was sent, and what its metrics said of it."""

    id: str  # Mongo's, of 24 hexadecimal digits, which begin with the time
    second: int  # when it was checked, in epoch seconds
    inputs: dict[str, Any]  # the target's inputs and answers by name; none if the target failed
    checks: dict[str, Check]  # by metric; one that did not answer has no entry
    unread: dict[str, str]  # by metric, what stands in place of the score
    error: str = ""  # why the target failed
    uuid: str = ""  # the gateway's, which the platform's own alerts carry
    version: object = None


class Sonar(Service):
    """The monitoring of a target, a version as the manager lists it."""

    NAME = "sonar"
    ROOT = "/monitoring/"
    # By the UI's nginx, where nothing is behind it.
    REFUSALS: ClassVar = {501: "has no monitoring: open-source platforms have it from 3.0 on"}

    def __init__(self, address: str, target: dict[str, Any]) -> None:
        super().__init__(address)
        self._version = target["id"]
        # How many values the type of each unsigned field has.
        unsigned = [field for field in read_signature(target)[0] if field.type.startswith("uint")]
        self._sizes = {field.name: 2 ** int(field.type.removeprefix("uint")) for field in unsigned}

    def newest(
        self,
        count: int | None = None,
        is_wanted: Callable[[Request], bool] = lambda request: True,
        margin: int = MARGIN,
    ) -> list[Request]:
        """Return the newest requests, at most `count` that are wanted, the oldest first."""
        requests: list[Request] = []
        passed_over = 0
        listed, what = self._list(), "reading"
        for request in tqdm(listed, what, unit="request", disable=None, leave=False, delay=1):
            passed_over = 0 if is_wanted(request) else passed_over + 1
            if not passed_over:
                requests.append(request)
            if len(requests) == count or passed_over == margin:
                break
        return requests[::-1]

    def request(self, identity: str) -> Request | None:
        """Return the request of an id, of any target, or of a UUID; None if there is none."""
        if not re.fullmatch("[0-9a-f]{24}", identity):
            found = self.newest(1, lambda request: request.uuid == identity, FURTHEST)
            return found[0] if found else None
        try:
            answer = self.call("GET", f"checks/{identity}")
        except HTTPProblem as error:
            if error.status not in (404, 500):  # it takes an id of digits alone for a version
                raise
            return None
        return None if answer is None else self._read(answer)

    def _list(self) -> Iterator[Request]:
        """Yield the requests, each once, although what arrives meanwhile moves the pages."""
        seen: set[str] = set()
        offset = stale = 0
        while stale < STALE_PAGES:
            path = f"checks/all/{self._version}?limit={PAGE}&offset={offset}"
            listed = self.call("GET", path)
            with self.reading():
                new = {result["_id"]: result for result in listed if result["_id"] not in seen}
            if not listed:
                return
            offset += len(listed)
            stale = 0 if new else stale + 1
            seen.update(new)
            yield from map(self._read, new.values())

    def _read(self, result: dict[str, Any]) -> Request:
        with self.reading():
            identity = result["_id"]
            if not re.fullmatch("[0-9a-f]{24}", identity):
                raise ValueError(f"expected an id of 24 hexadecimal digits, got {identity!r}")
            names = [name for name in result if not name.startswith("_hs_") and name != "_id"]
            inputs = {name: read_number(result[name]) for name in names}
            for name in self._sizes.keys() & inputs.keys():
                value = inputs[name]
                if isinstance(value, int) and value < 0:  # as sonar keeps what its type cannot hold
                    inputs[name] = value + self._sizes[name]
            checks, unread = {}, {}
            for name, check in (result.get("_hs_metric_checks") or {}).items():
                said = check if isinstance(check, dict) else {}
                try:
                    score, threshold = map(_read_float, map(said.get, ("value", "threshold")))
                    checks[name] = Check(score, threshold, str(said.get("metricSpecId")))
                except (OverflowError, TypeError, ValueError) as error:
                    unread[name] = str(error)
            failure, uuid = (str(result.get(key) or "") for key in ("_hs_error", "_hs_request_id"))
            version = read_number(result.get("_hs_model_version_id"))
            second = int(identity[:8], 16)
            return Request(identity, second, inputs, checks, unread, failure, uuid, version)


def _read_float(value: object) -> float:
    number = read_number(value)
    if not isinstance(number, (int, float)) or isinstance(number, bool):
        raise TypeError("null" if number is None else f"a {type(number).__name__}")
    if not math.isfinite(number):
        raise ValueError(f"{number}")
    return float(number)


def format_time(second: float) -> str:
    """Write an epoch second as this machine's time of day: ``'2026-11-24 13:14:02+00:00'``."""
    return datetime.fromtimestamp(second).astimezone().isoformat(" ", "seconds")
