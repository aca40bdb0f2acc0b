"""What is said of a scored history: its table, and the picture of its alarm rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

from lib.alarm_rate import CHANCE, is_news, p_of_alarms
from lib.command import replacing
from lib.scoring import Tally

from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure

MOST = 31  # lines for days
REASONS = 10


def format_table(total: Tally, normal: float) -> str:
    """Return the table: what became of the rows, because of what they alarm, and when."""
    n_rejected = total.rejected.total()
    lines = [f"{'rows':<12}{total.scored + n_rejected:>14,}", f"{'scored':<12}{total.scored:>14,}"]
    if n_rejected:
        lines.append(f"{'rejected':<12}{n_rejected:>14,}")
        lines += [f"{'':<12}{count:>14,}  {reason}" for reason, count in _shorten(total.rejected)]
    if not total.scored:
        return "\n".join(lines)
    rate = f"{_rate(total.alarms, total.scored)} where {normal:.2%} are normal"
    p_value = f"p = {p_of_alarms(total.alarms, total.scored, normal):.2g}"
    lines.append(f"{'alarms':<12}{total.alarms:>14,}  {rate}, {p_value}")
    lines += [
        f"{'because of' if place == 0 else '':<12}{count:>14,}  {feature}"
        for place, (feature, count) in enumerate(total.features.most_common())
    ]
    return "\n".join([*lines, *_list_days(total, normal)])


def _shorten(reasons: Counter[str]) -> Iterator[tuple[str, int]]:
    yield from reasons.most_common(REASONS)
    others = reasons.most_common()[REASONS:]
    if others:
        yield f"for {len(others):,} other reasons", sum(count for _, count in others)


def _list_days(total: Tally, normal: float) -> Iterator[str]:
    """Yield a line for each day; if they are many, for those with too many alarms."""
    days = sorted(total.days.items())
    if not days:
        return
    yield ""
    listed = days
    if len(days) > MOST:
        listed = [(day, (n, alarms)) for day, (n, alarms) in days if is_news(alarms, n, normal)]
    if listed:
        yield f"{'day':<12}{'scored':>14}{'alarms':>14}{'rate':>9}{'p':>10}"
    for day, (n, alarms) in listed[:MOST]:
        p_value = f"{p_of_alarms(alarms, n, normal):>10.2g}"
        yield f"{day:<12}{n:>14,}{alarms:>14,}{_rate(alarms, n):>9}{p_value}"
    if len(days) > MOST:
        more = len(listed) - MOST
        also = f", {more:,} of them not listed" if more > 0 else ""
        yield f"{len(listed):,} of {len(days):,} days have too many alarms (p < {CHANCE}){also}"
    undated = total.scored - sum(n for _, (n, _) in days)
    if undated:
        yield f"{'no day':<12}{undated:>14,}"


def _rate(alarms: int, scored: int) -> str:
    return f"{alarms / scored:.2%}"


def plot(blocks: Sequence[Tally], total: Tally, normal: float, path: Path) -> None:
    """Draw the rate of alarms by day, or by block where no row has a day."""
    if total.days:
        counts = [(date.fromisoformat(day), *pair) for day, pair in sorted(total.days.items())]
        label = "day"
    else:
        counts = [(number, one.scored, one.alarms) for number, one in enumerate(blocks, start=1)]
        label = "block of rows"
    counts = [(place, n, alarms) for place, n, alarms in counts if n]
    news = [(place, 100 * alarms / n) for place, n, alarms in counts if is_news(alarms, n, normal)]
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.add_subplot()
    rates = [100 * alarms / n for _, n, alarms in counts]
    axes.plot([place for place, *_ in counts], rates, ".-", color="tab:blue", label="alarms")
    if news:
        label_news = f"too many to be chance (p < {CHANCE})"
        axes.plot(*zip(*news, strict=True), "o", color="tab:red", label=label_news)
    axes.axhline(100 * normal, color="black", linestyle="--", label=f"normal, {normal:.2%}")
    axes.set_ylim(0, 1.1 * max(*rates, 100 * normal))
    if total.days:
        axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))
    axes.set_ylabel("rows that raise an alarm, %")
    axes.set_xlabel(label)
    axes.set_title(f"{_rate(total.alarms, total.scored)} of {total.scored:,} rows raise an alarm")
    figure.legend(loc="outside lower center", ncols=3)
    with replacing(path) as new:
        figure.savefig(new, dpi=110)
