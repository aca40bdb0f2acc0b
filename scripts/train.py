"""Train the KNN detector: fit it, score held-out rows, draw the scores and save the artifact.

examples:
  train.py                               train on UCI's adult.data, downloaded once
  train.py --data sample                 train on the synthetic sample, for trying out
  train.py --data requests.parquet       train on recorded requests
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from monitoring import cli, files
from monitoring.contract import Contract
from monitoring.data import provenance
from monitoring.data.loading import load_rows
from monitoring.detection.detectors import source_of
from monitoring.detection.report import format_training, plot_scores
from monitoring.detection.training import PARAMS, find_drift, train


@cli.entry
def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    out = arguments.out or files.artifact_path(arguments.model)
    files.require_writable(out, arguments.plot, inputs=[arguments.data])
    steps = tqdm(total=5, bar_format="{desc:<22} |{bar:30}| {elapsed}", disable=None, leave=False)
    with steps:
        begin(steps, "reading rows")
        contract = Contract.read(arguments.model)
        rows = load_rows(arguments.data, contract, arguments.most_rejected, arguments.time)
        if not arguments.force:
            provenance.require_replaceable(out, source_of(out), rows.source)
        begin(steps, "fitting the detector")
        params = {name: getattr(arguments, name) for name in PARAMS}
        detector, scores = train(rows, arguments.test_size, arguments.seed, **params)
        begin(steps, "looking for drift")
        drift = find_drift(rows, arguments.seed, **params)
        begin(steps, "drawing the picture")
        plot_scores(detector, scores, arguments.plot)
        begin(steps, "saving the artifact")
        with files.keeping_previous(out):
            detector.save(out)
    print(format_training(detector, scores, rows.rejected, drift, out, arguments.plot))


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.make_parser(__file__, __doc__)
    option, number = parser.add_argument, parser.number
    parser.data()
    parser.time()
    k, p, contamination = PARAMS.values()
    number("--neighbors", int, 1, 10_000, dest="n_neighbors", default=k, help="k")
    option("--p", type=float, default=p, help="Minkowski's p (default: %(default)s)")
    what = "proportion of training rows above the threshold"
    number("--contamination", float, 0.0001, 0.5, default=contamination, help=what)
    provenance.add_split_options(parser)
    option(
        "--model",
        type=Path,
        default=files.ROOT,
        help="of the contract (default: this package)",
    )
    option("--out", type=Path, help="artifact (default: the package's)")
    parser.picture("--plot", default=files.REPORTS / "knn_comparison.png", help="picture")
    option("--force", action="store_true", help="let the sample replace what is no sample")
    return parser.parse_args(argv)


def begin(steps: tqdm, description: str) -> None:
    steps.set_description_str(description)
    steps.update()


if __name__ == "__main__":
    sys.exit(main())
