"""Train the income classifier that the metric watches: a logistic regression, saved as JSON.

examples:
  train.py                 train on UCI's adult.data, downloaded once
  train.py --data sample   train on the synthetic sample, for trying out
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from lib import census, command, origin

import numpy as np
from sklearn.linear_model import LogisticRegression

FOLDER = Path(__file__).resolve().parent
TRAINING_DATA = "training_data.csv"  # beside the artifact, as serving.yaml has it
FEATURES = census.FEATURES[:-1]
N_CODES = {name: max(codes.values()) + 1 for name, codes in census.CATEGORIES.items()}
N_CODES |= dict.fromkeys(census.HIGH_ABOVE, 3)


@command.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = command.make_parser(__file__, __doc__)
    option = parser.add_argument
    option("--data", **command.DATA)
    origin.add_split_options(parser)
    option("--out", type=Path, default=FOLDER / "classifier.json", help="artifact")
    option("--force", action="store_true", help="replace an artifact of another kind of data")
    arguments = parser.parse_args(argv)
    training_data = arguments.out.with_name(TRAINING_DATA)
    command.require_writable(arguments.out, training_data)
    data = census.load(arguments.data)
    old_source = source_of(arguments.out)
    if not arguments.force:
        origin.require_same_kind(arguments.out, old_source, data)
    parts = origin.split(census.encode(data.records), arguments.test_size, arguments.seed)
    model, scaling = fit(parts[0])
    described = origin.describe_origin(data, arguments.test_size, arguments.seed)
    classifier = {**describe(model, scaling), "origin_": described}
    keeping = command.keeping_previous(arguments.out, old_source == "sample")
    with keeping, command.replacing(arguments.out) as new, command.replacing(training_data) as csv:
        new.write_text(json.dumps(classifier, indent=1))
        write_training_data(csv, parts[0], model.predict(build_columns(parts[0], scaling)))
    print(f"data          {data.source}, {len(data.records)} rows, SHA-256 {data.sha256}")
    for name, part in zip(("training", "held-out"), parts, strict=True):
        accuracy = model.score(build_columns(part, scaling), part[:, -1])
        print(f"{name:<14}{accuracy:.4f} of {len(part)} rows predicted right")
    print(f"artifact      {command.shorten(arguments.out)}")
    print(f"profiles      {command.shorten(training_data)}, for the platform")


def write_training_data(path: Path, rows: np.ndarray, answers: np.ndarray) -> None:
    """Write what the platform holds live requests against: inputs, and what the model answers.

    Its profiles are of both, and its own outlier detector takes the columns in the contract's
    order. The rows' labels would look like drift: the model says 1 less often than they do.
    """
    table = np.column_stack([rows[:, :-1], answers])
    np.savetxt(path, table, "%d", ",", header=",".join(census.FEATURES), comments="")


def source_of(artifact: Path) -> str | None:
    """Return where an artifact's data came from, None if there is no artifact."""
    try:
        return json.loads(artifact.read_text())["origin_"]["source"]
    except (OSError, ValueError, KeyError, TypeError):
        return origin.UNKNOWN if artifact.exists() else None


Scaling = dict[str, tuple[float, float]]


def fit(rows: np.ndarray) -> tuple[LogisticRegression, Scaling]:
    """Fit the classifier; return it with the mean and deviation of each number."""
    if len(np.unique(rows[:, -1])) < 2:
        raise command.UserError("all training rows are of one class")
    columns = dict(zip(FEATURES, rows.T, strict=False))
    scaling = {name: (columns[name].mean(), columns[name].std() or 1.0) for name in census.NUMBERS}
    model = LogisticRegression(max_iter=2000)
    return model.fit(build_columns(rows, scaling), rows[:, -1]), scaling


def build_columns(rows: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Standardize numbers, and square them too; give each category's code a column of its own."""
    columns = []
    for name, column in zip(FEATURES, rows.T, strict=False):
        if name in census.NUMBERS:
            standard = (column - scaling[name][0]) / scaling[name][1]
            columns += [standard, standard**2]
        else:
            columns += list(np.eye(N_CODES[name])[column].T)
    return np.column_stack(columns)


def describe(model: LogisticRegression, scaling: Scaling) -> dict:
    """Turn the coefficients into plain values, by feature."""
    coefficients = iter(model.coef_[0].tolist())
    numbers, weights = {}, {}
    for name in FEATURES:
        if name in census.NUMBERS:
            mean, deviation = map(float, scaling[name])
            linear, square = next(coefficients), next(coefficients)
            names = ("mean", "deviation", "linear", "square")
            numbers[name] = dict(zip(names, (mean, deviation, linear, square), strict=True))
        else:
            weights[name] = [next(coefficients) for _ in range(N_CODES[name])]
    intercept = float(model.intercept_[0])
    return {"features": FEATURES, "intercept": intercept, "numbers": numbers, "weights": weights}


if __name__ == "__main__":
    sys.exit(main())
