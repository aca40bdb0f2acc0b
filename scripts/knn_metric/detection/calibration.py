"""What healthy traffic looks like: levels that known shares of held-out rows exceed.

Where rows have times, the levels hold in each part of the day and of the week.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from knn_metric.cli import UserError
from knn_metric.data.cells import DAY, NO_TIME
from knn_metric.detection.change import PROPORTIONS, RISK, Levels, bound_proportion
from knn_metric.detection.surprise import FieldSurprise
from portable_knn import PortableKNN

FEW_ROWS = 1_000  # fewer held-out rows make wide bounds: still valid, and slow to detect
MEASURED = 60_000  # held-out rows at most, evenly spread, whose surprise is measured
LONGEST_WINDOW = 1_000  # requests among which repeated ones are looked for, at most
BY_CHANCE = 0.01  # the proportion of healthy requests that may equal one of those by chance
BELOW = [1 - proportion for proportion in PROPORTIONS]
LEAST = 1_000  # rows of a group by the clock
HOUR = 3_600  # seconds
WEEKDAYS = "Mon Tue Wed Thu Fri Sat Sun".split()
THURSDAY = 3  # on which 1970 began
# The proportions of held-out rows by which `explain` says how rare a surprise is.
RARITIES = tuple(
    round(part * 10.0**-power, 6) for power in range(1, 6) for part in (5, 3, 2, 1.5, 1, 0.7)
)


def calibrate(
    detector: PortableKNN,
    is_code: Sequence[bool],
    held_out: np.ndarray,
    groups: Sequence["Group"] | None = None,
    rejected: tuple[int, int] = (0, 1),
    copies: float = 1.0,
) -> dict[str, Any]:
    """Learn what healthy traffic looks like from held-out rows, (n, m), for the artifact to keep.

    `is_code` tells which of the m fields hold codes; the bounds hold in each of the groups;
    `rejected` is how many of the source's rows could not be used, of how many; of so many `copies`
    of a row bounds count one.

    Return plain values: `rows` and `alarms`, held-out rows and those above the threshold; `codes`,
    the fields that hold codes; `confidence` of each bound, so that all hold together with 99.9%;
    `clock`, the names of the groups; `score` and `fields`, `Levels` of the score and of each
    field's surprise; `rarities`, by field the surprise that each of `RARITIES` exceeds; `rejected`
    and `copies`; `chance` that two rows are equal, and the `window` of requests among which an
    equal one makes no bet.
    """
    names: list[str] = detector.feature_names_in_.tolist()
    scores = detector.decision_function(held_out)
    step = -(-len(held_out) // MEASURED)
    surprises = FieldSurprise(detector.training_rows_, is_code).surprise(held_out[::step])
    everything = [Group("", np.arange(len(held_out)))]
    positions = [group.positions for group in groups or everything]
    n_bounds = len(PROPORTIONS) * (1 + len(names)) * len(positions)
    measure = partial(_measure, confidence=1 - RISK / n_bounds, copies=copies)
    measured = [one[one % step == 0] // step for one in positions]
    known = np.percentile(detector.decision_scores_, [100 * one for one in BELOW])
    own = [np.quantile(column, BELOW, method="inverted_cdf") for column in surprises.T]
    chance = _equal_by_chance(np.concatenate([detector.training_rows_, held_out]))
    by_field = list(zip(names, surprises.T, own, strict=True))
    return {
        "rows": len(held_out),
        "alarms": int(np.sum(scores > detector.threshold_)),
        "codes": [name for name, code in zip(names, is_code, strict=True) if code],
        "confidence": 1 - RISK / n_bounds,
        "clock": None if groups is None else [group.name for group in groups],
        "score": measure(scores, known, positions),
        "fields": {name: measure(column, levels, measured) for name, column, levels in by_field},
        "rarities": {name: _rarities(column) for name, column, _ in by_field},
        "rejected": list(rejected),
        "copies": copies,
        "chance": chance,
        "window": int(min(BY_CHANCE / chance, LONGEST_WINDOW)) if chance else LONGEST_WINDOW,
    }


def _measure(
    values: np.ndarray,
    levels: np.ndarray,
    groups: Sequence[np.ndarray],
    confidence: float,
    copies: float,
) -> list[list[float]]:
    """Return `Levels` of held-out values, each counted in the group that exceeds it most."""
    distinct = np.unique(levels)
    found = Levels(distinct.tolist(), [], [])
    for level in distinct:
        counts = [(int(np.sum(values[group] > level)), len(group)) for group in groups]
        bounds = [bound_proportion(above, rows, confidence, copies) for above, rows in counts]
        above, rows = counts[int(np.argmax(bounds))]
        found.above.append(above)
        found.rows.append(rows)
    return list(found)


def _rarities(column: np.ndarray) -> list[float]:
    """Return the surprise that each of `RARITIES` exceeds, the last one of all rows the highest."""
    shares = [one for one in RARITIES if one * len(column) >= 1]
    quantiles = np.quantile(column, [1 - one for one in shares], method="inverted_cdf")
    return [*quantiles.tolist(), float(column.max())]


def _equal_by_chance(rows: np.ndarray) -> float:
    """Return the probability that two rows are equal."""
    _, counts = np.unique(rows, axis=0, return_counts=True)
    pairs = len(rows) * (len(rows) - 1)
    return float(np.sum(counts * (counts - 1.0)) / pairs)


def require_calibration(detector: PortableKNN) -> dict[str, Any]:
    """Return an artifact's calibration, which one of before there were levels has not."""
    if "fields" not in detector.calibration_:
        raise UserError(
            "the artifact has no levels of fields to detect changes by: `knn-metric train`"
        )
    return detector.calibration_


