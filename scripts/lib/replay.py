"""What became of the requests of a replay: the record, and its CSV file."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from lib import census
from lib.command import UserError, replacing
from lib.detector import reasons

if TYPE_CHECKING:
    from portable_knn import PortableKNN

PASSED, ALARM, REJECTED, FAILED = "passed", "alarm", "rejected", "failed"


@dataclass(slots=True)
class Outcome:
    """What became of one request.

    Attributes
    ----------
    row : int
        Position in the replay, from 0.
    source : str
        Where the replayed rows are from: ``'uci'``, ``'sample'`` or a file's name.
    drift : str
        Name of the drift that the row was sent with, or ''.
    sent : tuple of int
        The metric's inputs, in the order of `census.FEATURES`: the request and the target's
        answer; without the answer if there was none.
    value : float
        The score, 0.0 if the metric returned none in `double_val`, as sonar reads it.
    result : str
        ``'passed'``, ``'alarm'``, ``'rejected'`` by the contract, or ``'failed'`` in a function.
    reason : str
        Why it was rejected or failed, or ''.
    p_value : float
        How rare the score is among the training rows' own, NaN if the artifact at hand scores
        the request otherwise.
    because : str
        The feature that the score is mostly made of, and its share; '' likewise.
    target_ms, metric_ms : float
        Latency of each hop in milliseconds, NaN for a hop that was not taken.
    """

    row: int
    source: str
    drift: str
    sent: tuple[int, ...]
    value: float = float("nan")
    result: str = FAILED
    reason: str = ""
    p_value: float = float("nan")
    because: str = ""
    target_ms: float = float("nan")
    metric_ms: float = float("nan")

    @property
    def is_scored(self) -> bool:
        return self.result in (PASSED, ALARM)

    def judge(self, value: float, threshold: float) -> None:
        """Take the metric's value as the platform does: healthy if value <= threshold."""
        self.value = value
        self.result = PASSED if value <= threshold else ALARM


def account(outcomes: Sequence[Outcome], detector: PortableKNN) -> int:
    """Say of each score how rare it is and because of what; return how many are not its own."""
    scored = [outcome for outcome in outcomes if outcome.is_scored]
    if not scored:
        return 0
    rows = [outcome.sent for outcome in scored]
    own = detector.decision_function(rows)
    told = zip(scored, own, detector.p_value(own), reasons(detector, rows), strict=True)
    for outcome, value, p_value, because in told:
        if outcome.value == value:
            outcome.p_value, outcome.because = float(p_value), because
    return sum(math.isnan(outcome.p_value) for outcome in scored)


def normal_rate_of(outcomes: Sequence[Outcome]) -> float | None:
    """Return the share of training rows that score above the threshold, as far as p-values tell."""
    known = [one for one in outcomes if not math.isnan(one.p_value)]
    passed = [one.p_value for one in known if one.result == PASSED]
    return min(passed, default=max((one.p_value for one in known), default=None))


# The CSV has the fields of an outcome, and each feature that was sent as a column of its own.
NAMES = [field.name for field in fields(Outcome)]
SENT = NAMES.index("sent")
HEADER = [*NAMES[:SENT], *census.FEATURES, *NAMES[SENT + 1 :]]


def write_csv(outcomes: Sequence[Outcome], path: Path) -> None:
    with replacing(path) as new, new.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for outcome in outcomes:
            cells = astuple(outcome)
            missing = [""] * (len(census.FEATURES) - len(outcome.sent))
            writer.writerow([*cells[:SENT], *outcome.sent, *missing, *cells[SENT + 1 :]])


def read_csv(path: Path, threshold: float) -> list[Outcome]:
    """Read what `write_csv` wrote, and hold the values against a threshold again."""
    try:
        with path.open(newline="") as file:
            outcomes = [_read_line(line) for line in csv.DictReader(file)]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        problem = f"{type(error).__name__}: {error}"
        raise UserError(f"{path} was not written by shadow.py, or is cut: {problem}") from error
    if not outcomes:
        raise UserError(f"{path} holds no requests")
    for outcome in outcomes:
        if outcome.is_scored:
            outcome.judge(outcome.value, threshold)
    return outcomes


def _read_line(line: dict[str, str]) -> Outcome:
    sent = tuple(int(line[name]) for name in census.FEATURES if line[name])
    outcome = Outcome(int(line["row"]), line["source"], line["drift"], sent)
    outcome.result, outcome.reason = line["result"], line["reason"]
    for name in ("value", "target_ms", "metric_ms"):
        setattr(outcome, name, float(line[name]))
    # Earlier files have neither.
    outcome.p_value, outcome.because = float(line.get("p_value", "nan")), line.get("because", "")
    return outcome
