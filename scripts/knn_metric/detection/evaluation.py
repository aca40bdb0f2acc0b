"""What the metric sees of corruptions: alarms, and the requests until a change is detected."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import binomtest
from tqdm import tqdm

from knn_metric.cli import UserError, complain
from knn_metric.data.corruptions import Corruption, corrupt
from knn_metric.data.rows import Rows
from knn_metric.detection.calibration import require_calibration
from knn_metric.detection.change import Bets, Evidence, find_alerts
from knn_metric.detection.surprise import FieldSurprise
from knn_metric.plotting import add_title, save
from portable_knn import PortableKNN

if TYPE_CHECKING:
    from knn_metric.platform.target import Target

CONTAMINATIONS = (0.1, 0.05, 0.02, 0.01, 0.001)
STREAMS = 200
HEALTHY = 500  # requests of a stream before its corruption begins
MOST = 5000  # requests after which a corruption counts as missed
MISSED = 2 * MOST  # where a bar ends that has no end


class Result(NamedTuple):
    """What the metric sees of n rows of one kind; None where a change is missed."""

    name: str  # of the corruption, or 'clean'
    cause: str
    scores: np.ndarray  # (n,)
    alarm_rate: float  # the proportion of rows that raise an alarm
    median: int | None = None  # requests until the change is detected, of `STREAMS` streams
    p90: int | None = None
    field: str | None = None  # that most streams name
    named: float | None = None  # the proportion of all streams that name a corrupted field

    def to_json(self) -> dict[str, Any]:
        _, _, _, *known = self
        return dict(zip(self._fields[3:], known, strict=True))


def corrupt_rows(
    rows: Rows, corruptions: Sequence[Corruption], target: Target | None
) -> dict[str, Rows]:
    """Corrupt rows in each way, the target answering the corrupted request.

    A corruption of an answer corrupts it on its way from the target; without a target the recorded
    answers stay. Return rows by corruption, the clean ones first, without those on which it fails.
    """

    def answer(rows: Rows) -> Rows:
        return target.answer(rows) if target else rows

    changed, problems = {"clean": answer(rows)}, []
    for one in tqdm(corruptions, "corrupting", disable=None, leave=False):
        if target is not None and set(one.fields) <= set(target.answered):
            changed[one.name] = corrupt(one, changed["clean"])
            continue
        corrupted = corrupt(one, rows)
        try:
            changed[one.name] = answer(corrupted)
        except UserError as error:
            problems.append(f"{one.name} is not measured: {error}")
    if problems and len(problems) == len(corruptions):
        raise UserError(problems[0])
    for problem in problems:
        complain(problem)
    return changed


def evaluate(
    detector: PortableKNN, changed: dict[str, Rows], corruptions: Sequence[Corruption]
) -> list[Result]:
    """Score clean and corrupted rows, and measure when each change is detected."""
    judge = Judge(detector)
    clean = judge.look(changed["clean"])
    healthy = judge.feed(clean)
    results = [Result("clean", "", clean.scores, _alarm_rate(clean, detector))]
    measured = [one for one in corruptions if one.name in changed]
    for one in tqdm(measured, "evaluating", disable=None, leave=False):
        seen = judge.look(changed[one.name])
        delays, fields = judge.detect(healthy, seen)
        median, p90 = (_quantile(delays, proportion) for proportion in (0.5, 0.9))
        named = sum(field in one.fields for field in fields) / STREAMS
        field = Counter(fields).most_common(1)[0][0] if median is not None else None
        rate = _alarm_rate(seen, detector)
        results.append(Result(one.name, one.cause, seen.scores, rate, median, p90, field, named))
    return results


def _alarm_rate(seen: Seen, detector: PortableKNN) -> float:
    return float(np.mean(seen.scores > detector.threshold_))


class Seen(NamedTuple):
    """Rows as the test sees them: scores, how many levels they exceed, and keys of equal ones."""

    scores: np.ndarray
    exceeded: np.ndarray
    keys: list[Hashable]


class Judge:
    """Tests `STREAMS` streams of rows, each in a random order."""

    def __init__(self, detector: PortableKNN) -> None:
        calibration = require_calibration(detector)
        self.bets, self.window = Bets.of(calibration), calibration["window"]
        self._detector, self._fields = detector, FieldSurprise.of(detector)

    def look(self, rows: Rows) -> Seen:
        scores = self._detector.decision_function(rows.values)
        values = np.column_stack([scores, self._fields.surprise(rows.values)])
        return Seen(scores, self.bets.exceeded(values), [row.tobytes() for row in rows.values])

    def feed(self, clean: Seen) -> Evidence:
        """Return the evidence of streams of healthy requests."""
        evidence = Evidence(self.bets, self.window, STREAMS)
        for places in self._draw(clean, HEALTHY, seed=0):
            evidence.add(clean.exceeded[places], [clean.keys[place] for place in places])
        return evidence

    def detect(self, healthy: Evidence, seen: Seen) -> tuple[np.ndarray, list[str]]:
        """Return after how many requests each stream detects a corruption, and the fields named.

        A delay is infinite, and names no field, where it takes more than `MOST` requests.
        """
        turns = self._draw(seen, MOST, seed=1)
        alerts = find_alerts(copy.deepcopy(healthy), seen.exceeded, seen.keys, turns)
        delays = np.full(STREAMS, np.inf)
        delays[list(alerts)] = [number + 1 for number, _ in alerts.values()]
        return delays, [field for _, field in alerts.values()]

    @staticmethod
    def _draw(seen: Seen, count: int, seed: int) -> Iterator[np.ndarray]:
        """Yield the next row of each stream, in which no row comes twice before all came once."""
        random = np.random.default_rng(seed)
        n_rows = len(seen.scores)
        for first in range(0, count, n_rows):
            orders = [random.permutation(n_rows) for _ in range(STREAMS)]
            yield from np.transpose(orders)[: count - first]


def _quantile(delays: np.ndarray, proportion: float) -> int | None:
    value = np.quantile(delays, proportion, method="inverted_cdf")
    return int(value) if np.isfinite(value) else None


def format_clean(clean: Result) -> str:
    n = len(clean.scores)
    low, high = binomtest(round(clean.alarm_rate * n), n).proportion_ci(method="wilson")
    return f"{clean.alarm_rate:.2%}, 95% interval {low:.2%} to {high:.2%}"


def tabulate(results: Sequence[Result]) -> list[list[str]]:
    """Return the cells: by corruption the alarms, when it is detected, and the field named."""
    causes = ["what went wrong"] if any(one.cause for one in results) else []
    table = [["rows", "alarms", "median", "90%", "named", "field", *causes]]
    for one in results:
        cells = [one.name, f"{one.alarm_rate:.1%}"]
        if one.named is not None:
            cells += [f"{n:,}" if n is not None else "-" for n in (one.median, one.p90)]
            cells += [f"{one.named:.0%}", one.field or "-", *([one.cause] if causes else [])]
        table.append(cells)
    return table


def tabulate_thresholds(results: Sequence[Result], training_scores: np.ndarray) -> list[list[str]]:
    """Say what other thresholds would do, each one that training with a contamination sets."""
    thresholds = [np.quantile(training_scores, 1 - one) for one in CONTAMINATIONS]
    rows = [
        ["contamination", *(f"{one:.1%}" for one in CONTAMINATIONS)],
        ["threshold", *(f"{threshold:.3f}" for threshold in thresholds)],
    ]
    for one in results:
        rates = (np.mean(one.scores > threshold) for threshold in thresholds)
        rows.append([one.name, *(f"{rate:.1%}" for rate in rates)])
    return rows


def plot(results: Sequence[Result], title: str, path: Path) -> None:
    """Draw when each change is detected: as bars, or by field and operation."""
    corrupted = results[1:]
    is_by_field = sum(":" in one.name for one in corrupted) > len(corrupted) / 2
    figure = _plot_fields(corrupted, title) if is_by_field else _plot_bars(corrupted, title)
    save(figure, path)


def _plot_fields(results: Sequence[Result], title: str) -> Figure:
    """Draw fields by corruptions, the cell's number the requests until the change is detected."""
    cells = {one.name: _split(one.name) for one in results}
    fields = list(dict.fromkeys(field for field, _ in cells.values()))
    operations = list(dict.fromkeys(operation for _, operation in cells.values()))
    size = 4 + 0.7 * len(operations), 2 + 0.32 * len(fields)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    grid = np.full((len(fields), len(operations)), np.nan)
    for one in results:
        field, operation = cells[one.name]
        place = fields.index(field), operations.index(operation)
        grid[place] = np.log10(one.median or MISSED)
        text = f"{one.median:,}" if one.median else "missed"
        axes.text(*place[::-1], text, ha="center", va="center", fontsize=8)
    axes.imshow(grid, cmap="RdYlGn_r", vmin=0, vmax=np.log10(MISSED), aspect="auto", alpha=0.6)
    axes.set_xticks(range(len(operations)), operations, rotation=45, ha="right")
    axes.set_yticks(range(len(fields)), fields)
    add_title(figure, f"{title}\nrequests until the change is detected, median")
    return figure


