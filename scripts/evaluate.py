"""Measure what the metric sees: alarms on held-out rows, clean and corrupted in seven ways."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

import census
from drift import DRIFTS, corrupt

sys.path.insert(0, str(census.ROOT / "src"))
import portable_knn

EXAMPLES = """\
examples:
  evaluate.py                    the part of UCI's data that training held out
  evaluate.py --data adult.test  all of a file that training has not seen
"""
Z_95 = 1.959963984540054  # standard normal quantile of 97.5%


@dataclass
class Result:
    """How often one kind of rows raises an alarm, and its ROC AUC against clean rows."""

    name: str
    alarm_rate: float
    auc: float | None


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="evaluate.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root = census.ROOT
    parser.add_argument("--data", default="uci", help="uci, sample or a file (default: uci)")
    parser.add_argument("--artifact", type=Path, default=root / "monitoring_model.joblib")
    parser.add_argument(
        "--plot", type=Path, default=root / "reports/evaluation.png", help="picture"
    )
    arguments = parser.parse_args()
    try:
        detector = portable_knn.load(arguments.artifact)
    except RuntimeError as error:
        parser.exit(2, f"evaluate.py: {error}\n")
    try:
        data = census.load(arguments.data)
        unseen = census.find_unseen(data, detector.origin_)
        results = evaluate(detector, [data.records[index] for index in unseen])
        plot(results, len(unseen), detector.contamination, arguments.plot)
    except census.DataError as error:
        parser.exit(2, f"evaluate.py: {error}\n")
    except OSError as error:
        parser.exit(2, f"evaluate.py: {error.filename}: {error.strerror}\n")
    print_table(results, len(unseen), detector)
    print(f"\npicture: {os.path.relpath(arguments.plot)}")


def evaluate(detector: object, records: Sequence[Sequence[str]]) -> list[Result]:
    """Score rows clean and with each corruption; the clean ones come first."""
    rows = census.encode(records)
    clean = detector.decision_function(rows)
    results = [Result("clean", np.mean(clean > detector.threshold_), None)]
    for name in DRIFTS:
        scores = detector.decision_function(corrupt(name, rows, records))
        labels = np.repeat([0, 1], len(rows))
        auc = roc_auc_score(labels, np.concatenate([clean, scores]))
        results.append(Result(name, np.mean(scores > detector.threshold_), auc))
    return results


def find_interval(share: float, count: int) -> tuple[float, float]:
    """Return Wilson's 95% interval of a share.

    Wilson, E. B. (1927), Probable inference, the law of succession, and statistical inference,
    JASA 22, 209-212.
    """
    spread = Z_95**2 / count
    center = (share + spread / 2) / (1 + spread)
    half = Z_95 * np.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return center - half, center + half


def print_table(results: Sequence[Result], count: int, detector: object) -> None:
    low, high = find_interval(results[0].alarm_rate, count)
    print(f"rows           {count} that training has not seen")
    print(f"threshold_     {float(detector.threshold_)!r}")
    print(f"contamination  {detector.contamination:.2%} asked for")
    print(f"alarm rate     {results[0].alarm_rate:.2%}, 95% interval {low:.2%} to {high:.2%}\n")
    print(f"{'rows':<20}{'alarms':>10}{'ROC AUC':>10}")
    for result in results:
        auc = "" if result.auc is None else f"{result.auc:.3f}"
        print(f"{result.name:<20}{result.alarm_rate:>10.2%}{auc:>10}".rstrip())


def plot(results: Sequence[Result], count: int, contamination: float, path: Path) -> None:
    """Draw a bar of the alarm rate for each kind of rows, its ROC AUC written beside it."""
    ordered = [results[0], *sorted(results[1:], key=lambda result: result.alarm_rate)]
    rates = [100 * result.alarm_rate for result in ordered]
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    colors = ["tab:gray", *["tab:red"] * (len(ordered) - 1)]
    bars = axes.barh([result.name for result in ordered], rates, color=colors)
    notes = [f"{r.alarm_rate:.1%}" + (f"   AUC {r.auc:.2f}" if r.auc else "") for r in ordered]
    axes.bar_label(bars, notes, padding=4)
    label = f"contamination, {contamination:.0%}"
    axes.axvline(100 * contamination, color="black", linestyle="--", label=label)
    axes.set_xlim(0, 125)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("rows that raise an alarm, %")
    axes.set_title(f"What the metric sees, on {count:,} rows that training has not seen")
    axes.legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
