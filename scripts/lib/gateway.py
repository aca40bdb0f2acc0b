"""The platform's way of one request: target, the gateway's validation, metric, sonar's check."""

from __future__ import annotations

import time
from collections.abc import Sequence

from lib import census, drift
from lib.command import UserError
from lib.replay import REJECTED, Outcome
from lib.runtime import PREDICT, TO_TENSOR, dims_of, encode

import grpc
import numpy as np
from hydro_serving_grpc.serving.contract import types_pb2 as types
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest
from hydro_serving_grpc.serving.runtime.api_pb2_grpc import PredictionServiceStub

TIMEOUT = 30  # seconds


class Gateway:
    """Both models, each on a channel of its own, and what the platform does between them."""

    def __init__(
        self, target: str, metric: str, source: str, fields: dict, threshold: float
    ) -> None:
        # A channel of its own for each keeps one hop's queue out of the other's latency.
        self.target = PredictionServiceStub(grpc.insecure_channel(target))
        self.metric = PredictionServiceStub(grpc.insecure_channel(metric))
        self.source = source
        self.fields = fields
        self.threshold = threshold

    def send(self, row: int, drift_name: str, codes: Sequence[int]) -> Outcome:
        """Send a row's features to the target, and its answer with them to the metric."""
        sent = tuple(codes[:-1])
        outcome = Outcome(row, self.source, drift_name, sent)
        features = zip(census.FEATURES, sent, strict=False)
        tensors = {name: encode(np.int64(code)) for name, code in features}
        answer, outcome.target_ms, outcome.reason = call(self.target, "target", tensors)
        if outcome.reason:
            return outcome
        if "classes" in answer and answer["classes"].int64_val:
            values = answer["classes"].int64_val
            values[0] = drift.corrupt_answer(drift_name, values[0], seed=row)
            outcome.sent += (values[0],)
        accepted, outcome.reason = validate({**tensors, **answer}, self.fields)
        if outcome.reason:
            outcome.result = REJECTED
            return outcome
        answer, outcome.metric_ms, outcome.reason = call(self.metric, "metric", accepted)
        if not outcome.reason:
            values = answer["value"].double_val if "value" in answer else ()
            outcome.judge(values[0] if values else 0.0, self.threshold)
        return outcome


def call(
    stub: PredictionServiceStub, hop: str, tensors: dict[str, Tensor]
) -> tuple[dict[str, Tensor], float, str]:
    """Return a hop's answer, its latency in milliseconds, and why it failed or ''."""
    start = time.perf_counter()
    try:
        answer = dict(stub.Predict(PredictRequest(inputs=tensors), timeout=TIMEOUT).outputs)
        reason = ""
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            raise UserError(f"the {hop} does not answer: {error.details()}") from error
        if error.code() == grpc.StatusCode.UNIMPLEMENTED:
            raise UserError(
                f"the {hop} does not offer {PREDICT[1:]}, as 3.x runtimes do and 2.x ones do not"
            ) from error
        answer, reason = {}, f"{hop}: {error.code().name} {error.details()}"
    return answer, 1000 * (time.perf_counter() - start), reason


def validate(tensors: dict[str, Tensor], fields: dict[str, dict]) -> tuple[dict[str, Tensor], str]:
    """Take a contract's fields out of a message as the gateway does, or say why it rejects it."""
    problems = []
    for name, field in fields.items():
        wanted, dims = TO_TENSOR[field["numpy_type"]][0], dims_of(field)
        if name not in tensors:
            problems.append(f"Missing field {name}")
        elif tensors[name].dtype != wanted:
            names = {number: label for label, number in types.DataType.items()}
            got = tensors[name].dtype
            problems.append(f"Expected {names[wanted]} data type, got {names.get(got, got)}")
        elif list(tensors[name].tensor_shape.dims) != dims:
            got = list(tensors[name].tensor_shape.dims)
            problems.append(f"Expected {dims} shape, got {got}")
    return {name: tensors[name] for name in fields if name in tensors}, "; ".join(problems)
