"""Numbers in and out of requests: Python's, numpy's, and the tensor messages of 2.x and 3.x."""

from typing import Any, Dict, List, Sequence, Union

import numpy as np

INT64_LIMIT = 2.0**63
IN_RANGE = frozenset((np.int64,))  # what runtimes give
SCALARS = frozenset((np.int64, int, float))
# The field of a tensor message that holds its values, by DataType; 2.x and 3.x number them alike.
VALUE_FIELDS = dict.fromkeys((3, 4, 5, 6, 17), "int_val")
VALUE_FIELDS.update({1: "float_val", 2: "double_val", 9: "int64_val", 10: "bool_val"})
VALUE_FIELDS.update({22: "uint32_val", 23: "uint64_val"})
DATA_TYPES = {float: 2, int: 9}  # DT_DOUBLE, DT_INT64
Number = Union[float, int, np.int64]


def read(inputs: Dict[str, Any], features: Sequence[str]) -> List[Any]:
    """Return a request's numbers in the order of the features; other inputs are ignored.

    Parameters
    ----------
    inputs : dict
        By name: numpy or Python scalars, size-1 arrays, or tensor messages.

    Raises
    ------
    ValueError
        Names every feature that is missing or not one finite number within int64.
    """
    row: List[Any] = list(map(inputs.get, features))
    if IN_RANGE.issuperset(map(type, row)):
        return row
    row, problems = [], []
    for name in features:
        try:
            row.append(_read_number(inputs, name))
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ValueError("; ".join(problems))
    return row


def answer(inputs: Dict[str, Any], features: Sequence[str], **outputs: Number) -> Any:
    """Return a function's outputs as the platform's generation wants them.

    They are a dictionary, or a PredictResponse of the same generation where one of the features
    that `read` was given came as a tensor message.
    """
    if SCALARS.issuperset(map(type, inputs.values())):
        return outputs
    tensors = [inputs[name] for name in features if hasattr(inputs[name], "tensor_shape")]
    return _respond(outputs, tensors[0]) if tensors else outputs


def _read_number(inputs: Dict[str, Any], name: str) -> Any:
    if name not in inputs:
        raise ValueError("missing")
    value = inputs[name]
    if type(value) not in SCALARS:
        value = _read_single(value)
    if not -INT64_LIMIT <= value <= INT64_LIMIT:
        received = "NaN" if value != value else "infinity or a number beyond int64"
        raise ValueError(f"expected a finite number, got {received}")
    return value


def _read_single(value: Any) -> Any:
    try:
        array = np.asarray(_read_tensor(value) if hasattr(value, "tensor_shape") else value)
    except ValueError:
        raise
    except Exception:  # an object's own conversion may raise anything
        raise ValueError(f"not numeric, got {type(value).__name__}") from None
    if np.ma.is_masked(value):
        raise ValueError("missing, got a masked value")
    if array.size != 1:
        raise ValueError(f"expected one element, got {array.size or 'an empty array'}")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"not numeric, got {type(value).__name__}")
    return array.item()


def _read_tensor(tensor: Any) -> np.ndarray:
    if tensor.dtype not in VALUE_FIELDS:
        raise ValueError(f"not numeric, got a tensor of DataType {tensor.dtype}")
    values = list(getattr(tensor, VALUE_FIELDS[tensor.dtype]))
    shape = tensor.tensor_shape
    dims = shape.dims if hasattr(shape, "dims") else [dim.size for dim in shape.dim]
    if not values:
        raise ValueError("expected one element, got an empty tensor")
    return np.reshape(values, dims or len(values))


def _respond(outputs: Dict[str, Number], tensor: Any) -> Any:
    if type(tensor).__name__ == "TensorProto":  # 2.x
        from hydro_serving_grpc import PredictResponse
    else:
        from hydro_serving_grpc.serving.runtime.api_pb2 import PredictResponse
    response = PredictResponse()
    for name, value in outputs.items():
        output = response.outputs[name]
        output.dtype = DATA_TYPES[type(value)]
        getattr(output, VALUE_FIELDS[output.dtype]).append(value)
        output.tensor_shape.SetInParent()  # present and without dims: a scalar
    return response
