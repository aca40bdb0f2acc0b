"""Sonar, the platform's monitoring: the requests of a target, and their checks by each metric."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from tqdm import tqdm

from knn_metric.data.times import read_number
from knn_metric.platform.manager import Service

PAGE = 200  # results at a time
STALE_PAGES = 10  # without anything new, after which there is nothing more
# Requests in a row that are not wanted, after which none is expected: some are listed late.
MARGIN = 400


class Check(NamedTuple):
    """What a metric made of a request: its score, held against a threshold."""

    value: float
    threshold: float

    @property
    def is_alarm(self) -> bool:
        return self.value > self.threshold


class Request(NamedTuple):
    """A request that the target answered.

    Attributes
    ----------
    id : str
        Mongo's, of 24 hexadecimal digits, which begin with the time.
    second : int
        When it was checked, in epoch seconds.
    inputs : dict of str to object
        The target's inputs and answers by name; none if the target failed.
    checks : dict of str to Check
        By metric; one that did not answer has no entry.
    unread : dict of str to str
        By metric, what stands in place of the score.
    error : str
        Why the target failed; '' if it did not.
    uuid : str
        The gateway's, which the platform's own alerts carry.
    """

    id: str
    second: int
    inputs: dict[str, object]
    checks: dict[str, Check]
    unread: dict[str, str]
    error: str = ""
    uuid: str = ""
    version: object = None


class Sonar(Service):
    """A cluster's sonar."""

    NAME = "sonar"
    ROOT = "/monitoring/"

    def newest(
        self,
        version: int,
        count: int | None = None,
        is_wanted: Callable[[Request], bool] = lambda request: True,
    ) -> list[Request]:
        """Return a version's newest requests, at most `count` that are wanted, the oldest first."""
        requests: list[Request] = []
        passed_over = 0
        # Only where it takes long.
        with tqdm(desc="reading", unit="request", disable=None, leave=False, delay=1) as bar:
            for result in self._pages(f"checks/all/{version}"):
                with self.reading():
                    request = _read_request(result)
                passed_over = 0 if is_wanted(request) else passed_over + 1
                if not passed_over:
                    requests.append(request)
                    bar.update()
                if len(requests) == count or passed_over == MARGIN:
                    break
        return requests[::-1]

    def request(self, identity: str) -> Request:
        """Return the request of an id."""
        answer = self.call("GET", f"checks/{identity}")
        with self.reading():
            return _read_request(answer)

    def _pages(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield what is listed, each once, although what arrives meanwhile moves the pages."""
        seen: set[str] = set()
        offset = stale = 0
        while stale < STALE_PAGES:
            listed = self.call("GET", f"{path}?limit={PAGE}&offset={offset}")
            with self.reading():
                new = {result["_id"]: result for result in listed if result["_id"] not in seen}
            if not listed:
                return
            offset += len(listed)
            stale = 0 if new else stale + 1
            seen.update(new)
            yield from new.values()


def _read_request(result: dict[str, Any]) -> Request:
    identity = result["_id"]
    if not re.fullmatch("[0-9a-f]{24}", identity):
        raise ValueError(f"expected an id of 24 hexadecimal digits, got {identity!r}")
    inputs = {
        name: read_number(value)
        for name, value in result.items()
        if not name.startswith("_hs_") and name != "_id"
    }
    checks, unread = {}, {}
    for name, check in (result.get("_hs_metric_checks") or {}).items():
        try:
            checks[name] = Check(_read_float(check["value"]), _read_float(check["threshold"]))
        except KeyError as error:
            unread[name] = f"no {error.args[0]}"
        except (TypeError, ValueError) as error:
            unread[name] = str(error) if isinstance(error, ValueError) else "no check"
    return Request(
        identity,
        int(identity[:8], 16),
        inputs,
        checks,
        unread,
        str(result.get("_hs_error") or ""),
        str(result.get("_hs_request_id") or ""),
        read_number(result.get("_hs_model_version_id")),
    )


def _read_float(value: object) -> float:
    number = read_number(value)
    if type(number) not in (int, float):
        raise ValueError("null" if number is None else f"a {type(number).__name__}")
    if not math.isfinite(number):  # type: ignore[arg-type]
        raise ValueError(f"{number}")
    return float(number)  # type: ignore[arg-type]


def format_time(second: float) -> str:
    """Write an epoch second as this machine's time of day: ``'2026-11-24 13:14:02+00:00'``."""
    return datetime.fromtimestamp(second).astimezone().isoformat(" ", "seconds")
