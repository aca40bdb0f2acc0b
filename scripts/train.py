"""Train the census KNN detector: fit, evaluate, plot and save it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import census

sys.path.insert(0, str(census.ROOT / "src"))
from portable_knn import PortableKNN

EXAMPLES = """\
examples:
  train.py                               train on UCI's adult.data, downloaded once
  train.py --data sample                 train on the synthetic sample, for trying out
  train.py --data my.csv --neighbors 20  train on another file in UCI's format
"""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="train.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option("--data", default="uci", help="uci, sample or a file (default: uci)")
    option("--neighbors", type=_within(int, 1, 10_000), default=15, help="k (default: 15)")
    # Above 16, the p-th power of an int64 input overflows a float64.
    option("--p", type=_within(float, 1, 16), default=5, help="Minkowski's p (default: 5)")
    option(
        "--contamination",
        type=_within(float, 0.0001, 0.5),
        default=0.05,
        help="share of training rows above the threshold (default: 0.05)",
    )
    option(
        "--seed",
        type=_within(int, 0, 2**32 - 1),
        default=census.SEED,
        help="of the split (default: 0)",
    )
    option(
        "--test-size",
        type=_within(float, 0.0001, 0.9999),
        default=census.TEST_SIZE,
        help="share of held-out rows (default: 0.2)",
    )
    option("--out", type=Path, default=census.ROOT / "monitoring_model.joblib", help="artifact")
    option("--plot", type=Path, default=census.ROOT / "reports/knn_comparison.png", help="picture")
    return parser.parse_args()


def _within(kind: type, low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        number = kind(text)
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"must be from {low} to {high}, got {text}")
        return number

    parse.__name__ = "number"
    return parse


def main() -> None:
    arguments = parse_arguments()
    try:
        train(arguments)
    except census.DataError as error:
        sys.exit(_complain(error))
    except OSError as error:
        sys.exit(_complain(f"{error.filename or arguments.out}: {error.strerror}"))


def _complain(problem: object) -> int:
    print(f"train.py: {problem}", file=sys.stderr)
    return 2


def train(arguments: argparse.Namespace) -> None:
    """Take every step from the data to the report; raises DataError or OSError."""
    steps = tqdm(total=5, bar_format="{desc:<22} |{bar:30}| {elapsed}", disable=None, leave=False)
    with steps:
        _begin(steps, "reading rows")
        data = census.load(arguments.data)
        rows = census.encode(data.records)
        training, held_out = census.split(rows, arguments.test_size, arguments.seed)
        _begin(steps, "fitting the detector")
        detector = fit(training, data, arguments)
        _begin(steps, "scoring held-out rows")
        scores = detector.decision_function(held_out)
        _begin(steps, "saving the artifact")
        detector.save(arguments.out)
        _begin(steps, "drawing the picture")
        plot_scores(detector, scores, arguments.plot)
    print_report(detector, scores, arguments)


def _begin(steps: tqdm, description: str) -> None:
    steps.set_description_str(description)
    steps.update()


def fit(training: np.ndarray, data: census.Census, arguments: argparse.Namespace) -> PortableKNN:
    if arguments.neighbors >= len(training):
        raise census.DataError(
            f"--neighbors {arguments.neighbors} needs more training rows than {len(training)}"
        )
    detector = PortableKNN(
        n_neighbors=arguments.neighbors, p=arguments.p, contamination=arguments.contamination
    )
    origin = census.describe_origin(data, arguments.test_size, arguments.seed)
    return detector.fit(training, feature_names=census.FEATURES, origin=origin)


def plot_scores(detector: PortableKNN, held_out_scores: np.ndarray, path: Path) -> None:
    """Overlay the densities of training and held-out scores and mark the threshold."""
    parts = {"training": detector.decision_scores_, "held-out": held_out_scores}
    # The last thousandth of the scores would squeeze the rest into a corner.
    end = max(2 * detector.threshold_, np.percentile(detector.decision_scores_, 99.9))
    bins = np.linspace(0, end, 61)
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    styles = ({"color": "tab:blue", "alpha": 0.45}, {"color": "tab:orange", "histtype": "step"})
    for (name, scores), style in zip(parts.items(), styles, strict=True):
        share = np.mean(scores > detector.threshold_)
        label = f"{name}: {len(scores):,} rows, {share:.2%} above the threshold"
        axes.hist(np.minimum(scores, end), bins, density=True, lw=1.8, label=label, **style)
    axes.axvline(detector.threshold_, color="black", linestyle="--")
    axes.axvspan(detector.threshold_, end, color="tab:red", alpha=0.08, label="alarm")
    axes.annotate(
        f"threshold {detector.threshold_:.3f} ",
        (detector.threshold_, 0.6),
        xycoords=("data", "axes fraction"),
        ha="right",
        rotation=90,
    )
    axes.set_title("Anomaly scores of census rows, training and held-out")
    axes.set_xlabel(
        f"score: distance to neighbor {detector.n_neighbors} among the training rows"
        f" (the last bar holds all above {end:.1f})"
    )
    axes.set_ylabel("density")
    axes.set_xlim(0, end)
    axes.legend(loc="upper right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def print_report(
    detector: PortableKNN, held_out_scores: np.ndarray, arguments: argparse.Namespace
) -> None:
    parts = {"training": detector.decision_scores_, "held-out": held_out_scores}
    size = arguments.out.stat().st_size
    source, sha256 = detector.origin_["source"], detector.origin_["sha256"]
    print(f"data          {source}, {sum(map(len, parts.values()))} rows, SHA-256 {sha256}")
    print(f"threshold_    {float(detector.threshold_)!r}")
    for name, scores in parts.items():
        above = int(np.sum(scores > detector.threshold_))
        print(f"{name:<14}{above}/{len(scores)} rows above it ({above / len(scores):.2%})")
    print(f"artifact      {_shorten(arguments.out)} ({size / 1000:.0f} KB)")
    print(f"picture       {_shorten(arguments.plot)}")
    if source == "sample":
        print("next          a sample of synthetic people is for trying out: `make train` for use")
    else:
        print("next          `make serve` to try it here, `hs upload` to put it on the platform")


def _shorten(path: Path) -> Path:
    path = path.resolve()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    main()
