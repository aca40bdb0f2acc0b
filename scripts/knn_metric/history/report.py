"""What is said of a scored history: its table, and the picture of its alarm rate."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure

from knn_metric.detection.change import bound_proportion
from knn_metric.history.scoring import Tally
from knn_metric.page import write_page
from knn_metric.plotting import add_legend, add_title, save
from knn_metric.tables import format_table

MOST = 31  # lines for days
REASONS = 10
CONFIDENCE = 0.95  # of the interval in which a day's rate lies
FEW = 0.1  # of a usual day's rows: the rate of fewer takes no room in the picture


def format_history(total: Tally, changed: Mapping[str, str], expected: float) -> str:
    """Return the table: what became of the rows, which features alarms come from, and when.

    `changed` gives the field of each day or block that is changed.
    """
    rows = [["rows", f"{total.rows:,}"]]
    if total.copies:
        rows.append(["copies", f"{total.copies:,}", "of a request in an earlier row, by its id"])
    rows.append(["scored", f"{total.scored:,}"])
    rows += _list_reasons("rejected", total.rejected)
    rows += _list_reasons("files left out", Counter(total.refused.values()))
    if total.scored:
        rate = f"{_rate(total.alarms, total.scored)}, {expected:.2%} expected"
        rows.append(["alarms", f"{total.alarms:,}", rate])
        for place, (feature, count) in enumerate(total.features.most_common()):
            rows.append(["top features" if place == 0 else "", f"{count:,}", feature])
    return "\n".join([format_table(rows, "<><"), *_list_periods(total, changed)])


def _list_reasons(what: str, reasons: Counter[str]) -> Iterator[list[str]]:
    if reasons:
        yield [what, f"{reasons.total():,}"]
        for reason, count in reasons.most_common(REASONS):
            yield ["", f"{count:,}", reason]
    if others := [count for _, count in reasons.most_common()[REASONS:]]:
        yield ["", f"{sum(others):,}", f"for {len(others):,} other reasons"]


def _list_periods(total: Tally, changed: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each day or block; if they are many, for those that are changed."""
    what, periods = "day" if total.days else "block", total.periods()
    listed = [label for label in periods if label in changed or len(periods) <= MOST]
    if listed:
        yield "\n" + format_table(_tabulate(total, changed, listed[:MOST]), "<>>><")
    if len(periods) > MOST:
        more = len(listed) - MOST
        also = f", {more:,} of them not listed" if more > 0 else ""
        yield f"{len(listed):,} of {len(periods):,} {what}s are changed{also}"
    undated = sum(one.scored for one in total.undated)
    if total.days and undated:
        yield f"{undated:,} scored rows have no day"


def _tabulate(total: Tally, changed: Mapping[str, str], labels: Iterable[str]) -> list[list[str]]:
    """Return the cells of days or blocks, the head first."""
    periods = total.periods()
    table = [["day" if total.days else "block", "scored", "alarms", "rate", ""]]
    for label in labels:
        scored, alarms = periods[label][:2]
        mark = ": ".join(filter(None, ["changed", changed[label]])) if label in changed else ""
        table.append([label, f"{scored:,}", f"{alarms:,}", _rate(alarms, scored), mark])
    return table


def _rate(alarms: int, scored: int) -> str:
    return f"{alarms / scored:.2%}"


def write_report(
    path: Path, title: str, total: Tally, changed: Mapping[str, str], expected: float, picture: Path
) -> None:
    """Write all days or blocks, and what became of the rows, as a page."""
    facts = {
        "rows": f"{total.rows:,}, {total.rejected.total():,} of them rejected,"
        f" {total.copies:,} copies",
        "alarms": f"{total.alarms:,}, {_rate(total.alarms, total.scored)}; {expected:.2%} expected",
    }
    counts = {
        "Rejected rows": total.rejected,
        "Files left out": Counter(total.refused.values()),
        "Top features of alarms": total.features,
    }
    tables = {"Days" if total.days else "Blocks": _tabulate(total, changed, total.periods())}
    for name, counted in counts.items():
        rows = [[one, f"{count:,}"] for one, count in counted.most_common()]
        tables |= {name: [[name.split()[0].lower(), "count"], *rows]} if rows else {}
    write_page(path, title, facts, tables, [picture])


def plot(total: Tally, changed: Mapping[str, str], expected: float, title: str, path: Path) -> None:
    """Draw the rate of alarms by day, or by block where no row has a day, with its interval.

    What few rows say takes no room: an interval may end above the picture.
    """
    periods = total.periods()
    alarms, scored = np.array([(one.alarms, one.scored) for one in periods.values()]).T
    rates, (low, high) = alarms / scored, _bound_rates(alarms, scored)
    places: list[Any] = np.cumsum(scored).tolist()
    if total.days:
        places = [date.fromisoformat(label) for label in periods]
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.add_subplot()
    interval = f"{CONFIDENCE:.0%} interval of the rate"
    axes.vlines(places, 100 * low, 100 * high, color="tab:blue", alpha=0.3, lw=3, label=interval)
    axes.plot(places, 100 * rates, "o", color="tab:blue", markersize=4, label="alarms")
    marked = [number for number, label in enumerate(periods) if label in changed]
    if marked:
        own = [places[number] for number in marked]
        axes.plot(own, 100 * rates[marked], "o", color="tab:red", markersize=6, label="changed")
    axes.axhline(100 * expected, color="black", linestyle="--", label=f"expected, {expected:.2%}")
    axes.set_ylim(0, 110 * max(*high[scored >= FEW * np.median(scored)], *low, expected))
    if total.days:
        axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))
    else:
        axes.set_xlim(0, 1.02 * places[-1])
    axes.set_ylabel("rows that raise an alarm, %")
    axes.set_xlabel("day" if total.days else "scored rows")
    add_title(figure, title)
    add_legend(figure)
    save(figure, path)


def _bound_rates(alarms: np.ndarray, scored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Clopper and Pearson's bounds of the rate behind each count."""
    level = (1 + CONFIDENCE) / 2
    high = [bound_proportion(*one, level) for one in zip(alarms, scored, strict=True)]
    low = [1 - bound_proportion(n - k, n, level) for k, n in zip(alarms, scored, strict=True)]
    return np.array(low), np.array(high)
