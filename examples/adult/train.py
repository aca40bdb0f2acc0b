"""Train the income classifier that the metric watches: a logistic regression, saved as JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import census

EXAMPLES = """\
examples:
  train.py                 train on UCI's adult.data, downloaded once
  train.py --data sample   train on the synthetic sample, for trying out
"""
FOLDER = Path(__file__).resolve().parent
FEATURES = census.FEATURES[:-1]
NUMBERS = ("age", "hours_per_week")
N_CODES = {name: max(codes.values()) + 1 for name, codes in census.CATEGORIES.items()}
N_CODES |= dict.fromkeys(census.HIGH_ABOVE, 3)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="train.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", default="uci", help="uci, sample or a file (default: uci)")
    parser.add_argument("--seed", type=int, default=census.SEED, help="of the split (default: 0)")
    parser.add_argument("--test-size", type=float, default=census.TEST_SIZE, help="default: 0.2")
    parser.add_argument("--out", type=Path, default=FOLDER / "classifier.json", help="artifact")
    arguments = parser.parse_args()
    if not 0 < arguments.test_size < 1 or not 0 <= arguments.seed < 2**32:
        parser.exit(
            2, "train.py: --test-size must be between 0 and 1, --seed from 0 to 2**32 - 1\n"
        )
    try:
        data = census.load(arguments.data)
        rows = census.encode(data.records)
        parts = census.split(rows, arguments.test_size, arguments.seed)
        model, scaling = fit(parts[0])
        origin = census.describe_origin(data, arguments.test_size, arguments.seed)
        save({**describe(model, scaling), "origin_": origin}, arguments.out)
    except census.DataError as error:
        parser.exit(2, f"train.py: {error}\n")
    except OSError as error:
        parser.exit(2, f"train.py: {arguments.out}: {error.strerror}\n")
    print(f"data          {data.source}, {len(rows)} rows, SHA-256 {data.sha256}")
    for name, part in zip(("training", "held-out"), parts, strict=True):
        accuracy = model.score(build_columns(part, scaling), part[:, -1])
        print(f"{name:<14}{accuracy:.4f} of {len(part)} rows predicted right")
    print(f"artifact      {os.path.relpath(arguments.out)}")


Scaling = dict[str, tuple[float, float]]


def fit(rows: np.ndarray) -> tuple[LogisticRegression, Scaling]:
    """Fit the classifier; return it with the mean and deviation of each number."""
    if len(np.unique(rows[:, -1])) < 2:
        raise census.DataError("all training rows are of one class")
    columns = dict(zip(FEATURES, rows.T, strict=False))
    scaling = {name: (columns[name].mean(), columns[name].std() or 1.0) for name in NUMBERS}
    model = LogisticRegression(max_iter=2000)
    return model.fit(build_columns(rows, scaling), rows[:, -1]), scaling


def build_columns(rows: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Standardize numbers, and square them too; give each category's code a column of its own."""
    columns = []
    for name, column in zip(FEATURES, rows.T, strict=False):
        if name in NUMBERS:
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
        if name in NUMBERS:
            mean, deviation = map(float, scaling[name])
            linear, square = next(coefficients), next(coefficients)
            names = ("mean", "deviation", "linear", "square")
            numbers[name] = dict(zip(names, (mean, deviation, linear, square), strict=True))
        else:
            weights[name] = [next(coefficients) for _ in range(N_CODES[name])]
    intercept = float(model.intercept_[0])
    return {"features": FEATURES, "intercept": intercept, "numbers": numbers, "weights": weights}


def save(classifier: dict, path: Path) -> None:
    """Write the artifact, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_text(json.dumps(classifier, indent=1))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
