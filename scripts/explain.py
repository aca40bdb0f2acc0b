"""Say of a request how anomalous it is, and what each of its fields should be by all the others.

examples:
  explain.py age=540 workclass=4 education=1 marital_status=0 occupation=8 relationship=0 race=4 \
sex=1 capital_gain=2 capital_loss=2 hours_per_week=50 country=9 classes=1
  explain.py --target adult:1 --request 6553f10000000000000001f4    a request of the cluster
  explain.py --target adult:1 --last 5                              its last alarms

What a field should be is read off the 50 training rows that are nearest by all its other fields;
rows that training held out tell how rare it is that a field is so far from that.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from monitoring import cli, files
from monitoring.data.loading import labels_of
from monitoring.detection.detectors import load_detector
from monitoring.detection.explanation import format_explanation, parse_row
from monitoring.hydrosphere.hs import reference
from monitoring.live.alarms import find_alarms


@cli.entry
def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    detector = load_detector(arguments.artifact or files.artifact_path(files.ROOT))
    features = detector.feature_names_in_.tolist()
    labels = labels_of(features)
    if arguments.target:
        found = find_alarms(
            arguments.target, arguments.cluster, arguments.request, arguments.last, detector
        )
        for number, (title, row) in enumerate(found):
            print("\n" if number else "", title, sep="")
            print(format_explanation(detector, row, labels))
        return
    row = parse_row(arguments.row, features, labels)
    print(format_explanation(detector, row, labels))


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.make_parser(__file__, __doc__)
    option = parser.add_argument
    what = "NAME=NUMBER of each feature, a category by name too"
    example = "age=540 workclass=4 ..."
    parser.required("row", example, nargs="*", help=what)
    option("--artifact", type=Path, help="the trained detector (default: this package's)")
    option("--target", type=reference, help="the watched model whose requests are explained")
    option("--request", help="the id of a request, as `make watch` prints it")
    parser.number("--last", int, 1, 1000, default=1, help="or so many of the last alarms")
    option("--cluster", help="address (default: the one that hs has selected)")
    arguments = parser.parse_args(argv)
    if not arguments.row and not arguments.target:
        parser.error("the following arguments are required: ROW")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
