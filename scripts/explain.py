"""Say which features a request's score is made of, beside the training row it is measured to.

examples:
  explain.py age=540 workclass=4 education=1 marital_status=0 occupation=8 relationship=0 race=4 \
sex=1 capital_gain=2 capital_loss=2 hours_per_week=50 country=9 classes=1
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lib import census, command
from lib.detector import describe_detector, load_detector

if TYPE_CHECKING:
    from portable_knn import PortableKNN


@command.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = command.make_parser(__file__, __doc__)
    option = parser.add_argument
    option("row", nargs="+", type=field, metavar="NAME=NUMBER", help="each of the features")
    option("--artifact", **command.ARTIFACT_OPTION)
    arguments = parser.parse_args(argv)
    detector = load_detector(arguments.artifact)
    print(explain(detector, read_row(dict(arguments.row), detector.feature_names_in_.tolist())))


def field(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return name, float(number)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected NAME=NUMBER, got {text!r}") from None


def read_row(inputs: dict[str, float], features: list[str]) -> list[float]:
    """Take the features in order, as `predict` does; refuse other names too."""
    from messages import read

    unknown = ", ".join(inputs.keys() - features)
    if unknown:
        raise command.UserError(f"{unknown}: not one of {', '.join(features)}")
    try:
        return read(inputs, features)
    except ValueError as error:
        raise command.UserError(str(error)) from error


def explain(detector: PortableKNN, row: list[float]) -> str:
    """Return the table: the score, then each feature by its share in it."""
    score = detector.decision_function([row])[0]
    (p_value,) = detector.p_value([score])
    shares, neighbor = detector.explain(row)
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
