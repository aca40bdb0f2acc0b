"""Predict whether a person earns over 50,000 dollars a year: the model that the metric watches."""

import json
from pathlib import Path
from types import SimpleNamespace

import messages


def load(path):
    """Load the coefficients, or raise a RuntimeError that says what to do about it."""
    try:
        classifier = SimpleNamespace(**json.loads(path.read_text()))
        return classifier, classifier.features
    except Exception as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise RuntimeError(
            f"cannot load {path} ({reason}): train it with `make train MODEL=examples/adult`"
        ) from error


classifier, features = load(Path(__file__).resolve().parents[1] / "classifier.json")


def predict(**inputs):
    """Predict `classes`: 1 for an income above 50,000 dollars a year, else 0.

    Parameters
    ----------
    **inputs : numpy or Python scalar, size-1 array, or tensor message
        The codes of the features, by name; a code that training never saw counts for nothing.

    Returns
    -------
    dict or PredictResponse
        `classes`, an int. If a feature came as a tensor message, a PredictResponse of the same
        hydro-serving-grpc generation.

    Raises
    ------
    ValueError
        Names every feature that is missing or not one finite number within int64.
    """
    row = messages.read(inputs, features)
    score = classifier.intercept + sum(map(_weigh, features, row))
    return messages.answer(inputs, features, classes=int(score > 0))


def _weigh(name, code):
    if name in classifier.weights:
        weights = classifier.weights[name]
        return weights[int(code)] if 0 <= code < len(weights) else 0.0
    number = classifier.numbers[name]
    standard = (code - number["mean"]) / number["deviation"]
    return number["linear"] * standard + number["square"] * standard**2
