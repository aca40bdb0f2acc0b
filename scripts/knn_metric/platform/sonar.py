"""Sonar, the platform's monitoring: the requests of a target, and their checks by each metric."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from tqdm import tqdm

from knn_metric.data.times import read_number
from knn_metric.platform.manager import Service

PAGE = 200  # results at a time
STALE_PAGES = 10  # without anything new, after which there is nothing more


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
    """

    id: str
    second: int
    inputs: dict[str, object]
    checks: dict[str, Check]


class Sonar(Service):
    """A cluster's sonar."""

    NAME = "sonar"
    ROOT = "/monitoring/"

    def newest(
        self, version: int, count: int, since: float = 0, known: frozenset[str] = frozenset()
    ) -> list[Request]:
        """Return a version's newest requests, the oldest of them first.

        Parameters
        ----------
        version : int
            The target's id.
        count : int
            How many at most.
        since : float
            Epoch second; older requests are left out.
        known : frozenset of str
            Ids; the first of them that is met ends the reading.
        """
        requests: list[Request] = []
        # Only where it takes long.
        with tqdm(desc="reading", unit="request", disable=None, leave=False, delay=1) as bar:
            for result in self._pages(f"checks/all/{version}"):
                with self.reading():
                    request = _read_request(result)
                if len(requests) == count or request.second < since or request.id in known:
                    break
                requests.append(request)
                bar.update()
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
            answer = self.call("GET", f"{path}?limit={PAGE}&offset={offset}")
            with self.reading():
                listed = answer["results"] if isinstance(answer, dict) else answer
                new = {result["_id"]: result for result in listed if result["_id"] not in seen}
            if not listed:
                return
            offset += len(listed)
            stale = 0 if new else stale + 1
            seen.update(new)
            yield from new.values()


def _read_request(result: dict[str, Any]) -> Request:
    inputs = {
        name: read_number(value) for name, value in result.items() if not name.startswith("_")
    }
    checks = {
        name: Check(_read_float(check["value"]), _read_float(check["threshold"]))
        for name, check in (result.get("_hs_metric_checks") or {}).items()
    }
    identity = result["_id"]
    return Request(identity, _second(identity), inputs, checks)


def _read_float(value: object) -> float:
    number = read_number(value)
    if type(number) not in (int, float):
        raise ValueError(f"expected a number, got {value!r}")
    return float(number)  # type: ignore[arg-type]


def _second(identity: str) -> int:
    """Return the epoch second in which Mongo made an id."""
    if len(identity) != 24:
        raise ValueError(f"expected an id of 24 hexadecimal digits, got {identity!r}")
    return int(identity[:8], 16)


def format_time(second: float) -> str:
    """Write an epoch second as this machine's time of day: ``'2026-11-24 13:14:02+00:00'``."""
    return datetime.fromtimestamp(second).astimezone().isoformat(" ", "seconds")
