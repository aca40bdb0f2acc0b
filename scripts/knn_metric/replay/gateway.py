"""The platform's way of one request: target, the gateway's validation, metric, sonar's check."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import grpc
from hydro_serving_grpc.serving.contract import types_pb2 as types
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest
from hydro_serving_grpc.serving.runtime.api_pb2_grpc import PredictionServiceStub

from knn_metric.cli import UserError
from knn_metric.contract import Field
from knn_metric.platform.server import PREDICT
from knn_metric.platform.target import open_channel
from knn_metric.platform.tensors import TO_TENSOR, decode, encode
from knn_metric.replay.outcome import ALARM, FAILED, PASSED, REJECTED, Outcome

TIMEOUT = 30  # seconds
NEVER = float("nan")  # of a hop that was not taken
NUMERIC = {dtype for kind, (dtype, _) in TO_TENSOR.items() if kind.__name__ != "str_"}

# Changes what the target answers: by the field, the answer and the position of the request.
Change = Callable[[str, float, int], float]


class Request(NamedTuple):
    """A row to send: its position, its corruption or '', the metric's inputs in their order."""

    row: int
    corruption: str
    values: Sequence[float]


class Answer(NamedTuple):
    """What a hop answered, how long it took in milliseconds, and why it failed or ''."""

    outputs: dict[str, Tensor]
    ms: float
    problem: str


class Gateway:
    """Both models, each on a channel of its own, and what the platform does between them.

    Parameters
    ----------
    target, metric : str
        Their addresses.
    fields : sequence of Field
        The metric's inputs.
    answered : sequence of str
        Those of them that the target answers; the others are sent to it.
    threshold : float
    change : callable, optional
        Changes the target's answers to requests that are sent with a corruption.
    """

    def __init__(
        self,
        target: str,
        metric: str,
        fields: Sequence[Field],
        answered: Sequence[str],
        threshold: float,
        change: Change | None = None,
    ) -> None:
        # A channel of its own for each keeps one hop's queue out of the other's latency.
        self._target = PredictionServiceStub(open_channel(target))
        self._metric = PredictionServiceStub(open_channel(metric))
        self._fields = fields
        self._answered = answered
        self._threshold = threshold
        self._change = change

    def send(self, request: Request) -> Outcome:
        """Send a row to the target, and its answers with the row to the metric."""
        sent = {
            field.name: encode(field.numpy_type(value))
            for field, value in zip(self._fields, request.values, strict=True)
            if field.name not in self._answered
        }

        def end(
            tensors: Mapping[str, Tensor],
            result: str,
            reason: str,
            metric_ms: float = NEVER,
            value: float = NEVER,
        ) -> Outcome:
            numbers = self._read_numbers(tensors)
            known = numbers, value, result, reason, target.ms, metric_ms
            return Outcome(request.row, request.corruption, *known)

        target = _call(self._target, "target", sent)
        if target.problem:
            return end(sent, FAILED, target.problem)
        tensors = {**sent, **self._corrupt(target.outputs, request)}
        problem = find_problem(tensors, self._fields)
        names = [field.name for field in self._fields if field.name in tensors]
        accepted = {name: tensors[name] for name in names}
        if problem:
            return end(accepted, REJECTED, problem)
        metric = _call(self._metric, "metric", accepted)
        if metric.problem:
            return end(accepted, FAILED, metric.problem, metric.ms)
        found = metric.outputs["value"].double_val if "value" in metric.outputs else ()
        value = found[0] if found else 0.0
        result = PASSED if value <= self._threshold else ALARM
        return end(accepted, result, "", metric.ms, value)

    def _corrupt(self, outputs: dict[str, Tensor], request: Request) -> dict[str, Tensor]:
        if self._change is None or not request.corruption:
            return outputs
        changed = dict(outputs)
        for name in set(outputs) & set(self._answered):
            answer = decode(outputs[name])
            if answer.ndim == 0:
                new = self._change(name, float(answer), request.row)
                changed[name] = encode(answer.dtype.type(new))
        return changed

    def _read_numbers(self, tensors: Mapping[str, Tensor]) -> tuple[float, ...]:
        """Return the fields in their order, up to the first one that is no number."""
        numbers = []
        for field in self._fields:
            if field.name not in tensors or tensors[field.name].dtype not in NUMERIC:
                break
            numbers.append(float(decode(tensors[field.name])))
        return tuple(numbers)


def _call(stub: PredictionServiceStub, hop: str, tensors: Mapping[str, Tensor]) -> Answer:
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
    return Answer(outputs, 1000 * (time.perf_counter() - start), problem)


def find_problem(tensors: Mapping[str, Tensor], fields: Sequence[Field]) -> str:
    """Return why the gateway rejects a message by a contract, or ''."""
    names = {number: label for label, number in types.DataType.items()}
    problems = []
    for field in fields:
        wanted, _ = TO_TENSOR[field.numpy_type]
        if field.name not in tensors:
            problems.append(f"Missing field {field.name}")
            continue
        tensor = tensors[field.name]
        dims = list(tensor.tensor_shape.dims)
        if tensor.dtype != wanted:
            got = names.get(tensor.dtype, tensor.dtype)
            problems.append(f"Expected {names[wanted]} data type, got {got}")
        elif dims != list(field.dims):
            problems.append(f"Expected {list(field.dims)} shape, got {dims}")
    return "; ".join(problems)
