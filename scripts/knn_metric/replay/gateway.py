"""The platform's way of one request: target, the gateway's validation, metric, sonar's check."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import grpc
import numpy as np
from hydro_serving_grpc.serving.contract import types_pb2 as types
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest
from hydro_serving_grpc.serving.runtime.api_pb2_grpc import PredictionServiceStub

from knn_metric.cli import UserError
from knn_metric.contract import Field
from knn_metric.data.rows import Rows
from knn_metric.platform.server import PREDICT, TO_TENSOR, decode, encode
from knn_metric.platform.target import Target, open_channel

PASSED, ALARM, REJECTED, FAILED = "passed", "alarm", "rejected", "failed"
TIMEOUT = 30  # seconds
NUMERIC = {dtype for kind, (dtype, _) in TO_TENSOR.items() if kind.__name__ != "str_"}

# Changes what the target answers: by the field, the answer and the number of the request.
Change = Callable[[str, float, int], float]


class Request(NamedTuple):
    """A row to send: its number in the replay, its corruption or '', and where it stands."""

    number: int
    corruption: str
    rows: Rows
    place: int


class Outcome(NamedTuple):
    """What became of one request; NaN is what is not known."""

    row: int  # position in the replay, from 0
    corruption: str  # that the row was sent with, or ''
    sent: tuple[float, ...]  # the metric's inputs, up to the first one that there was not
    value: float = np.nan  # the score, 0.0 if the metric returned none in `double_val`, as in sonar
    result: str = FAILED  # in a function; or PASSED, ALARM, or REJECTED by the contract
    reason: str = ""  # why it was rejected or failed
    target_ms: float = np.nan  # latency of each hop
    metric_ms: float = np.nan

    @property
    def is_scored(self) -> bool:
        return self.result in (PASSED, ALARM)


class Gateway(NamedTuple):
    """Both models, each on a channel of its own, and what the platform does between them."""

    target: PredictionServiceStub
    metric: PredictionServiceStub
    model: Target  # what the first one takes and answers
    threshold: float
    change: Change  # of the target's answers to requests with a corruption

    @classmethod
    def between(cls, target: str, metric: str, *known: Any) -> "Gateway":
        """Connect with two addresses; one hop's queue is kept out of the other's latency."""
        stubs = (PredictionServiceStub(open_channel(address)) for address in (target, metric))
        return cls(*stubs, *known)

    def send(self, request: Request) -> Outcome:
        """Send a row to the target, and its answers with the row to the metric."""
        row = self.model.request(request.rows, request.place)
        tensors = {name: encode(value) for name, value in row.items()}
        outputs, target_ms, problem = _call(self.target, "target", tensors)
        tensors |= self._corrupt(outputs, request)
        names = [field.name for field in self.model.inputs]
        sent = {name: tensors[name] for name in names if name in tensors}
        numbers = self._read_numbers(sent)
        known = Outcome(request.number, request.corruption, numbers, target_ms=target_ms)
        if problem:
            return known._replace(reason=problem)
        if problem := find_problem(sent, self.model.inputs):
            return known._replace(result=REJECTED, reason=problem)
        outputs, metric_ms, problem = _call(self.metric, "metric", sent)
        known = known._replace(metric_ms=metric_ms, reason=problem)
        if problem:
            return known
        found = outputs["value"].double_val if "value" in outputs else ()
        value = found[0] if found else 0.0
        return known._replace(value=value, result=PASSED if value <= self.threshold else ALARM)

    def _corrupt(self, outputs: dict[str, Tensor], request: Request) -> dict[str, Tensor]:
        if not request.corruption:
            return outputs
        changed = dict(outputs)
        for name in set(outputs) & set(self.model.answered):
            answer = decode(outputs[name])
            if answer.ndim == 0:
                new = self.change(name, float(answer), request.number)
                changed[name] = encode(answer.dtype.type(new))
        return changed

    def _read_numbers(self, tensors: Mapping[str, Tensor]) -> tuple[float, ...]:
        """Return the fields in their order, up to the first one that is no number."""
        numbers = []
        for field in self.model.inputs:
            if field.name not in tensors or tensors[field.name].dtype not in NUMERIC:
                break
            numbers.append(float(decode(tensors[field.name])))
        return tuple(numbers)


def _call(
    stub: PredictionServiceStub, hop: str, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], float, str]:
    """Return what a model answers, after how many milliseconds, and why it failed or ''."""
    start = time.perf_counter()
    outputs, problem = {}, ""
    try:
        outputs = dict(stub.Predict(PredictRequest(inputs=tensors), timeout=TIMEOUT).outputs)
    except grpc.RpcError as error:
        code, details = error.code(), error.details()
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            raise UserError(f"the {hop} does not answer: {details}") from error
        if code == grpc.StatusCode.UNIMPLEMENTED:
            raise UserError(
                f"the {hop} does not offer {PREDICT[1:]}, as 3.x runtimes do and 2.x ones do not"
            ) from error
        problem = f"{hop}: {code.name} {details}"
    return outputs, 1000 * (time.perf_counter() - start), problem


def find_problem(tensors: Mapping[str, Tensor], fields: Sequence[Field]) -> str:
    """Return why the gateway rejects a message by a contract, or ''."""
    names = {number: label for label, number in types.DataType.items()}
    problems = []
    for field in fields:
        if field.name not in tensors:
            problems.append(f"Missing field {field.name}")
            continue
        tensor, (wanted, _) = tensors[field.name], TO_TENSOR[field.numpy_type]
        dims = list(tensor.tensor_shape.dims)
        if tensor.dtype != wanted:
            got = names.get(tensor.dtype, tensor.dtype)
            problems.append(f"Expected {names[wanted]} data type, got {got}")
        elif dims != list(field.dims):
            problems.append(f"Expected {list(field.dims)} shape, got {dims}")
    return "; ".join(problems)
