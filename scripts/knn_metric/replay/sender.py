"""Rows chosen, corrupted from some request on, and sent as fast as is asked for."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from knn_metric.cli import FAILED, INTERRUPTED, UserError, complain
from knn_metric.data.cells import NO_TIME
from knn_metric.data.corruptions import Corruption, corrupt, corrupt_answer
from knn_metric.data.rows import Rows
from knn_metric.detection.calibration import HOUR
from knn_metric.platform.server import serving
from knn_metric.platform.target import Target, is_address
from knn_metric.replay.gateway import Gateway, Outcome, Request


class Plan(NamedTuple):
    """What to send."""

    rows: Rows
    n_requests: int  # the rows are sent over and over if they are fewer
    seed: int  # of the rows' order and of what is random in a corruption
    corruption: Corruption | None
    start: int  # the request from which on rows are corrupted
    repeat: int = 1  # times in a row that each row is sent
    # Whether rows of each hour follow those of the one before, as many as the hour's proportion.
    by_hour: bool = False

    @property
    def rounds(self) -> int:
        """How many times the rows are gone through."""
        return -(-self.n_requests // (self.repeat * len(self.rows)))

    def requests(self) -> Iterator[Request]:
        order = np.random.default_rng(self.seed).permutation(len(self.rows))
        if self.by_hour and self.rows.times is not None:
            order = order[np.argsort(self.rows.times[order] // HOUR % 24, kind="stable")]
        # Each round spreads over all rows, and so over the whole day, however few of them it takes.
        n_turns = -(-self.n_requests // self.repeat)
        turns = np.arange(n_turns) * self.rounds * len(order) // n_turns % len(order)
        rows = self.rows.take(order)
        corrupted = corrupt(self.corruption, rows, self.seed) if self.corruption else rows
        name = self.corruption.name if self.corruption else ""
        for number in range(self.n_requests):
            own = (name, corrupted) if number >= self.start else ("", rows)
            yield Request(number, *own, int(turns[number // self.repeat]))

    def change(self, field: str, answer: float, number: int) -> float:
        """Return what the corruption makes of an answer of the target's to a request."""
        if self.corruption is None or self.corruption.fields != (field,):
            return answer
        return corrupt_answer(self.corruption, answer, self.rows, seed=number // self.repeat)


def take_timed(rows: Rows) -> Rows:
    """Return the rows that have a time, of which there must be some."""
    if rows.times is None or (rows.times == NO_TIME).all():
        raise UserError(f"--pattern=hours: the rows of {rows.source} have no times, see --time")
    return rows.take(np.flatnonzero(rows.times != NO_TIME))


def _serve_or_call(place: str | Path) -> AbstractContextManager[str]:
    """Return the address of a runtime, which is started if a package's folder is named."""
    return nullcontext(str(place)) if is_address(place) else serving(Path(place))


def send(
    target: Target,
    metric: str | Path,
    plan: Plan,
    threshold: float,
    concurrency: int,
    rate: float,
) -> tuple[list[Outcome], int]:
    """Serve what is not running yet, and send all requests, so many a second at most.

    Return what became of those that were sent, and the exit status where not all were.
    """
    outcomes: list[Outcome] = []
    try:
        with (
            tqdm(total=plan.n_requests, desc="starting", unit="request", disable=None) as bar,
            _serve_or_call(target.place) as first,
            _serve_or_call(metric) as second,
        ):
            bar.set_description("replaying")
            gateway = Gateway.between(first, second, target, threshold, plan.change)
            for outcome in _send_all(gateway, plan, concurrency, rate):
                outcomes.append(outcome)
                bar.update()
    except KeyboardInterrupt:
        complain(f"interrupted after {len(outcomes):,} of {plan.n_requests:,} requests")
        return outcomes, INTERRUPTED
    except UserError as error:
        if not outcomes:
            raise
        complain(f"{error}, after {len(outcomes)} requests")
        return outcomes, FAILED
    return outcomes, 0


def _send_all(gateway: Gateway, plan: Plan, concurrency: int, rate: float) -> Iterator[Outcome]:
    stop, began = threading.Event(), time.perf_counter()
    requests = plan.requests()

    def send(request: Request) -> Outcome:
        if rate:
            stop.wait(began + request.number / rate - time.perf_counter())
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
