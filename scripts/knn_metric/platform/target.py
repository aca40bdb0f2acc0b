"""The target model, asked for its answers to rows: a package that is imported, or a runtime."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest
from hydro_serving_grpc.serving.runtime.api_pb2_grpc import PredictionServiceStub
from tqdm import tqdm

from knn_metric.cli import UserError
from knn_metric.contract import Contract, Field
from knn_metric.data.rows import Rows
from knn_metric.platform.server import decode, encode, load_function

TIMEOUT = 30  # seconds
AT_A_TIME = 4  # requests to a runtime

Ask = Callable[[Mapping[str, np.generic]], Mapping[str, Any]]  # inputs by name to outputs by name


def is_address(place: str | Path) -> bool:
    return bool(re.fullmatch(r"[^/]+:\d+", str(place)))


def open_channel(address: str) -> grpc.Channel:
    """Return a channel to a runtime; one on this machine is called without the proxy."""
    host = address.rpartition(":")[0].strip("[]")
    is_local = host in ("localhost", "::1") or host.startswith("127.")
    return grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)] if is_local else [])


def answered_by(target: str | Path, inputs: Sequence[Field]) -> tuple[str, ...]:
    """Return which inputs of the metric the target answers: by its contract, else the last one."""
    names = [field.name for field in inputs]
    if is_address(target):
        return (names[-1],)
    outputs = [field.name for field in Contract.read(Path(target)).outputs]
    answered = tuple(name for name in names if name in outputs)
    if not answered:
        taken = ", ".join(names)
        raise UserError(f"{target} answers {', '.join(outputs)}, and the metric takes {taken}")
    return answered


def others_of(target: str | Path, inputs: Sequence[Field]) -> list[Field]:
    """Return what a target takes beside the metric's inputs, by its contract if that is at hand."""
    own = {field.name for field in inputs}
    taken = [] if is_address(target) else Contract.read(Path(target)).inputs
    others = [field for field in taken if field.name not in own]
    for field in others:
        if field.dims:
            what = f"{field.name}, {field.shape} {field.type}"
            raise UserError(f"{target} takes {what}: rows hold one value of a field")
    return others


def build_request(
    rows: Rows, place: int, inputs: Sequence[Field], answered: Sequence[str]
) -> dict[str, np.generic]:
    """Return what a target is sent of a row: inputs of the metric and others."""
    sent = {
        field.name: field.numpy_type(number)
        for field, number in zip(inputs, rows.values[place], strict=True)
        if field.name not in answered
    }
    return sent | {name: column[place] for name, column in rows.others.items()}


class Target(NamedTuple):
    """A target model that answers rows: its inputs are the metric's that it does not answer."""

    ask: Ask
    inputs: Sequence[Field]  # the metric's
    answered: tuple[str, ...]

    def answer(self, rows: Rows) -> Rows:
        """Return rows with the target's answers in place of the columns that it answers."""

        def ask(place: int) -> list[float]:
            outputs = self.ask(build_request(rows, place, self.inputs, self.answered))
            try:
                return [float(outputs[name]) for name in self.answered]
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f"the target's answer cannot be read: {error!r}") from error

        values, names = rows.values.copy(), [field.name for field in self.inputs]
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            answers = pool.map(ask, range(len(rows)))
            what = "asking the target"
            bar = tqdm(answers, what, len(values), disable=None, leave=False, delay=1)
            for row, answer in zip(values, bar, strict=True):
                row[[names.index(name) for name in self.answered]] = answer
        return replace(rows, values=values)


@contextmanager
def reaching(place: str | Path, inputs: Sequence[Field]) -> Iterator[Target]:
    """Yield the target at an address, or import that in a package's folder."""
    answered = answered_by(place, inputs)
    if not is_address(place):
        function = load_function(Path(place))

        def call(request: Mapping[str, np.generic]) -> Mapping[str, Any]:
            try:
                return function(**request)
            except Exception as error:  # the function's own may be anything
                raise UserError(f"{place} fails: {type(error).__name__}: {error}") from error

        yield Target(call, inputs, answered)
        return
    with open_channel(str(place)) as channel:
        stub = PredictionServiceStub(channel)

        def ask(request: Mapping[str, np.generic]) -> dict[str, Any]:
            tensors = {name: encode(value) for name, value in request.items()}
            try:
                outputs = stub.Predict(PredictRequest(inputs=tensors), timeout=TIMEOUT).outputs
            except grpc.RpcError as error:
                raise UserError(f"the target at {place}: {error.details()}") from error
            return {name: decode(tensor) for name, tensor in outputs.items()}

        yield Target(ask, inputs, answered)
