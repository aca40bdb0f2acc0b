"""Say which features a request's score is made of, beside the training row it is measured to.

examples:
  explain.py age=540 workclass=4 education=1 marital_status=0 occupation=8 relationship=0 race=4 \
sex=1 capital_gain=2 capital_loss=2 hours_per_week=50 country=9 classes=1
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

from lib import census, command
from lib.detector import describe_detector, explain, load_detector

if TYPE_CHECKING:
    from portable_knn import PortableKNN


@command.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = command.make_parser(__file__, __doc__)
    option = parser.add_argument
    what = "NAME=NUMBER of each feature, a category by name too"
    example = "age=540 workclass=4 ..."
    parser.required("row", example, nargs="+", type=fields, help=what)
    option("--artifact", **command.ARTIFACT_OPTION)
    arguments = parser.parse_args(argv)
    detector = load_detector(arguments.artifact)
    row = read_row(list(chain(*arguments.row)), detector.feature_names_in_.tolist())
    print(format_account(detector, row))


def fields(text: str) -> list[tuple[str, float]]:
    """Take one or more of NAME=NUMBER; of a category its name does, too."""
    return [field(one) for one in text.split()]


def field(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    codes = census.CATEGORIES.get(name, {})
    try:
        return name, float(codes.get(value, value))
    except ValueError:
        expected = f"a number or one of {', '.join(codes)}" if codes else "NAME=NUMBER"
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}") from None


def read_row(fields: Sequence[tuple[str, float]], features: list[str]) -> list[float]:
    """Take the features in order, as `predict` does; refuse other names, and one given twice."""
    from messages import read

    names = [name for name, _ in fields]
    unknown = [name for name in names if name not in features]
    if unknown:
        raise command.UserError(f"{', '.join(unknown)}: not one of {', '.join(features)}")
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        raise command.UserError(f"{twice} is given {names.count(twice)} times")
    try:
        return read(dict(fields), features)
    except ValueError as error:
        raise command.UserError(str(error)) from error


def format_account(detector: PortableKNN, row: list[float]) -> str:
    """Return the table: the score, then each feature by its share in it."""
    shares, neighbor = explain(detector, row)
    score = detector.decision_function([row])[0]
    (p_value,) = detector.p_value([score])
    state = "alarm" if score > detector.threshold_ else "no alarm"
    lines = [
        f"detector      {describe_detector(detector)}",
        f"score         {float(score)!r}, {state} at threshold {float(detector.threshold_)!r}",
        f"p-value       {p_value:.2g}, as rare is such a score or a higher one in training",
        "",
        f"{'feature':<16}{'share':>7}  {'value':<36}neighbor {detector.n_neighbors}'s",
    ]
    for index in (-shares).argsort(kind="stable"):
        name = detector.feature_names_in_[index]
        value, other = (census.describe_code(name, row[index]) for row in (row, neighbor))
        lines.append(f"{name:<16}{shares[index]:>7.1%}  {value:<36}{other}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
