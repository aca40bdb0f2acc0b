"""Tensors as Hydrosphere's 3.x Python runtime converts them from numpy and back."""

from __future__ import annotations

import numpy as np
from hydro_serving_grpc.serving.contract import types_pb2 as types
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor, TensorShape

# What the runtime converts: numpy's type to DataType and the field of the tensor that holds it.
TO_TENSOR: dict[type[np.generic], tuple[int, str]] = {
    np.float32: (types.DT_FLOAT, "float_val"),
    np.float64: (types.DT_DOUBLE, "double_val"),
    np.int8: (types.DT_INT8, "int_val"),
    np.int16: (types.DT_INT16, "int_val"),
    np.int32: (types.DT_INT32, "int_val"),
    np.int64: (types.DT_INT64, "int64_val"),
    np.uint8: (types.DT_UINT8, "int_val"),
    np.uint16: (types.DT_UINT16, "int_val"),
    np.uint32: (types.DT_UINT32, "uint32_val"),
    np.uint64: (types.DT_UINT64, "uint64_val"),
    np.bool_: (types.DT_BOOL, "bool_val"),
    np.str_: (types.DT_STRING, "string_val"),
}
FROM_TENSOR = {dtype: (kind, field) for kind, (dtype, field) in TO_TENSOR.items()}


def decode(tensor: Tensor) -> np.generic | np.ndarray:
    """Turn a tensor into a numpy scalar, or into an array if it has dimensions."""
    kind, field = FROM_TENSOR[tensor.dtype]
    values = getattr(tensor, field)
    if kind is np.str_:
        values = [value.decode() for value in values]
    array = np.array(values, dtype=kind)
    return array.reshape(tensor.tensor_shape.dims) if tensor.tensor_shape.dims else array[0]


def encode(value: object) -> Tensor:
    """Turn what a function may return, a number, an array or a tensor, into a tensor."""
    if isinstance(value, Tensor):
        return value
    array = np.asarray(value)
    dtype, field = TO_TENSOR[array.dtype.type]
    values = array.ravel().tolist()
    if array.dtype.type is np.str_:
        values = [text.encode() for text in values]
    return Tensor(dtype=dtype, tensor_shape=TensorShape(dims=array.shape), **{field: values})
