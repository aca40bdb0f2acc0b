"""Predict whether a person earns over 50,000 dollars a year: the model that the metric watches."""

import json
from pathlib import Path
from types import SimpleNamespace


def load(path):
    """Load the coefficients, or raise a RuntimeError that says what to do about it."""
    try:
        classifier = SimpleNamespace(**json.loads(path.read_text()))
        return classifier, classifier.features
    except Exception as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise RuntimeError(
            f"cannot load {path} ({reason}): train it with examples/adult/train.py"
        ) from error


classifier, features = load(Path(__file__).resolve().parents[1] / "classifier.json")


def predict(**inputs):
    """Predict `classes`: 1 for an income above 50,000 dollars a year, else 0.

    Parameters
    ----------
    **inputs : numpy or Python integer
        The codes of the features, by name; a code that training never saw counts for nothing.

    Returns
    -------
    dict
        `classes`, an int.

    Raises
    ------
    ValueError
        Names every feature that is missing or not a number.
    """
    codes, problems = {}, []
    for name in features:
        try:
            codes[name] = int(inputs[name])
        except (KeyError, TypeError, ValueError, OverflowError):
            received = repr(inputs[name]) if name in inputs else "nothing"
            problems.append(f"{name}: expected a whole number, got {received}")
    if problems:
        raise ValueError("; ".join(problems))
    score = classifier.intercept + sum(_weigh(name, code) for name, code in codes.items())
    return {"classes": int(score > 0)}


def _weigh(name, code):
    if name in classifier.weights:
        weights = classifier.weights[name]
        return weights[code] if 0 <= code < len(weights) else 0.0
    number = classifier.numbers[name]
    standard = (code - number["mean"]) / number["deviation"]
    return number["linear"] * standard + number["square"] * standard**2
