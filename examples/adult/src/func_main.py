"""Predict whether a person earns over 50,000 dollars a year: the model that the metric watches."""

import json
from pathlib import Path
from types import SimpleNamespace

ARTIFACT = Path(__file__).resolve().parents[1] / "classifier.json"


def load_classifier(path):
    """Load the coefficients, or raise a RuntimeError that says what to do about it."""
    try:
        classifier = SimpleNamespace(**json.loads(path.read_text()))
        return classifier, classifier.features
    except Exception as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise RuntimeError(
            f"cannot load {path} ({reason}): train it with `make train MODEL=examples/adult`"
        ) from error


classifier, features = load_classifier(ARTIFACT)


def predict(**inputs):
    """Predict `classes`: 1 for an income above 50,000 dollars a year, else 0.

    Parameters
    ----------
    **inputs : int64 scalar or tensor message
        The codes of the features, by name; a code that training never saw counts for nothing.

    Returns
    -------
    dict or PredictResponse
        `classes`, an int. A PredictResponse when the features came as tensor messages.

    Raises
    ------
    ValueError
        Names every feature that is missing or not one number.
    """
    score, problems = classifier.intercept, []
    for name in features:
        try:
            score += _weigh(name, _read_code(inputs[name]))
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            problems.append(f"{name}: {'missing' if name not in inputs else error}")
    if problems:
        raise ValueError("; ".join(problems))
    classes = int(score > 0)
    first = inputs[features[0]]
    return _respond(classes, first) if hasattr(first, "int64_val") else {"classes": classes}


def _read_code(value):
    return value.int64_val[0] if hasattr(value, "int64_val") else int(value)


def _weigh(name, code):
    if name in classifier.weights:
        weights = classifier.weights[name]
        return weights[code] if 0 <= code < len(weights) else 0.0
    number = classifier.numbers[name]
    standard = (code - number["mean"]) / number["deviation"]
    return number["linear"] * standard + number["square"] * standard**2


def _respond(classes, tensor):
    if type(tensor).__name__ == "TensorProto":  # 2.x
        from hydro_serving_grpc import PredictResponse
    else:
        from hydro_serving_grpc.serving.runtime.api_pb2 import PredictResponse
    response = PredictResponse()
    output = response.outputs["classes"]
    output.dtype = 9  # DT_INT64
    output.int64_val.append(classes)
    output.tensor_shape.SetInParent()  # present and without dims: a scalar
    return response
