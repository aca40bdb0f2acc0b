"""Train the census KNN detector: fit, evaluate, plot and save it.

examples:
  train.py                               train on UCI's adult.data, downloaded once
  train.py --data sample                 train on the synthetic sample, for trying out
  train.py --data my.csv --neighbors 20  train on another file in UCI's format
  train.py --distance hvdm               by the distance that sees codes and the model's answers
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lib import census, command, origin
from lib.detector import describe_detector, load_detector
from lib.fitting import CONTAMINATION, DISTANCES, PARAMS, PUBLISHED, fit_detector

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

if TYPE_CHECKING:
    from portable_knn import PortableKNN


@command.entry
def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    command.require_writable(arguments.out, arguments.plot)
    steps = tqdm(total=4, bar_format="{desc:<22} |{bar:30}| {elapsed}", disable=None, leave=False)
    with steps:
        begin(steps, "reading rows")
        data = census.load(arguments.data)
        old_source = source_of(arguments.out)
        if not arguments.force:
            origin.require_same_kind(arguments.out, old_source, data)
        begin(steps, "fitting the detector")
        given = vars(arguments)
        params = {name: given[name] for name in PARAMS if given[name] is not None}
        split = arguments.test_size, arguments.seed
        detector, scores = fit(data, *split, arguments.distance, **params)
        begin(steps, "drawing the picture")
        plot_scores(detector, scores, arguments.plot)
        begin(steps, "saving the artifact")
        with command.keeping_previous(arguments.out, old_source == "sample"):
            detector.save(arguments.out)
    print_report(detector, scores, arguments)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.make_parser(__file__, __doc__)
    option, number = parser.add_argument, parser.number
    option("--data", **command.DATA)
    option("--distance", choices=DISTANCES, default=PUBLISHED, help="default: %(default)s")
    usual = "(default: {minkowski[%s]}, with hvdm {hvdm[%s]})"
    k, p = ((usual % (name, name)).format(**DISTANCES) for name in ("n_neighbors", "p"))
    number("--neighbors", int, 1, 10_000, dest="n_neighbors", help=f"k {k}")
    option("--p", type=float, help=f"Minkowski's p {p}")
    share = "share of training rows above the threshold"
    number("--contamination", float, 0.0001, 0.5, default=CONTAMINATION, help=share)
    origin.add_split_options(parser)
    option("--out", type=Path, default=command.ARTIFACT, help="artifact")
    option("--plot", type=Path, default=command.REPORTS / "knn_comparison.png", help="picture")
    option("--force", action="store_true", help="replace an artifact of another kind of data")
    return parser.parse_args(argv)


def source_of(artifact: Path) -> str | None:
    """Return where an artifact's data came from, None if there is no artifact."""
    try:
        return load_detector(artifact).origin_.get("source", origin.UNKNOWN)
    except command.UserError:
        return origin.UNKNOWN if artifact.exists() else None


def begin(steps: tqdm, description: str) -> None:
    steps.set_description_str(description)
    steps.update()


def fit(
    data: census.Census,
    test_size: float = origin.TEST_SIZE,
    seed: int = origin.SEED,
    distance: str = PUBLISHED,
    **params: float,
) -> tuple[PortableKNN, np.ndarray]:
    """Fit the detector on the training part of the data, and score the held-out part.

    Parameters
    ----------
    data : Census
    test_size, seed
        Of the split.
    distance, **params
        Of the detector; parameters that are left out are the distance's usual ones.

    Returns
    -------
    detector : PortableKNN
        With the share of held-out rows above its threshold as ``origin_["held_out_rate"]``.
    scores : ndarray, shape (n,), dtype float64
        Of the rows that it was not fitted on.

    Raises
    ------
    UserError
        If the rows are too few, or a parameter is out of its range.
    """
    training, held_out = origin.split(census.encode(data.records), test_size, seed)
    described = origin.describe_origin(data, test_size, seed)
    detector = fit_detector(training, distance, described, **params)
    scores = detector.decision_function(held_out)
    detector.origin_["held_out_rate"] = float(np.mean(scores > detector.threshold_))
    return detector, scores


def plot_scores(detector: PortableKNN, held_out_scores: np.ndarray, path: Path) -> None:
    """Overlay the densities of training and held-out scores and mark the threshold."""
    parts = {"training": detector.decision_scores_, "held-out": held_out_scores}
    # The last thousandth of the scores would squeeze the rest into a corner.
    end = max(2 * detector.threshold_, np.percentile(detector.decision_scores_, 99.9))
    bins = np.linspace(0, end, 61)
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.add_subplot()
    styles = ({"color": "tab:blue", "alpha": 0.45}, {"color": "tab:orange", "histtype": "step"})
    for (name, scores), style in zip(parts.items(), styles, strict=True):
        share = np.mean(scores > detector.threshold_)
        label = f"{name}: {len(scores):,} rows, {share:.2%} above the threshold"
        axes.hist(np.minimum(scores, end), bins, density=True, lw=1.8, label=label, **style)
    label = f"threshold {detector.threshold_:.3f}"
    axes.axvline(detector.threshold_, color="black", linestyle="--", label=label)
    axes.axvspan(detector.threshold_, end, color="tab:red", alpha=0.08, label="alarm")
    source = detector.origin_["source"]
    people = "synthetic people of the sample" if source == "sample" else f"census rows ({source})"
    axes.set_title(f"Anomaly scores of {people}, training and held-out")
    axes.set_xlabel(
        f"score: distance to neighbor {detector.n_neighbors} among the training rows"
        f" (the last bar holds all above {bins[-2]:.1f})"
    )
    axes.set_ylabel("density")
    axes.set_xlim(0, end)
    figure.legend(loc="outside lower center", ncols=2)
    with command.replacing(path) as new:
        figure.savefig(new, dpi=120)


def print_report(
    detector: PortableKNN, held_out_scores: np.ndarray, arguments: argparse.Namespace
) -> None:
    parts = {"training": detector.decision_scores_, "held-out": held_out_scores}
    size = arguments.out.stat().st_size
    source, sha256 = detector.origin_["source"], detector.origin_["sha256"]
    print(f"data          {source}, {sum(map(len, parts.values()))} rows, SHA-256 {sha256}")
    print(f"detector      {describe_detector(detector)}")
    print(f"threshold_    {float(detector.threshold_)!r}")
    for name, scores in parts.items():
        above = int(np.sum(scores > detector.threshold_))
        print(f"{name:<14}{above}/{len(scores)} rows above it ({above / len(scores):.2%})")
    print(f"artifact      {command.shorten(arguments.out)} ({size / 1000:.0f} KB)")
    print(f"picture       {command.shorten(arguments.plot)}")
    if source == "sample":
        print("next          a sample of synthetic people is for trying out: `make train` for use")
    else:
        print("next          `make serve` to try it here, `make upload` to put it on the platform")


if __name__ == "__main__":
    sys.exit(main())
