"""What became of the requests of a replay: the record, and its CSV file."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from knn_metric.detection.calibration import rank_fields, require_calibration
from knn_metric.detection.detectors import count_others
from knn_metric.detection.surprise import FieldSurprise
from knn_metric.detection.verdict import Stream, Verdict
from knn_metric.files import replacing_file
from portable_knn import PortableKNN

PASSED, ALARM, REJECTED, FAILED = "passed", "alarm", "rejected", "failed"


class Outcome(NamedTuple):
    """What became of one request; NaN is what is not known."""

    row: int  # position in the replay, from 0
    corruption: str  # that the row was sent with, or ''
    sent: tuple[float, ...]  # the metric's inputs, up to the first one that there was not
    value: float = np.nan  # the score, 0.0 if the metric returned none in `double_val`, as in sonar
    result: str = FAILED  # in a function; or PASSED, ALARM, or REJECTED by the contract
    reason: str = ""  # why it was rejected or failed
    target_ms: float = np.nan  # latency of each hop
    metric_ms: float = np.nan

    @property
    def is_scored(self) -> bool:
        return self.result in (PASSED, ALARM)


class Replay(NamedTuple):
    """A replay of n requests of m fields, and what the artifact at hand makes of it."""

    calibration: dict[str, Any]  # the artifact's
    source: str  # of the rows
    threshold: float
    outcomes: list[Outcome]  # in the order in which they were sent
    p_values: np.ndarray  # (n,): the proportion of training rows with such a score or a higher one
    surprises: np.ndarray  # (n, m)
    n_others: int  # scores of another artifact, of which nothing is said
    verdict: Verdict
    evidence: np.ndarray  # (n,): of a change, with each request

    @property
    def names(self) -> list[str]:
        """The metric's inputs, in the contract's order."""
        return list(self.calibration["fields"])

    @property
    def n_scored(self) -> int:
        return sum(one.is_scored for one in self.outcomes)

    @property
    def top_features(self) -> list[str]:
        """The field of each request whose surprise is rarest, '' if that is not known."""
        if self.n_others:
            return [""] * len(self.outcomes)
        tops = rank_fields(self.calibration, self.surprises).argmax(axis=1)
        pairs = zip(self.outcomes, tops, strict=True)
        return [self.names[top] if one.is_scored else "" for one, top in pairs]


def judge(
    outcomes: Sequence[Outcome], source: str, threshold: float, detector: PortableKNN
) -> Replay:
    """Say what an artifact makes of the requests of a replay."""
    calibration = require_calibration(detector)
    ordered = sorted(outcomes, key=lambda outcome: outcome.row)
    unknown = (np.nan,) * detector.training_rows_.shape[1]
    rows = np.array([one.sent if len(one.sent) == len(unknown) else unknown for one in ordered])
    is_scored = np.array([one.is_scored for one in ordered])
    scores = np.array([one.value for one in ordered])
    p_values, surprises = np.full(len(rows), np.nan), np.full(rows.shape, np.nan)
    fields, evidence = FieldSurprise.of(detector), np.empty(0)
    stream = Stream(calibration, threshold, fields)
    # Ours never answers NaN.
    n_others = count_others(detector, rows, scores)[1] + int(np.isnan(scores[is_scored]).sum())
    if not n_others:
        p_values = detector.p_value(scores)
        surprises[is_scored] = fields.surprise(rows[is_scored])
        evidence = stream.feed(rows, scores, surprises)
    known = ordered, p_values, surprises, n_others, stream.verdict(), evidence
    return Replay(calibration, source, threshold, *known)


def write_csv(replay: Replay, path: Path) -> None:
    """Write a line for each request, each input in a column of its own."""
    head = ["row", "source", "corruption", *replay.names, "value", "result", "reason"]
    with replacing_file(path) as new, new.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*head, "p_value", "top_feature", "target_ms", "metric_ms"])
        known = zip(replay.outcomes, replay.p_values.tolist(), replay.top_features, strict=True)
        for one, p_value, top_feature in known:
            sent = [f"{number:.17g}" for number in one.sent]
            sent += [""] * (len(replay.names) - len(sent))
            cells = [one.row, replay.source, one.corruption, *sent, one.value, one.result]
            cells += [one.reason, p_value, top_feature, one.target_ms, one.metric_ms]
            writer.writerow(cells)
