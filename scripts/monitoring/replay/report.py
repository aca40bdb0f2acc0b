"""What is said of a replay: what was lost, the alarm rate, and when a change was detected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from monitoring.detection.attribution import Excess, find_excess
from monitoring.detection.change_detection import Bets, ChangeDetector
from monitoring.replay.outcome import ALARM, FAILED, PASSED, REJECTED, Outcome, Replay
from monitoring.tables import format_table


class Detection(NamedTuple):
    """A change that was detected in a replay.

    Attributes
    ----------
    request, onset : int
        Rows of the replay: of the first alert, and about where the change began.
    excess : Excess or None
        The feature that alarms since the onset come from.
    """

    request: int
    onset: int
    excess: Excess | None


def detect_changes(
    replay: Replay, calibration: dict[str, Any]
) -> tuple[list[Detection], np.ndarray]:
    """Detect changes among the scores; return them with the evidence after each scored request."""
    detector = ChangeDetector(Bets.of(calibration))
    places = replay.scored
    evidence = np.array([detector.add(replay.outcomes[place].value) for place in places])
    detections = []
    for change in detector.changes:
        end = len(places) if detector.goes_on(change) else change.last + 1
        since = places[change.onset : end]
        alarms = [place for place in since if replay.outcomes[place].result == ALARM]
        tops = [replay.top_features[place] for place in alarms]
        excess = find_excess(tops, len(since), calibration)
        request, onset = (replay.outcomes[places[p]].row for p in (change.detected, change.onset))
        detections.append(Detection(request, onset, excess))
    return detections, evidence


def corruption_start(outcomes: Sequence[Outcome]) -> int | None:
    """Return the first request that was sent with a corruption."""
    return next((outcome.row for outcome in outcomes if outcome.corruption), None)


def describe(replay: Replay, detections: Sequence[Detection]) -> list[str]:
    """Say what was lost, what proportion of the requests raised an alarm, and what was detected."""
    outcomes = replay.outcomes
    lines = []
    for result in (REJECTED, FAILED):
        lost = [outcome.reason for outcome in outcomes if outcome.result == result]
        if lost:
            lines.append(f"{len(lost):,} of {len(outcomes):,} {result}: {lost[0]}")
    if replay.scored:
        lines.append(_describe_rate(outcomes))
        start = corruption_start(outcomes)
        for one in detections:
            lines.append(describe_detection(one, start))
            lines += [str(one.excess)] if one.excess else []
        lines += [] if detections else ["no change detected"]
    return lines


def _describe_rate(outcomes: Sequence[Outcome]) -> str:
    start = corruption_start(outcomes)
    if start is None:
        return f"{_percent(outcomes)} of {len(outcomes):,} requests raise an alarm"
    before = [outcome for outcome in outcomes if not outcome.corruption]
    since = [outcome for outcome in outcomes if outcome.corruption]
    said = f"{since[0].corruption} from request {start:,} on"
    if not before:
        return f"{said}: alarms {_percent(since)}"
    rates = f"{_percent(before)} before, {_percent(since)} since, {_percent(outcomes)} in all"
    return f"{said}: alarms {rates}"


def _percent(outcomes: Sequence[Outcome]) -> str:
    alarms = [outcome.result == ALARM for outcome in outcomes if outcome.is_scored]
    return f"{np.mean(alarms):.1%}" if alarms else "none scored"


def describe_detection(detection: Detection, start: int | None) -> str:
    """Say at which request a change was detected, and about when it began."""
    after = ""
    if start is not None:
        gap = detection.request - start
        after = f", {abs(gap):,} {'after' if gap >= 0 else 'before'} the corruption began"
    began = f"it began at about request {detection.onset:,}"
    return f"change detected at request {detection.request:,}{after}; {began}"


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
    alarms = [
        top
        for outcome, top in zip(outcomes, replay.top_features, strict=True)
        if outcome.result == ALARM and top
    ]
    features = ", ".join(f"{name} {count:,}" for name, count in Counter(alarms).most_common())
    return format_table(rows) + (f"\ntop features of alarms: {features}" if features else "")