def rank_fields(calibration: Mapping[str, Any], surprises: np.ndarray) -> np.ndarray:
    """Return how rare each field's surprise is among held-out rows, shape (n, m).

    It is how many of the field's `rarities` the surprise exceeds, and beyond the last one how far.
    """
    ranks = np.empty(surprises.shape)
    for place, known in enumerate(calibration["rarities"].values()):
        column = surprises[:, place]
        beyond = np.maximum(column - known[-1], 0)
        ranks[:, place] = np.searchsorted(known, column) + beyond / (1 + beyond)
    return ranks


class Group(NamedTuple):
    """The positions of rows of some hours, as ``'08-11h'``, or of weekdays, as ``'Mon-Tue'``."""

    name: str
    positions: np.ndarray


def group_by_clock(times: np.ndarray | None) -> list[Group] | None:
    """Part rows, by their epoch seconds, by the hour of the day and by the weekday, in UTC.

    Neighbours are put together until a group has `LEAST` rows. There is no group where there are
    too few rows for two; None where no row has a time.
    """
    if times is None or (times == NO_TIME).all():
        return None
    hours, weekdays = times // HOUR % 24, (times // DAY + THURSDAY) % 7
    both = [(hours, [f"{hour:02}" for hour in range(24)], "h"), (weekdays, WEEKDAYS, "")]
    return [group for values, names, unit in both for group in _part(values, times, names, unit)]


def _part(values: np.ndarray, times: np.ndarray, names: Sequence[str], unit: str) -> list[Group]:
    """Put neighbouring values together until there are enough rows of them."""
    is_timed = times != NO_TIME
    counts = np.bincount(values[is_timed], minlength=len(names))
    parts: list[list[int]] = [[]]
    for value in np.flatnonzero(counts).tolist():
        if counts[parts[-1]].sum() >= LEAST:
            parts.append([])
        parts[-1].append(value)
    if len(parts) > 1 and counts[parts[-1]].sum() < LEAST:
        few = parts.pop()
        parts[-1] += few
    if len(parts) == 1:
        return []
    return [
        Group(
            "-".join(dict.fromkeys((names[part[0]], names[part[-1]]))) + unit,
            np.flatnonzero(is_timed & np.isin(values, part)),
        )
        for part in parts
    ]


def describe_clock(names: Sequence[str] | None) -> str:
    """Say for which hours and days the bounds hold."""
    if names:
        return f"in each of {', '.join(names)}, UTC"
    why = "have no times" if names is None else "are too few to tell hours apart"
    return (
        f"for traffic as a whole, since the rows {why}: where traffic depends on the hour, an alert"
        " may come every night"
    )
