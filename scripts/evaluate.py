"""Measure what the metric sees: alarms on rows, clean and corrupted in seven ways.

examples:
  evaluate.py                    the part of UCI's data that training held out
  evaluate.py --data adult.test  all of another file
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lib import census, command, drift

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

CONTAMINATIONS = (0.1, 0.05, 0.02, 0.01, 0.001)
# What is said of corrupted rows by their share of alarms, from the fewest on.
VERDICTS = {"missed": "tab:gray", "seen in part": "tab:cyan", "seen": "tab:blue"}


@dataclass
class Result:
    """The scores of one kind of rows, and their ROC AUC against clean rows, NaN for those."""

    name: str
    scores: np.ndarray
    auc: float = float("nan")

    def alarm_rate(self, threshold: float) -> float:
        return float(np.mean(self.scores > threshold))


@command.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = command.make_parser(__file__, __doc__)
    option = parser.add_argument
    option("--data", **command.DATA)
    option("--artifact", **command.ARTIFACT_OPTION)
    option("--plot", type=Path, default=command.REPORTS / "evaluation.png", help="picture")
    arguments = parser.parse_args(argv)
    command.require_writable(arguments.plot)
    detector = command.load_detector(arguments.artifact)
    data = census.hold_out(census.load(arguments.data, "make evaluate DATA="), detector.origin_)
    results = evaluate(detector, data.records)
    threshold = float(detector.threshold_)
    print(f"data           {census.describe_traffic(data, detector)}")
    print(f"threshold_     {threshold!r}")
    print(f"contamination  {detector.contamination:.2%} asked for")
    print(format_alarms(results, threshold))
    print(format_thresholds(results, detector.decision_scores_))
    plot(results, threshold, data, arguments.plot)
    print(f"picture        {command.shorten(arguments.plot)}")


def evaluate(detector: object, records: Sequence[Sequence[str]]) -> list[Result]:
    """Score rows clean and with each corruption; the clean ones come first."""
    rows = census.encode(records)
    clean = detector.decision_function(rows)
    results = [Result("clean", clean)]
    for name in tqdm(drift.DRIFTS, desc="scoring", disable=None, leave=False):
        scores = detector.decision_function(drift.corrupt(name, rows, records))
        auc = roc_auc_score(np.repeat([0, 1], len(rows)), np.concatenate([clean, scores]))
        results.append(Result(name, scores, auc))
    return results


def interval(result: Result, threshold: float) -> tuple[float, float]:
    """Return the 95% interval of a share of alarms."""
    alarms = int(np.sum(result.scores > threshold))
    return binomtest(alarms, len(result.scores)).proportion_ci(method="wilson")


def format_alarms(results: Sequence[Result], threshold: float) -> str:
    low, high = interval(results[0], threshold)
    clean = results[0].alarm_rate(threshold)
    lines = [f"alarm rate     {clean:.2%}, 95% interval {low:.2%} to {high:.2%}", ""]
    lines.append(f"{'rows':<20}{'alarms':>10}{'ROC AUC':>10}")
    for result in results:
        auc = "" if np.isnan(result.auc) else f"{result.auc:.3f}"
        verdict = "" if result is results[0] else f"  {judge(result, results[0], threshold)}"
        rate = f"{result.alarm_rate(threshold):.2%}"
        lines.append(f"{result.name:<20}{rate:>10}{auc:>10}{verdict}".rstrip())
    return "\n".join(lines)


def judge(result: Result, clean: Result, threshold: float) -> str:
    """Say of corrupted rows whether they are seen: by most alarms, by more than clean ones."""
    if result.alarm_rate(threshold) >= 0.5:
        return "seen"
    above = interval(result, threshold)[0] > interval(clean, threshold)[1]
    return "seen in part" if above else "missed"


def format_thresholds(results: Sequence[Result], training_scores: np.ndarray) -> str:
    """Say what other thresholds would do, each one that training with a contamination sets."""
    thresholds = [np.quantile(training_scores, 1 - share) for share in CONTAMINATIONS]
    lines = ["", f"{'contamination':<20}" + "".join(f"{share:>9.1%}" for share in CONTAMINATIONS)]
    lines.append(f"{'threshold':<20}" + "".join(f"{threshold:>9.3f}" for threshold in thresholds))
    for result in results:
        cells = "".join(f"{result.alarm_rate(threshold):>9.1%}" for threshold in thresholds)
        lines.append(f"{result.name:<20}{cells}")
    return "\n".join([*lines, ""])


def plot(results: Sequence[Result], threshold: float, data: census.Census, path: Path) -> None:
    """Draw a bar of the alarm rate for each kind of rows, colored by whether it is seen."""
    clean, *corrupted = results
    corrupted.sort(key=lambda result: result.alarm_rate(threshold))
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    for verdict, color in VERDICTS.items():
        of_it = [result for result in corrupted if judge(result, clean, threshold) == verdict]
        if not of_it:
            continue
        rates = [100 * result.alarm_rate(threshold) for result in of_it]
        bars = axes.barh([result.name for result in of_it], rates, color=color, label=verdict)
        notes = [f"{rate:.1f}%   AUC {r.auc:.2f}" for rate, r in zip(rates, of_it, strict=True)]
        axes.bar_label(bars, notes, padding=4)
    rate = 100 * clean.alarm_rate(threshold)
    axes.axvline(rate, color="black", linestyle="--", label=f"clean rows, {rate:.1f}%")
    axes.set_xlim(0, 125)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("rows that raise an alarm, %")
    rows = f"{len(data.records):,} rows of {data.source}"
    people = " (synthetic people)" if data.source == "sample" else ""
    axes.set_title(f"Which corruptions the metric sees, on {rows}{people}", parse_math=False)
    figure.legend(loc="outside lower center", ncols=4)
    with command.replacing(path) as new:
        figure.savefig(new, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
