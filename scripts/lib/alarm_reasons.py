"""Why requests of a live cluster raised an alarm: scored again by the artifact at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lib.replay import ALARM, Outcome, account
from lib.replay_report import count_features
from lib.sonar import Alarm

if TYPE_CHECKING:
    from portable_knn import PortableKNN


def explain_alarms(
    detector: PortableKNN, alarms: Sequence[Alarm]
) -> tuple[list[tuple[str, int]], str]:
    """Count alarms by the feature that they are mostly because of.

    Returns
    -------
    list of (str, int)
        The most frequent first, of the alarms whose value the artifact gives too.
    str
        What is wrong with the others, or ''.
    """
    from messages import read

    features = detector.feature_names_in_.tolist()
    try:
        rows = [tuple(read(alarm.inputs, features)) for alarm in alarms]
    except ValueError as error:
        return [], f"the alarmed requests are not the artifact's: {error}"
    outcomes = [
        Outcome(number, "", "", row, alarm.value, ALARM)
        for number, (row, alarm) in enumerate(zip(rows, alarms, strict=True))
    ]
    n_others = account(outcomes, detector)
    if not n_others:
        return count_features(outcomes), ""
    values = f"{n_others:,} of the last {len(alarms):,} alarms have another value here"
    problem = f"{values}: the cluster serves another artifact than the one at hand"
    return count_features(outcomes), problem
