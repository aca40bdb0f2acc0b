"""Train the income classifier that the metric watches: a logistic regression, saved as JSON.

examples:
  python examples/adult/train.py                 train on UCI's adult.data, downloaded once
  python examples/adult/train.py --data sample   train on the synthetic sample, for trying out
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from knn_metric import cli, files
from knn_metric.data import census
from knn_metric.data.rows import Rows, describe_origin, load_census, split
from knn_metric.tables import format_fields

FOLDER = Path(__file__).resolve().parent
ARTIFACT = "classifier.json"
TRAINING_DATA = "training_data.csv"  # beside the artifact, as serving.yaml has it
*FEATURES, OUTCOME = census.FEATURES
N_CODES = {name: max(codes.values()) + 1 for name, codes in census.CATEGORIES.items()}
N_CODES |= dict.fromkeys(census.HIGH_ABOVE, 3)


@cli.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.Parser(__doc__, prog="train.py")
    what = "uci, sample, or a file in UCI's format (default: uci)"
    parser.add_argument("--data", default="uci", metavar="PATH", help=what)
    parser.split()
    parser.package(default=FOLDER)
    arguments = parser.parse_args(argv)
    out, training_data = arguments.package / ARTIFACT, arguments.package / TRAINING_DATA
    files.require_writable(out, training_data)
    rows = load_census(arguments.data)
    if not arguments.force:
        files.require_replaceable(out, source_of(out), rows.source)
    parts = split(rows, arguments.test_size, arguments.seed)
    model, scaling = fit(parts[0])
    origin = describe_origin(rows, arguments.test_size, arguments.seed)
    with (
        files.keeping_previous(out),
        files.replacing_file(out) as new,
        files.replacing_file(training_data) as csv,
    ):
        new.write_text(json.dumps({**describe(model, scaling), "origin_": origin}, indent=1))
        write_training_data(csv, parts[0], model.predict(build_columns(parts[0], scaling)))
    fields = {"data": f"{rows.source}, {len(rows)} rows, SHA-256 {rows.sha256}"}
    for name, part in zip(("training", "held-out"), parts, strict=True):
        accuracy = model.score(build_columns(part, scaling), part.column(OUTCOME))
        fields[name] = f"{accuracy:.4f} of {len(part)} rows predicted right"
    fields["artifact"] = files.shorten(out)
    fields["profiles"] = f"{files.shorten(training_data)}, for the platform"
    print(format_fields(fields))


def write_training_data(path: Path, rows: Rows, answers: np.ndarray) -> None:
    """Write what the platform holds live requests against: inputs, and what the model answers.

    Its profiles are of both, and its own outlier detector takes the columns in the contract's
    order. The rows' labels would look like a change: the model says 1 less often than they do.
    """
    table = np.column_stack([rows.values[:, :-1], answers])
    np.savetxt(path, table, "%d", ",", header=",".join(census.FEATURES), comments="")


def source_of(artifact: Path) -> str | None:
    """Return where an artifact's rows came from, None if there is no artifact."""
    if not artifact.exists():
        return None
    try:
        return str(json.loads(artifact.read_text())["origin_"]["source"])
    except (ValueError, KeyError, TypeError):
        return "data that cannot be read"


Scaling = dict[str, tuple[float, float]]


def fit(rows: Rows) -> tuple[LogisticRegression, Scaling]:
    """Fit the classifier; return it with the mean and deviation of each number."""
    outcomes = rows.column(OUTCOME)
    if len(np.unique(outcomes)) < 2:
        raise cli.UserError("all training rows are of one class")
    columns = {name: rows.column(name) for name in census.NUMBERS}
    scaling = {name: (column.mean(), column.std() or 1.0) for name, column in columns.items()}
    model = LogisticRegression(max_iter=2000)
    return model.fit(build_columns(rows, scaling), outcomes), scaling


def build_columns(rows: Rows, scaling: Scaling) -> np.ndarray:
    """Standardize numbers, and square them too; give each category's code a column of its own."""
    columns = []
    for name in FEATURES:
        column = rows.column(name)
        if name in census.NUMBERS:
            standard = (column - scaling[name][0]) / scaling[name][1]
            columns += [standard, standard**2]
        else:
            columns += list(np.eye(N_CODES[name])[column.astype(int)].T)
    return np.column_stack(columns)


def describe(model: LogisticRegression, scaling: Scaling) -> dict[str, Any]:
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
