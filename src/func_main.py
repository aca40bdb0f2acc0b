"""Score one shadowed request: thirteen census features in, the anomaly score `value` out."""

from pathlib import Path

import joblib
import numpy as np

ARTIFACT = Path(__file__).resolve().parents[1] / "monitoring_model.joblib"
INT64_LIMIT = 2.0**63
SCALARS = frozenset((np.int64, int, float))
# The field of a tensor message that holds its values, by DataType; 2.x and 3.x number them alike.
VALUE_FIELDS = dict.fromkeys((3, 4, 5, 6, 17), "int_val")
VALUE_FIELDS.update({1: "float_val", 2: "double_val", 9: "int64_val", 10: "bool_val"})
VALUE_FIELDS.update({22: "uint32_val", 23: "uint64_val"})


def load_detector(path):
    """Load the artifact, or raise a RuntimeError that says what to do about it."""
    try:
        detector = joblib.load(path)
        if type(detector).__name__ != "PortableKNN":
            raise TypeError(f"expected a PortableKNN, got a {type(detector).__name__}")
        return detector, detector.feature_names_in_.tolist()
    except Exception as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise RuntimeError(
            f"cannot load {path} ({reason}): train it with `make train`, then upload again"
        ) from error


detector, features = load_detector(ARTIFACT)


def predict(**inputs):
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
    row, problems = [], []
    for name in features:
        try:
            row.append(_read_number(inputs, name))
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ValueError("; ".join(problems))
    value = float(detector.decision_function(np.array([row], dtype=np.float64))[0])
    others = [inputs[name] for name in features if type(inputs[name]) not in SCALARS]
    tensors = [other for other in others if hasattr(other, "tensor_shape")]
    return _respond(value, tensors[0]) if tensors else {"value": value}


def _read_number(inputs, name):
    if name not in inputs:
        raise ValueError("missing")
    value = inputs[name]
    if type(value) is np.int64:  # what runtimes give, and always in range
        return value
    if type(value) not in SCALARS:
        value = _read_single(value)
    if not -INT64_LIMIT <= value <= INT64_LIMIT:
        received = "NaN" if value != value else "infinity or a number beyond int64"
        raise ValueError(f"expected a finite number, got {received}")
    return value


def _read_single(value):
    try:
        array = np.asarray(_read_tensor(value) if hasattr(value, "tensor_shape") else value)
    except ValueError:
        raise
    except Exception:  # an object's own conversion may raise anything
        raise ValueError(f"not numeric, got {type(value).__name__}") from None
    if array.size != 1:
        raise ValueError(f"expected one element, got {array.size or 'an empty array'}")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"not numeric, got {type(value).__name__}")
    return array.item()


def _read_tensor(tensor):
    if tensor.dtype not in VALUE_FIELDS:
        raise ValueError(f"not numeric, got a tensor of DataType {tensor.dtype}")
    values = list(getattr(tensor, VALUE_FIELDS[tensor.dtype]))
    shape = tensor.tensor_shape
    dims = shape.dims if hasattr(shape, "dims") else [dim.size for dim in shape.dim]
    if not values:
        raise ValueError("expected one element, got an empty tensor")
    return np.reshape(values, dims or len(values))


def _respond(value, tensor):
    if type(tensor).__name__ == "TensorProto":  # 2.x
        from hydro_serving_grpc import PredictResponse
    else:
        from hydro_serving_grpc.serving.runtime.api_pb2 import PredictResponse
    response = PredictResponse()
    output = response.outputs["value"]
    output.dtype = 2  # DT_DOUBLE
    output.double_val.append(value)
    output.tensor_shape.SetInParent()  # present and without dims: a scalar
    return response
