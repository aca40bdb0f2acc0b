"""Sonar, the platform's monitoring: what it keeps of a target's requests and their checks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from lib.mongo import read_integer
from lib.platform import Service

from tqdm import tqdm

PAGE = 50  # results at a time
LARGEST_BATCH = 2**31 - 1  # requests; sonar counts them in 32 bits


class Batch(NamedTuple):
    """What sonar counted among requests that followed each other.

    Attributes
    ----------
    id : str
    start, end : int
        When the first request and the last so far were checked, in epoch seconds.
    requests : int
    counts : dict of str to (int, int)
        By metric: requests that it checked, and alarms. One that never answered has no entry.
    """

    id: str
    start: int
    end: int
    requests: int
    counts: dict[str, tuple[int, int]]


class Alarm(NamedTuple):
    """A request that failed a metric's check.

    Attributes
    ----------
    request : str
        Its id.
    second : int
        When it was checked.
    value, threshold : float
    inputs : dict of str to object
        The target's fields, inputs and outputs, by name.
    """

    request: str
    second: int
    value: float
    threshold: float
    inputs: dict[str, object]


class Sonar(Service):
    """A cluster's sonar, read page by page."""

    NAME = "sonar"
    ROOT = "/monitoring/"

    def batches(self, version: int, requests: float, since: float) -> list[Batch]:
        """Return a version's newest batches, the oldest of them first.

        Parameters
        ----------
        version : int
            The target's id.
        requests : float
            How many the batches must cover, if there are so many.
        since : float
            Epoch second; batches that ended before it are left out.
        """
        batches: list[Batch] = []
        missing = requests
        # Only where it takes long.
        with tqdm(desc="reading", unit="batch", disable=None, leave=False, delay=1) as bar:
            for result in self._pages(f"checks/aggregates/{version}"):
                with self.reading():
                    batch = _read_batch(result)
                if batch.end < since:
                    break
                batches.append(batch)
                bar.update()
                missing -= batch.requests
                if missing <= 0:
                    break
        return batches[::-1]

    def alarms(self, version: int, metric: str, most: int, among: int) -> list[Alarm]:
        """Return the newest alarms that a metric raised, from among a version's newest requests."""
        alarms: list[Alarm] = []
        for position, result in enumerate(self._pages(f"checks/all/{version}")):
            if position == among or len(alarms) == most:
                break
            with self.reading():
                check = result["_hs_metric_checks"].get(metric)
                if check and not check["check"]:
                    alarms.append(_read_alarm(result, check))
        return alarms

    def _pages(self, path: str) -> Iterator[dict]:
        """Yield what is listed, each once, although what arrives meanwhile moves the pages."""
        seen: set[str] = set()
        while True:
            answer = self.call("GET", f"{path}?limit={PAGE}&offset={len(seen)}")
            with self.reading():
                listed = answer["results"] if isinstance(answer, dict) else answer
                new = {result["_id"]: result for result in listed if result["_id"] not in seen}
            if not new:
                return
            seen.update(new)
            yield from new.values()


def _read_batch(result: dict) -> Batch:
    requests = read_whole(result["_hs_requests"])
    counts = {}
    # A batch for which no metric ever answered has none.
    for metric, count in result.get("_hs_metrics", {}).items():
        checked, passed = read_whole(count["checked"]), read_whole(count["passed"])
        if not 0 <= passed <= checked <= requests:
            raise ValueError(f"{passed} of {checked} checks passed in {requests} requests")
        counts[metric] = checked, checked - passed
    if not 1 <= requests <= LARGEST_BATCH:
        raise ValueError(f"{requests} requests in a batch")
    start, end = _second(result["_hs_first_id"]), _second(result["_hs_last_id"])
    return Batch(result["_id"], start, end, requests, counts)


def _read_alarm(result: dict, check: dict) -> Alarm:
    inputs = {
        name: read_integer(value) for name, value in result.items() if not name.startswith("_")
    }
    value, threshold = float(check["value"]), float(check["threshold"])
    request = str(result["_hs_request_id"])
    return Alarm(request, _second(result["_id"]), value, threshold, inputs)


def read_whole(value: object) -> int:
    """Read a 64-bit integer in either spelling; raise ValueError if it is none."""
    number = read_integer(value)
    if type(number) is not int or not -(2**63) <= number < 2**63:
        raise ValueError(f"expected a whole number, got {value!r}")
    return number


def _second(identity: str) -> int:
    """Return the epoch second in which Mongo made an id."""
    return int(identity[:8], 16)


def format_time(second: float) -> str:
    """Write an epoch second as this machine's time of day: ``'2026-11-24 13:14:02+00:00'``."""
    return datetime.fromtimestamp(second).astimezone().isoformat(" ", "seconds")
