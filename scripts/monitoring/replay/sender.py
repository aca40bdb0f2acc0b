"""Rows chosen, corrupted from some request on, and sent as fast as is asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from monitoring.data.corruptions import Corruption, corrupt, corrupt_answer
from monitoring.data.rows import Rows
from monitoring.hydrosphere.server import serving
from monitoring.hydrosphere.target import is_address
from monitoring.replay.gateway import Change, Gateway, Request
from monitoring.replay.outcome import Outcome


class Plan(NamedTuple):
    """What to send.

    Attributes
    ----------
    rows : Rows
    n_requests : int
        Requests; the rows are sent over and over if they are fewer.
    seed : int
        Of the rows' order and of what is random in a corruption.
    corruption : Corruption or None
    start : int
        The request from which on rows are corrupted.
    """

    rows: Rows
    n_requests: int
    seed: int
    corruption: Corruption | None
    start: int

    def requests(self) -> Iterator[Request]:
        rows = self.rows.take(np.random.default_rng(self.seed).permutation(len(self.rows)))
        corrupted = corrupt(self.corruption, rows, self.seed) if self.corruption else rows
        name = self.corruption.name if self.corruption else ""
        for number in range(self.n_requests):
            begun = number >= self.start
            values = (corrupted if begun else rows).values[number % len(rows)]
            yield Request(number, name if begun else "", values)

    def change(self) -> Change | None:
        """Return what the corruption makes of the target's answers."""
        corruption, rows = self.corruption, self.rows
        if corruption is None:
            return None

        def change(field: str, answer: float, row: int) -> float:
            if field not in corruption.fields or len(corruption.fields) > 1:
                return answer
            return corrupt_answer(corruption, answer, rows, seed=row)

        return change


def serve_or_call(place: str | Path) -> AbstractContextManager[str]:
    """Return the address of a runtime, which is started if a package's folder is named."""
    return nullcontext(str(place)) if is_address(place) else serving(Path(place))


def send_all(gateway: Gateway, plan: Plan, concurrency: int, rate: float) -> Iterator[Outcome]:
    """Send all requests; yield outcomes as they come.

    Parameters
    ----------
    gateway : Gateway
    plan : Plan
    concurrency : int
        Requests at a time.
    rate : float
        Requests a second at most, 0 for no limit.
    """
    stop, began = threading.Event(), time.perf_counter()
    requests = plan.requests()

    def send(request: Request) -> Outcome:
        if rate:
            stop.wait(began + request.row / rate - time.perf_counter())
        return gateway.send(request)

    with ThreadPoolExecutor(concurrency) as pool:
        try:
            waiting = {pool.submit(send, request) for request in islice(requests, 2 * concurrency)}
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                waiting |= {pool.submit(send, request) for request in islice(requests, len(done))}
                for future in done:
                    yield future.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