def _split(name: str) -> tuple[str, str]:
    """Return the field and the operation of a corruption, as in ``scale:age:12``."""
    operation, field, number, *_ = [*name.split(":", 2), "", ""]
    is_scale = operation == "scale"
    return field or "all fields", f"{operation} {number}".strip() if is_scale else operation


def _plot_bars(results: Sequence[Result], title: str) -> Figure:
    """Draw a bar for each corruption, on a logarithmic axis: shorter is better."""
    upwards = results[::-1]
    figure = Figure(figsize=(9, 2 + 0.4 * len(upwards)), layout="constrained")
    axes = figure.add_subplot()
    lengths = [(one.median or MISSED) - 1 for one in upwards]
    bars = axes.barh(range(len(upwards)), lengths, 0.76, left=1, color="tab:blue")
    for bar, one in zip(bars, upwards, strict=True):
        bar.set_alpha(1.0 if one.median else 0.3)
    axes.bar_label(bars, [_describe(one) for one in upwards], padding=4, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(1, 20 * MISSED)
    axes.set_xticks([1, 10, 100, 1000, MISSED], ["1", "10", "100", "1,000", "missed"])
    axes.set_yticks(range(len(upwards)), [one.name for one in upwards])
    axes.set_xlabel("requests until the change is detected, median")
    add_title(figure, title)
    return figure


def _describe(result: Result) -> str:
    found = "missed" if result.median is None else f"{result.median:,}"
    field = f", {result.field}" if result.field else ""
    return f"{found}{field}, {result.alarm_rate:.0%} alarms"
