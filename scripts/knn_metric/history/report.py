"""What is said of a scored history: its table, and the picture of its alarm rate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure

from knn_metric.history.scoring import Tally
from knn_metric.page import write_page
from knn_metric.plotting import add_title, save
from knn_metric.tables import format_table

MOST = 31  # lines for days
REASONS = 10


def format_history(total: Tally, changed: Mapping[str, str], expected: float) -> str:
    """Return the table: what became of the rows, which features alarms come from, and when.

    `changed` gives the field of each day or block that is changed.
    """
    n_rejected = total.rejected.total()
    rows = [["rows", f"{total.scored + n_rejected + total.copies:,}"]]
    if total.copies:
        rows.append(["copies", f"{total.copies:,}", "of a request in an earlier row, by its id"])
    rows.append(["scored", f"{total.scored:,}"])
    if n_rejected:
        rows.append(["rejected", f"{n_rejected:,}"])
        reasons = total.rejected.most_common()
        rows += [["", f"{count:,}", reason] for reason, count in reasons[:REASONS]]
        if others := [count for _, count in reasons[REASONS:]]:
            rows.append(["", f"{sum(others):,}", f"for {len(others):,} other reasons"])
    if total.scored:
        rate = f"{_rate(total.alarms, total.scored)}, {expected:.2%} expected"
        rows.append(["alarms", f"{total.alarms:,}", rate])
        for place, (feature, count) in enumerate(total.features.most_common()):
            rows.append(["top features" if place == 0 else "", f"{count:,}", feature])
    return "\n".join([format_table(rows, "<><"), *_list_periods(total, changed)])


def tabulate(total: Tally, changed: Mapping[str, str], labels: Iterable[str]) -> list[list[str]]:
    """Return the cells of days or blocks, the head first."""
    periods = total.periods()
    table = [["day" if total.days else "block", "scored", "alarms", "rate", ""]]
    for label in labels:
        scored, alarms = periods[label][:2]
        mark = ": ".join(filter(None, ["changed", changed[label]])) if label in changed else ""
        table.append([label, f"{scored:,}", f"{alarms:,}", _rate(alarms, scored), mark])
    return table


def write_report(
    path: Path, total: Tally, changed: Mapping[str, str], expected: float, picture: Path
) -> None:
    """Write all days or blocks, and what became of the rows, as a page."""
    n_rejected = total.rejected.total()
    facts = {
        "rows": f"{total.scored + n_rejected + total.copies:,}, {n_rejected:,} of them rejected,"
        f" {total.copies:,} copies",
        "alarms": f"{total.alarms:,}, {_rate(total.alarms, total.scored)}; {expected:.2%} expected",
    }
    counts = {"Rejected rows": total.rejected, "Top features of alarms": total.features}
    tables = {"Days" if total.days else "Blocks": tabulate(total, changed, total.periods())}
    for title, counted in counts.items():
        rows = [[name, f"{count:,}"] for name, count in counted.most_common()]
        tables |= {title: [[title.split()[0].lower(), "rows"], *rows]} if rows else {}
    write_page(path, "Recorded requests, scored", facts, tables, [picture])


def _list_periods(total: Tally, changed: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each day or block; if they are many, for those that are changed."""
    what, periods = "day" if total.days else "block", total.periods()
    listed = [label for label in periods if label in changed or len(periods) <= MOST]
    if listed:
        yield "\n" + format_table(tabulate(total, changed, listed[:MOST]), "<>>><")
    if len(periods) > MOST:
        more = len(listed) - MOST
        also = f", {more:,} of them not listed" if more > 0 else ""
        yield f"{len(listed):,} of {len(periods):,} {what}s are changed{also}"
    undated = sum(one.scored for one in total.undated)
    if total.days and undated:
        yield f"{undated:,} scored rows have no day"


def _rate(alarms: int, scored: int) -> str:
    return f"{alarms / scored:.2%}"


def plot(total: Tally, changed: Mapping[str, str], expected: float, path: Path) -> None:
    """Draw the rate of alarms by day, or by block where no row has a day."""
    periods = total.periods()
    rates = [100 * one.alarms / one.scored for one in periods.values()]
    places: list[Any] = np.cumsum([one.scored for one in periods.values()]).tolist()
    if total.days:
        places = [date.fromisoformat(label) for label in periods]
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(places, rates, ".-", color="tab:blue", label="alarms")
    points = zip(periods, places, rates, strict=True)
    marked = [(place, rate) for label, place, rate in points if label in changed]
    if marked:
        axes.plot(*zip(*marked, strict=True), "o", color="tab:red", label="changed")
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
