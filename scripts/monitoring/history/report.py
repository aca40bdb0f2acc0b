"""What is said of a scored history: its table, and the picture of its alarm rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure

from monitoring.detection.change_detection import BLOCK_ALERT, Bets, product_of_counts
from monitoring.history.scoring import PIECES, Tally
from monitoring.plotting import add_title, save
from monitoring.tables import format_table

MOST = 31  # lines for days
REASONS = 10


def format_history(total: Tally, expected: float, bets: Bets) -> str:
    """Return the table: what became of the rows, which features alarms come from, and when."""
    n_rejected = total.rejected.total()
    rows = [["rows", f"{total.scored + n_rejected:,}"], ["scored", f"{total.scored:,}"]]
    if n_rejected:
        rows.append(["rejected", f"{n_rejected:,}"])
        rows += [["", f"{count:,}", reason] for reason, count in _shorten(total.rejected)]
    if total.scored:
        rate = f"{_rate(total.alarms, total.scored)}, {expected:.2%} expected"
        rows.append(["alarms", f"{total.alarms:,}", rate])
        for place, (feature, count) in enumerate(total.features.most_common()):
            rows.append(["top features" if place == 0 else "", f"{count:,}", feature])
    return "\n".join([format_table(rows, "<><"), *_list_days(total, bets)])


def _shorten(reasons: Counter[str]) -> Iterator[tuple[str, int]]:
    yield from reasons.most_common(REASONS)
    others = reasons.most_common()[REASONS:]
    if others:
        yield f"for {len(others):,} other reasons", sum(count for _, count in others)


def is_changed(exceeded: np.ndarray, bets: Bets) -> bool:
    """Tell whether a block's scores are not those of healthy requests."""
    return product_of_counts(exceeded, bets) >= BLOCK_ALERT


def _list_days(total: Tally, bets: Bets) -> Iterator[str]:
    """Yield a line for each day; if they are many, for those that are changed."""
    days = sorted(total.days.items())
    if not days:
        return
    yield ""
    changed = {day for day, (_, *exceeded) in days if is_changed(np.array(exceeded), bets)}
    listed = days if len(days) <= MOST else [(day, one) for day, one in days if day in changed]
    table = [["day", "scored", "alarms", "rate", ""]]
    for day, (alarms, *exceeded) in listed[:MOST]:
        n = sum(exceeded)
        mark = "changed" if day in changed else ""
        table.append([day, f"{n:,}", f"{alarms:,}", _rate(alarms, n), mark])
    if listed:
        yield format_table(table, "<>>><")
    if len(days) > MOST:
        more = len(listed) - MOST
        also = f", {more:,} of them not listed" if more > 0 else ""
        yield f"{len(listed):,} of {len(days):,} days are changed{also}"
    undated = total.scored - sum(sum(exceeded) for _, (_, *exceeded) in days)
    if undated:
        yield f"{undated:,} scored rows have no day"


def _rate(alarms: int, scored: int) -> str:
    return f"{alarms / scored:.2%}"


def _list_counts(total: Tally) -> list[tuple[Any, int, np.ndarray]]:
    """Return the alarms and rows of each day; without days, of at least `PIECES` blocks."""
    if total.days:
        days = sorted(total.days.items())
        return [(date.fromisoformat(day), one[0], one[1:]) for day, one in days]
    n_pieces = len(total.series)
    step = max(n_pieces // PIECES, 1)
    blocks = [
        np.sum(total.series[first : first + step], axis=0) for first in range(0, n_pieces, step)
    ]
    ends = np.cumsum([block[1:].sum() for block in blocks]).tolist()
    return [(end, block[0], block[1:]) for end, block in zip(ends, blocks, strict=True)]


def plot(total: Tally, expected: float, bets: Bets, path: Path) -> None:
    """Draw the rate of alarms by day, or by block of rows where no row has a day."""
    points = [
        (place, 100 * alarms / exceeded.sum(), is_changed(exceeded, bets))
        for place, alarms, exceeded in _list_counts(total)
        if exceeded.sum()
    ]
    what = "day" if total.days else "block of rows"
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.add_subplot()
    places, rates = ([point[side] for point in points] for side in (0, 1))
    axes.plot(places, rates, ".-", color="tab:blue", label="alarms")
    marked = [(place, rate) for place, rate, is_one in points if is_one]
    if marked:
        rarely = f"changed: one healthy {what} in {BLOCK_ALERT:,} at most is marked so"
        axes.plot(*zip(*marked, strict=True), "o", color="tab:red", label=rarely)
    axes.axhline(100 * expected, color="black", linestyle="--", label=f"expected, {expected:.2%}")
    axes.set_ylim(0, 1.1 * max(*rates, 100 * expected))
    if total.days:
        axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))
    axes.set_ylabel("rows that raise an alarm, %")
    axes.set_xlabel("day" if total.days else "scored rows")
    rate = _rate(total.alarms, total.scored)
    add_title(figure, f"{rate} of {total.scored:,} rows raise an alarm")
    figure.legend(loc="outside lower center", ncols=3)
    save(figure, path)
