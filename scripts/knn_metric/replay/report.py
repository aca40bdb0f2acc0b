"""What became of a replay: its CSV file, and what is said and drawn of it."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from knn_metric.detection.calibration import rank_fields, require_calibration
from knn_metric.detection.change import ALERT, REPEATS
from knn_metric.detection.detectors import count_others
from knn_metric.detection.surprise import FieldSurprise
from knn_metric.detection.verdict import Change, Stream, Verdict
from knn_metric.files import replacing_file
from knn_metric.plotting import add_legend, add_title, mark, plot_stream, save
from knn_metric.replay.gateway import ALARM, FAILED, PASSED, REJECTED, Outcome
from knn_metric.tables import format_table
from portable_knn import PortableKNN


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


def corruption_start(outcomes: Sequence[Outcome]) -> int | None:
    """Return the first request that was sent with a corruption."""
    return next((outcome.row for outcome in outcomes if outcome.corruption), None)


def describe(replay: Replay) -> list[str]:
    """Say what was lost, what proportion of the requests raised an alarm, and what was detected."""
    outcomes, verdict = replay.outcomes, replay.verdict
    lines = []
    for result in (REJECTED, FAILED):
        lost = [outcome.reason for outcome in outcomes if outcome.result == result]
        if lost:
            lines.append(f"{len(lost):,} of {len(outcomes):,} {result}: {lost[0]}")
    if replay.n_scored:
        lines.append(_describe_rate(outcomes))
        lines += [_describe_change(outcomes, one, "loss of scores") for one in verdict.missing]
        for one in verdict.changes:
            lines.append(_describe_change(outcomes, one))
            lines += [_describe_field(replay, one)] if one.field else []
        lines += [] if verdict.changes else ["no change detected"]
    return lines


def _describe_rate(outcomes: Sequence[Outcome]) -> str:
    before = [outcome for outcome in outcomes if not outcome.corruption]
    since = [outcome for outcome in outcomes if outcome.corruption]
    if not since:
        return f"{_percent(outcomes)} of {len(outcomes):,} requests raise an alarm"
    rates = _percent(since)
    if before:
        rates = f"{_percent(before)} before, {rates} since, {_percent(outcomes)} in all"
    return f"{since[0].corruption} from request {since[0].row:,} on: alarms {rates}"


def _percent(outcomes: Sequence[Outcome]) -> str:
    alarms = [outcome.result == ALARM for outcome in outcomes if outcome.is_scored]
    return f"{np.mean(alarms):.1%}" if alarms else "none scored"


def _describe_change(outcomes: Sequence[Outcome], change: Change, what: str = "change") -> str:
    """Say at which request a change was detected, and about when it began."""
    detected, onset = (outcomes[place].row for place in (change.detected, change.onset))
    start, after = corruption_start(outcomes), ""
    if start is not None:
        gap = detected - start
        after = f", {abs(gap):,} {'after' if gap >= 0 else 'before'} the corruption began"
    return f"{what} detected at request {detected:,}{after}; it began at about request {onset:,}"


def _describe_field(replay: Replay, change: Change) -> str:
    """Say how many requests since the onset exceed that level of the field which most exceed."""
    if change.field == REPEATS:
        return REPEATS
    end = None if replay.verdict.goes_on(change) else change.last + 1
    column = replay.surprises[change.onset : end, replay.names.index(change.field)]
    requests = int(np.sum(~np.isnan(column)))
    known = zip(*replay.calibration["fields"][change.field], strict=True)
    counts = [(int(np.sum(column > level)), requests * above / n) for level, above, n in known]
    above, usual = max(counts, key=lambda one: one[0] - one[1])
    return f"{change.field}: {above:,} of {requests:,} requests, {usual:,.0f} usual"


def format_summary(replay: Replay) -> str:
    """Return the table: what became of the requests, and how long each hop took."""
    outcomes = replay.outcomes
    counts = Counter(outcome.result for outcome in outcomes)
    rows = [["requests", f"{len(outcomes):,}"]]
    for result in (PASSED, ALARM, REJECTED, FAILED):
        if counts[result] or result in (PASSED, ALARM):
            rows.append([result, f"{counts[result]:,}"])
    rows.append(["latency, ms", "p50", "p95", "p99"])
    for hop in ("target", "metric"):
        taken = np.array([getattr(outcome, f"{hop}_ms") for outcome in outcomes])
        taken = taken[~np.isnan(taken)]
        if len(taken):
            rows.append([hop, *(f"{cell:.2f}" for cell in np.percentile(taken, [50, 95, 99]))])
    pairs = zip(outcomes, replay.top_features, strict=True)
    alarms = Counter(top for one, top in pairs if one.result == ALARM and top)
    features = ", ".join(f"{name} {count:,}" for name, count in alarms.most_common())
    return format_table(rows) + (f"\ntop features of alarms: {features}" if features else "")


def plot(replay: Replay, title: str, path: Path) -> None:
    """Draw a replay: each score against the threshold, and the evidence of a change below."""
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    places = [one.row for one in replay.outcomes]
    scores = np.array([one.value if one.is_scored else np.nan for one in replay.outcomes])
    plot_stream(axes, places, scores, replay.evidence, replay.threshold, ALERT)
    end = places[-1] + 1
    axes[1].set_xlim(-0.01 * end, 1.01 * end)
    axes[1].set_xlabel("request")
    start = corruption_start(replay.outcomes)
    if start is not None:
        mark(axes, start, f"corruption begins, {start:,}", "black")
    for change in replay.verdict.changes[:1]:
        detected = places[change.detected]
        mark(axes, detected, f"change detected, {detected:,}", "tab:green")
    rows = "the sample of synthetic people" if replay.source == "sample" else replay.source
    add_title(figure, "\n".join([f"{title}, rows of {rows}", *describe(replay)]))
    add_legend(figure)
    save(figure, path)
