"""What a detector sees: alarms on corrupted rows, and the requests until a change is detected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import binomtest
from tqdm import tqdm

from monitoring.data.corruptions import Corruption, corrupt
from monitoring.data.rows import Rows
from monitoring.detection.attribution import Attribution, find_excess
from monitoring.detection.change_detection import ALERT, Bets, require_calibration
from monitoring.tables import format_table

if TYPE_CHECKING:
    from monitoring.hydrosphere.target import Target
    from portable_knn import PortableKNN

CONTAMINATIONS = (0.1, 0.05, 0.02, 0.01, 0.001)
STREAMS = 200
HEALTHY = 500  # requests of a stream before its corruption begins
MOST = 5000  # requests after which a corruption counts as missed
EXPLAINED = 1000  # requests that the reason comes from


@dataclass(frozen=True)
class Result:
    """What a detector sees of one kind of rows.

    Attributes
    ----------
    name, cause : str
        Of the corruption, or ``'clean'`` and ''.
    scores : ndarray, shape (n,)
    alarms : float
        The proportion of rows that raise an alarm.
    median, p90 : int or None
        Requests until the change is detected, of `STREAMS` streams; None where that is missed.
    field : str or None
        The field that is named as the reason; None where the change is missed.
    """

    name: str
    cause: str
    scores: np.ndarray
    alarms: float
    median: int | None = None
    p90: int | None = None
    field: str | None = None

    def to_json(self) -> dict[str, Any]:
        names = ("alarms", "median", "p90", "field")
        return {name: getattr(self, name) for name in names}


def corrupt_rows(
    rows: Rows, corruptions: Sequence[Corruption], target: Target | None
) -> dict[str, Rows]:
    """Corrupt rows in each way, the target answering the corrupted request.

    Parameters
    ----------
    rows : Rows
    corruptions : sequence of Corruption
        One of an answer corrupts it on its way from the target.
    target : Target or None
        Without it the recorded answers stay.

    Returns
    -------
    dict of str to Rows
        By the name of the corruption; the first are the clean ones.
    """

    def answer(rows: Rows) -> Rows:
        return target.answer(rows) if target else rows

    changed = {"clean": answer(rows)}
    for one in tqdm(corruptions, "corrupting", disable=None, leave=False):
        of_answer = target is not None and set(one.fields) <= set(target.answered)
        changed[one.name] = (
            corrupt(one, changed["clean"]) if of_answer else answer(corrupt(one, rows))
        )
    return changed


def evaluate(
    detector: PortableKNN, changed: dict[str, Rows], corruptions: Sequence[Corruption]
) -> list[Result]:
    """Score clean and corrupted rows, and measure when each change is detected.

    Raises
    ------
    UserError
        If the artifact has no calibration.
    """
    calibration = require_calibration(detector)
    bets, attribution = Bets.of(calibration), Attribution(detector)
    clean = detector.decision_function(changed["clean"].values)
    threshold = detector.threshold_
    results = [Result("clean", "", clean, float(np.mean(clean > threshold)))]
    for one in tqdm(corruptions, "evaluating", disable=None, leave=False):
        values = changed[one.name].values
        scores = detector.decision_function(values)
        delays = measure_delays(clean, scores, bets)
        median, p90 = (_quantile(delays, proportion) for proportion in (0.5, 0.9))
        field = None
        if median is not None:
            alarms = values[:EXPLAINED][scores[:EXPLAINED] > threshold]
            tops = attribution.top_features(alarms) if len(alarms) else []
            excess = find_excess(tops, min(EXPLAINED, len(values)), calibration)
            field = excess.feature if excess else None
        rate = float(np.mean(scores > threshold))
        results.append(Result(one.name, one.cause, scores, rate, median, p90, field))
    return results


def measure_delays(clean: np.ndarray, corrupted: np.ndarray, bets: Bets) -> np.ndarray:
    """Return after how many requests a corruption is detected, in streams that are drawn at random.

    Parameters
    ----------
    clean, corrupted : ndarray, shape (n,)
        Scores to draw from, before the corruption and since.

    Returns
    -------
    ndarray, shape (STREAMS,), dtype float64
        Infinite where it takes more than `MOST` requests.
    """
    random = np.random.default_rng(0)
    factors = np.array(bets.factors)
    before, since = (np.searchsorted(bets.levels, scores) for scores in (clean, corrupted))
    sums = np.zeros((STREAMS, factors.shape[1]))
    for _ in range(HEALTHY):
        sums = (sums + 1) * factors[random.choice(before, STREAMS)]
        sums[sums.mean(axis=1) >= ALERT] = 0
    delays = np.full(STREAMS, np.inf)
    for request in range(1, MOST + 1):
        sums = (sums + 1) * factors[random.choice(since, STREAMS)]
        detected = sums.mean(axis=1) >= ALERT
        delays[detected] = np.minimum(delays[detected], request)
        sums[detected] = 0
        if np.isfinite(delays).all():
            break
    return delays


def _quantile(delays: np.ndarray, proportion: float) -> int | None:
    value = np.quantile(delays, proportion, method="inverted_cdf")
    return int(value) if np.isfinite(value) else None


def format_clean(clean: Result) -> str:
    n = len(clean.scores)
    low, high = binomtest(round(clean.alarms * n), n).proportion_ci(method="wilson")
    return f"{clean.alarms:.2%}, 95% interval {low:.2%} to {high:.2%}"


def format_results(results: Sequence[Result]) -> str:
    """Return the table: by corruption the alarms, and when and why it is detected."""
    table = [["rows", "alarms", "median", "90%", "field", "what went wrong"]]
    for one in results:
        delays = _format_delays(one)
        table.append([one.name, f"{one.alarms:.1%}", *delays, one.field or "", one.cause])
    return format_table(table, "<<>><<")


def _format_delays(result: Result) -> tuple[str, str]:
    if result.name == "clean":
        return "", ""
    median, p90 = (f"{n:,}" if n is not None else "-" for n in (result.median, result.p90))
    return median, p90


def format_thresholds(results: Sequence[Result], training_scores: np.ndarray) -> str:
    """Say what other thresholds would do, each one that training with a contamination sets."""
    thresholds = [np.quantile(training_scores, 1 - one) for one in CONTAMINATIONS]
    rows = [
        ["contamination", *(f"{one:.1%}" for one in CONTAMINATIONS)],
        ["threshold", *(f"{threshold:.3f}" for threshold in thresholds)],
    ]
    for one in results:
        rates = (np.mean(one.scores > threshold) for threshold in thresholds)
        rows.append([one.name, *(f"{rate:.1%}" for rate in rates)])
    return format_table(rows)
