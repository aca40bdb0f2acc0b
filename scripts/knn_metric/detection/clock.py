"""Rows by the clock: groups by hour of the day and by weekday, in which bounds must hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from knn_metric.data.times import DAY, NO_TIME

LEAST = 1_000  # rows of a group
HOUR = 3_600  # seconds
WEEKDAYS = "Mon Tue Wed Thu Fri Sat Sun".split()
THURSDAY = 3  # on which 1970 began


class Group(NamedTuple):
    """Rows of some hours of the day or of some weekdays.

    Attributes
    ----------
    name : str
        As ``'08-11h'`` or ``'Mon-Tue'``.
    positions : ndarray of int
    """

    name: str
    positions: np.ndarray


def group_by_clock(times: np.ndarray | None) -> list[Group] | None:
    """Part rows by the hour of the day and by the weekday, in UTC.

    Neighbours are put together until a group has `LEAST` rows.

    Parameters
    ----------
    times : ndarray, shape (n,), dtype int64, or None
        Epoch seconds, `NO_TIME` where a row has none.

    Returns
    -------
    list of Group or None
        Empty where there are too few rows for two groups; None where no row has a time.
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
    present = np.flatnonzero(counts).tolist()
    parts: list[list[int]] = [[]]
    for value in present:
        if counts[parts[-1]].sum() >= LEAST:
            parts.append([])
        parts[-1].append(value)
    if len(parts) > 1 and counts[parts[-1]].sum() < LEAST:
        few = parts.pop()
        parts[-1] += few
    if len(parts) == 1:
        return []
    return [
        Group(_name(part, names) + unit, np.flatnonzero(is_timed & np.isin(values, part)))
        for part in parts
    ]


def _name(part: Sequence[int], names: Sequence[str]) -> str:
    ends = list(dict.fromkeys((names[part[0]], names[part[-1]])))
    return "-".join(ends)


def describe_clock(names: Sequence[str] | None) -> str:
    """Say for which hours and days the bounds hold."""
    if names:
        return f"in each of {', '.join(names)}, UTC"
    why = "have no times" if names is None else "are too few to tell hours apart"
    return (
        f"for traffic as a whole, since the rows {why}: where traffic depends on the hour, an alert"
        " may come every night"
    )
