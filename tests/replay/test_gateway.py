"""What the platform's gateway rejects."""

import pytest
from helpers import message
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor

from knn_metric.contract import Field
from knn_metric.replay.gateway import find_problem

FIELDS = (Field("age", "int64"), Field("value", "double", (2,)))
TENSORS = {"age": message(1), "value": message([1.0, 2.0], 2, "double_val", (2,))}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"other": message(1)}, ""),
        ({"age": Tensor(dtype=1)}, "Expected DT_INT64 data type, got DT_FLOAT"),
        ({"age": Tensor(dtype=99)}, "Expected DT_INT64 data type, got 99"),
        ({"age": message(1, dims=(1,))}, "Expected [] shape, got [1]"),
        ({"value": Tensor(dtype=2)}, "Expected [2] shape, got []"),
        ({"age": None, "value": None}, "Missing field age; Missing field value"),
    ],
)
def test_reasons(changes, reason):
    tensors = {name: one for name, one in {**TENSORS, **changes}.items() if one is not None}
    assert find_problem(tensors, FIELDS) == reason
