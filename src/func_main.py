"""Score one shadowed request: thirteen census features in, the anomaly score `value` out."""

from pathlib import Path
from typing import Any

from portable_knn import load, messages

detector = load(Path(__file__).resolve().parents[1] / "monitoring_model.joblib")
features = detector.feature_names_in_.tolist()


def predict(**inputs: Any) -> Any:
    """Score a request by its distance to the training rows.

    Parameters
    ----------
    **inputs : numpy or Python scalar, size-1 array, or tensor message
        The features that the detector was trained on, by name; other names are ignored.

    Returns
    -------
    dict or PredictResponse
        `value`, a float from 0 up; above the detector's ``threshold_`` it is an alarm. If a feature
        came as a tensor message, a PredictResponse of the same hydro-serving-grpc generation.

    Raises
    ------
    ValueError
        Names every feature that is missing or not one finite number within int64.
    """
    row = messages.read(inputs, features)
    value = float(detector.decision_function([row])[0])
    return messages.answer(inputs, features, value=value)
