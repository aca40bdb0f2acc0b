"""What is said of a scored history: which days are changed, a table, and a picture of its rate."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure
from scipy.stats import beta

from knn_metric.detection.change import Bets, Evidence, find_alerts
from knn_metric.detection.surprise import FieldSurprise
from knn_metric.history.scoring import Period, Tally
from knn_metric.page import write_page
from knn_metric.plotting import add_legend, add_title, save
from knn_metric.tables import format_table
from portable_knn import PortableKNN

MOST = 31  # lines for days
REASONS = 10
CONFIDENCE = 0.95  # of the interval in which a day's rate lies
FEW = 0.1  # of a usual day's rows: the rate of fewer takes no room in the picture


def find_changes(detector: PortableKNN, periods: Mapping[str, Period]) -> dict[str, str]:
    """Test each period's sample on its own, all side by side.

    Of those that raise an alert return the field that has changed, '' where none has won its bets.
    """
    if not periods:
        return {}
    calibration = detector.calibration_
    bets = Bets.of(calibration)
    samples = [one.sample for one in periods.values()]
    values = np.concatenate(samples)[:, 1:]
    rows = values[:, 1:]
    surprises = FieldSurprise.of(detector).surprise(rows)
    exceeded = bets.exceeded(np.column_stack([values[:, 0], surprises]))
    keys = [row.tobytes() for row in rows + 0.0]  # one zero, not two
    sizes = np.array([len(one) for one in samples])
    steps, firsts = np.arange(sizes.max()), np.cumsum(sizes) - sizes
    turns = np.where(steps < sizes[:, None], firsts[:, None] + steps, -1).T
    evidence = Evidence(bets, calibration["window"], len(periods))
    alerts = find_alerts(evidence, exceeded, keys, turns, to_the_end=True)
    return {label: alerts[place][1] for place, label in enumerate(periods) if place in alerts}


def format_history(total: Tally, changed: Mapping[str, str], expected: float) -> str:
    """Return what became of the rows, and each day or block; if they are many, what is changed.

    `changed` gives the field of each day or block that is changed.
    """
    counts = [[""], *_tabulate_counts(total, expected, REASONS)]
    rows = [["" if row[0] == old[0] else row[0], *row[1:]] for old, row in pairwise(counts)]
    lines = [format_table(rows, "<><")]
    what, periods = "day" if total.days else "block", total.periods()
    listed = [label for label in periods if label in changed or len(periods) <= MOST]
    if listed:
        lines += ["", format_table(_tabulate_periods(total, changed, listed[:MOST]), "<>>><")]
    if len(periods) > MOST:
        more = len(listed) - MOST
        also = f", {more:,} of them not listed" if more > 0 else ""
        lines.append(f"{len(listed):,} of {len(periods):,} {what}s are changed{also}")
    undated = sum(one.scored for one in total.undated)
    if total.days and undated:
        lines.append(f"{undated:,} scored rows have no day")
    return "\n".join(lines)


def write_report(
    path: Path, title: str, total: Tally, changed: Mapping[str, str], expected: float, picture: Path
) -> None:
    """Write what became of the rows, and all days or blocks, as a page."""
    periods = _tabulate_periods(total, changed, total.periods())
    counts = [["what", "count", "why, or of which field"], *_tabulate_counts(total, expected)]
    tables = {"Rows": counts, "Days" if total.days else "Blocks": periods}
    write_page(path, title, {}, tables, [picture])


def _tabulate_counts(total: Tally, expected: float, most: int | None = None) -> Iterator[list[str]]:
    """Yield what became of the rows, how many, and why or of which feature; of reasons `most`."""
    yield ["rows", f"{total.rows:,}"]
    if total.copies:
        yield ["copies", f"{total.copies:,}", "of a request in an earlier row, by its id"]
    yield ["scored", f"{total.scored:,}"]
    left_out = Counter(total.refused.values())
    for what, reasons in {"rejected": total.rejected, "files left out": left_out}.items():
        if reasons:
            yield [what, f"{reasons.total():,}"]
        for reason, count in reasons.most_common(most):
            yield [what, f"{count:,}", reason]
        if others := [count for _, count in reasons.most_common()[most or len(reasons) :]]:
            yield [what, f"{sum(others):,}", f"for {len(others):,} other reasons"]
    if total.scored:
        rate = f"{total.alarms / total.scored:.2%}, {expected:.2%} expected"
        yield ["alarms", f"{total.alarms:,}", rate]
        for feature, count in total.features.most_common():
            yield ["top features", f"{count:,}", feature]


def _tabulate_periods(
    total: Tally, changed: Mapping[str, str], labels: Iterable[str]
) -> list[list[str]]:
    """Return the cells of days or blocks, the head first."""
    periods = total.periods()
    table = [["day" if total.days else "block", "scored", "alarms", "rate", ""]]
    for label in labels:
        scored, alarms, _ = periods[label]
        mark = ": ".join(filter(None, ["changed", changed[label]])) if label in changed else ""
        table.append([label, f"{scored:,}", f"{alarms:,}", f"{alarms / scored:.2%}", mark])
    return table


def plot(total: Tally, changed: Mapping[str, str], expected: float, title: str, path: Path) -> None:
    """Draw the rate of alarms by day, or by block where no row has a day, with its interval.

    What few rows say takes no room: an interval may end above the picture.
    """
    periods = total.periods()
    alarms, scored = np.array([(one.alarms, one.scored) for one in periods.values()]).T
    # Clopper and Pearson's bounds of the rate behind each count; NaN where it can be no lower.
    tail, passed = (1 - CONFIDENCE) / 2, scored - alarms
    low = np.nan_to_num(beta.ppf(tail, alarms, passed + 1))
    high = np.nan_to_num(beta.ppf(1 - tail, alarms + 1, passed), nan=1.0)
    rates = alarms / scored
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
