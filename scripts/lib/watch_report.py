"""What is said of a watched target: whether its alarms are news, the table, the JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lib.alarm_rate import is_news, p_of_alarms
from lib.sonar import Alarm, Batch, format_time

UNSCORED = 0.5  # the share of unscored requests that is an alert


@dataclass
class Verdict:
    """What a metric's checks say of the traffic.

    Attributes
    ----------
    metric : str
    normal : float
        The share of healthy requests that raise an alarm.
    batches : sequence of Batch
        In the order of time, one at least.
    because : list of (str, int)
        Features, and how many of the last alarms are mostly because of each; empty if not known.
    last : Alarm or None
        The newest alarm, if it was looked for.
    """

    metric: str
    normal: float
    batches: Sequence[Batch]
    because: list[tuple[str, int]] = field(default_factory=list)
    last: Alarm | None = None

    def count(self, batch: Batch) -> tuple[int, int]:
        """Return how many requests of a batch the metric checked, and its alarms."""
        return batch.counts.get(self.metric, (0, 0))

    @property
    def requests(self) -> int:
        return sum(batch.requests for batch in self.batches)

    @property
    def checked(self) -> int:
        return sum(self.count(batch)[0] for batch in self.batches)

    @property
    def alarms(self) -> int:
        return sum(self.count(batch)[1] for batch in self.batches)

    @property
    def unscored(self) -> int:
        return self.requests - self.checked

    @property
    def rate(self) -> float | None:
        return self.alarms / self.checked if self.checked else None

    @cached_property
    def p(self) -> float:
        return self.p_of(self.alarms, self.checked)

    def p_of(self, alarms: int, checked: int) -> float:
        return p_of_alarms(alarms, checked, self.normal) if checked else 1.0

    @cached_property
    def is_news(self) -> bool:
        return self.checked > 0 and is_news(self.alarms, self.checked, self.normal)

    @property
    def is_unscored(self) -> bool:
        return self.unscored >= UNSCORED * self.requests

    @property
    def is_alert(self) -> bool:
        return self.is_news or self.is_unscored

    @cached_property
    def worst(self) -> Batch | None:
        """The batch whose alarms are the least probable at the normal rate."""

        def p(batch: Batch) -> float:
            checked, alarms = self.count(batch)
            return self.p_of(alarms, checked)

        return min(self.batches, key=p) if self.checked else None

    @cached_property
    def noticed(self) -> Batch | None:
        """The first batch whose alarms are news by themselves."""
        for batch in self.batches:
            checked, alarms = self.count(batch)
            if checked and is_news(alarms, checked, self.normal):
                return batch
        return None

    def describe(self) -> str:
        """Say why it is an alert, or what was counted if it is none."""
        said = []
        if self.is_news or not self.is_unscored:
            expected = f"{self.normal * self.checked:,.0f} expected"
            because = f", most often because of {self.because[0][0]}" if self.because else ""
            said.append(f"{self.alarms:,} alarms in {self.checked:,} requests, {expected}{because}")
        if self.is_unscored:
            said.append(f"{self.unscored:,} of {self.requests:,} requests unscored")
        return ", and ".join(said)


def describe(verdicts: Sequence[Verdict]) -> str:
    """Return the line: ``ok`` or ``alert``, and of which metrics if there are several."""
    alerts = [verdict for verdict in verdicts if verdict.is_alert]
    said = "; ".join(
        f"{show(verdict.metric)}: {verdict.describe()}" if verdicts[1:] else verdict.describe()
        for verdict in alerts or verdicts
    )
    return f"{'alert' if alerts else 'ok'}: {said}"


def format_table(verdicts: Sequence[Verdict]) -> str:
    """Return a row for each metric, then its worst batch and what is known of its alarms."""
    width = max(12, *(len(show(verdict.metric)) for verdict in verdicts))
    head = f"{'metric':<{width}}{'requests':>10}{'alarms':>9}{'rate':>8}{'normal':>8}{'p':>10}"
    lines = [f"{head}{'unscored':>10}  since"]
    for verdict in verdicts:
        rate = "-" if verdict.rate is None else f"{verdict.rate:.1%}"
        counts = f"{verdict.requests:>10,}{verdict.alarms:>9,}{rate:>8}{verdict.normal:>8.1%}"
        since = format_time(verdict.batches[0].start)
        p = f"{verdict.p:.2g}" if verdict.p else "<1e-300"
        row = f"{show(verdict.metric):<{width}}{counts}{p:>10}{verdict.unscored:>10,}"
        lines.append(f"{row}  {since}")
    for verdict in verdicts:
        name = f"{show(verdict.metric)}: " if verdicts[1:] else ""
        lines += [f"{label:<{width}}  {name}{text}" for label, text in _details(verdict)]
    return "\n".join(lines)


def _details(verdict: Verdict) -> list[tuple[str, str]]:
    details = []
    if verdict.worst:
        details.append(("worst batch", _describe_batch(verdict, verdict.worst)))
    if verdict.is_news and verdict.noticed:
        details.append(("noticed", _describe_batch(verdict, verdict.noticed)))
    if verdict.because:
        counts = ", ".join(f"{feature} {count:,}" for feature, count in verdict.because)
        details.append(("because of", counts))
    if verdict.last:
        value = f"value {verdict.last.value!r}, threshold {verdict.last.threshold!r}"
        when = format_time(verdict.last.second)
        details.append(("last alarm", f"{value}, {when}, request {show(verdict.last.request)}"))
    return details


def _describe_batch(verdict: Verdict, batch: Batch) -> str:
    checked, alarms = verdict.count(batch)
    times = f"{format_time(batch.start)} to {format_time(batch.end)}"
    return f"{alarms:,} alarms in {checked:,}, {times}"


def to_json(verdict: Verdict) -> dict:
    """Return what the table says of a metric, as plain values."""
    worst, noticed = verdict.worst, verdict.noticed
    if worst:
        checked, alarms = verdict.count(worst)
        worst = {"checked": checked, "alarms": alarms, "since": worst.start, "until": worst.end}
    return {
        "name": verdict.metric,
        "alert": verdict.is_alert,
        "requests": verdict.requests,
        "checked": verdict.checked,
        "unscored": verdict.unscored,
        "alarms": verdict.alarms,
        "rate": verdict.rate,
        "normal": verdict.normal,
        "p": verdict.p,
        "since": verdict.batches[0].start,
        "until": verdict.batches[-1].end,
        "worst": worst,
        "noticed": noticed.end if noticed and verdict.is_news else None,
        "because": dict(verdict.because),
        "last": verdict.last and verdict.last.request,
    }


def show(text: str) -> str:
    """Return a text of the cluster's as a terminal may show it."""
    return text if text.isprintable() else ascii(text)
