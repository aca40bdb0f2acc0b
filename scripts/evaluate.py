"""Measure what the metric sees: alarms on rows, clean and corrupted, by either distance.

The artifact is held beside the other distance, fitted on the same training rows. `notice` is the
number of requests after which a one-sided binomial test against the contamination calls the rate
of alarms news (p < 0.001), with probability 0.9; - where that takes more than 5,000.

examples:
  evaluate.py                    the part of UCI's data that training held out
  evaluate.py --data adult.test  all of another file
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lib import census, command, drift, origin
from lib.alarm_rate import requests_to_notice
from lib.detector import describe_detector, distance_of, load_detector
from lib.fitting import fit_other

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

if TYPE_CHECKING:
    from portable_knn import PortableKNN

CONTAMINATIONS = (0.1, 0.05, 0.02, 0.01, 0.001)
COLORS = {"minkowski": "tab:gray", "hvdm": "tab:blue"}


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
    detector = load_detector(arguments.artifact)
    data = origin.hold_out(census.load(arguments.data), detector.origin_)
    detectors = [detector]
    try:
        detectors.append(fit_other(detector))
    except command.UserError as error:
        print(error)
    both = {one: evaluate(one, data.records) for one in detectors}
    results = both[detector]
    print(f"data           {origin.describe_traffic(data, detector)}")
    print(f"detector       {describe_detector(detector)}")
    print(f"threshold_     {float(detector.threshold_)!r}")
    print(f"contamination  {detector.contamination:.2%} asked for")
    print(format_clean(results[0], detector.threshold_))
    print(format_alarms(both))
    print(format_thresholds(results, detector.decision_scores_))
    plot(both, data, arguments.plot)
    print(f"picture        {command.shorten(arguments.plot)}")


def evaluate(detector: PortableKNN, records: Sequence[Sequence[str]]) -> list[Result]:
    """Score rows clean and with each corruption; the clean ones come first."""
    rows = census.encode(records)
    clean = detector.decision_function(rows)
    results = [Result("clean", clean)]
    progress = f"scoring, {distance_of(detector)}"
    for name in tqdm(drift.DRIFTS, desc=progress, disable=None, leave=False):
        scores = detector.decision_function(drift.corrupt(name, rows, records))
        auc = roc_auc_score(np.repeat([0, 1], len(rows)), np.concatenate([clean, scores]))
        results.append(Result(name, scores, auc))
    return results


def format_clean(clean: Result, threshold: float) -> str:
    alarms = int(np.sum(clean.scores > threshold))
    low, high = binomtest(alarms, len(clean.scores)).proportion_ci(method="wilson")
    rate = clean.alarm_rate(threshold)
    return f"alarm rate     {rate:.2%}, 95% interval {low:.2%} to {high:.2%}\n"


def format_alarms(both: dict[PortableKNN, list[Result]]) -> str:
    """Say of each corruption what share of rows alarms and when that is noticed, by distance."""
    heads = "".join(f"   {describe_detector(detector):<24}" for detector in both)
    columns = f"   {'alarms':>8}{'ROC AUC':>9}{'notice':>7}" * len(both)
    lines = [f"{'':<18}{heads}".rstrip(), f"{'rows':<18}{columns}   what went wrong"]
    for results in zip(*both.values(), strict=True):
        cells = "".join(map(format_cells, both, results))
        name = results[0].name
        cause = drift.DRIFTS[name].cause if name in drift.DRIFTS else ""
        lines.append(f"{name:<18}{cells}   {cause}".rstrip())
    return "\n".join(lines)


def format_cells(detector: PortableKNN, result: Result) -> str:
    rate = result.alarm_rate(detector.threshold_)
    if np.isnan(result.auc):
        return f"   {rate:>8.2%}{'':>16}"
    return f"   {rate:>8.2%}{result.auc:>9.3f}{describe_notice(detector, rate):>7}"


def describe_notice(detector: PortableKNN, rate: float) -> str:
    requests = requests_to_notice(rate, detector.contamination)
    return f"{requests:,}" if requests else "-"


def format_thresholds(results: Sequence[Result], training_scores: np.ndarray) -> str:
    """Say what other thresholds would do, each one that training with a contamination sets."""
    thresholds = [np.quantile(training_scores, 1 - share) for share in CONTAMINATIONS]
    lines = ["", f"{'contamination':<20}" + "".join(f"{share:>9.1%}" for share in CONTAMINATIONS)]
    lines.append(f"{'threshold':<20}" + "".join(f"{threshold:>9.3f}" for threshold in thresholds))
    for result in results:
        cells = "".join(f"{result.alarm_rate(threshold):>9.1%}" for threshold in thresholds)
        lines.append(f"{result.name:<20}{cells}")
    return "\n".join([*lines, ""])


def plot(both: dict[PortableKNN, list[Result]], data: census.Census, path: Path) -> None:
    """Draw a bar of the alarm rate for each corruption and distance, and when it is noticed."""
    names = list(drift.DRIFTS)[::-1]
    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.add_subplot()
    for number, (detector, results) in enumerate(both.items()):
        rates = {result.name: 100 * result.alarm_rate(detector.threshold_) for result in results}
        places = np.arange(len(names)) + (0.2 if number == 0 else -0.2)
        color, label = COLORS[distance_of(detector)], describe_detector(detector)
        bars = axes.barh(places, [rates[name] for name in names], 0.38, color=color, label=label)
        notices = [describe_notice(detector, rates[name] / 100) for name in names]
        notes = [
            f"{rates[name]:.1f}%, " + ("missed" if notice == "-" else f"after {notice}")
            for name, notice in zip(names, notices, strict=True)
        ]
        axes.bar_label(bars, notes, padding=4, fontsize=8)
        label = f"clean rows, {rates['clean']:.1f}%"
        axes.axvline(rates["clean"], color=color, linestyle="--", linewidth=1, label=label)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(0, 120)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("rows that raise an alarm, %, and the requests after which that is news")
    rows = f"{len(data.records):,} rows of {data.source}"
    people = " (synthetic people)" if data.source == "sample" else ""
    axes.set_title(f"Which corruptions the metric sees, on {rows}{people}", parse_math=False)
    figure.legend(loc="outside lower center", ncols=2)
    with command.replacing(path) as new:
        figure.savefig(new, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
