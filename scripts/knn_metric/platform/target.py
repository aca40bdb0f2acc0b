"""The target model, asked for its answers to rows: a package that is imported, or a runtime."""

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

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


def is_address(place: str | Path) -> bool:
    return bool(re.fullmatch(r"[^/]+:\d+", str(place)))


def open_channel(address: str) -> grpc.Channel:
    """Return a channel to a runtime; one on this machine is called without the proxy."""
    host = address.rpartition(":")[0].strip("[]")
    is_local = host in ("localhost", "::1") or host.startswith("127.")
    return grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)] if is_local else [])


class Target:
    """A target model: the package in a folder, which is imported to ask it, or a runtime.

    Its inputs are the metric's that it does not answer, and others of its own; of a runtime, whose
    contract is not at hand, it is taken that it answers the metric's last input and has no others.
    """

    def __init__(self, place: str, inputs: Sequence[Field]) -> None:
        self.place, self.inputs = place, inputs
        self._names = [field.name for field in inputs]
        self.answered, self.others = self._names[-1:], list[Field]()
        if is_address(place):
            return
        contract = Contract.read(Path(place))
        outputs = [field.name for field in contract.outputs]
        self.answered = [name for name in self._names if name in outputs]
        self.others = [field for field in contract.inputs if field.name not in self._names]
        if not self.answered:
            taken = ", ".join(self._names)
            raise UserError(f"{place} answers {', '.join(outputs)}, and the metric takes {taken}")
        for field in self.others:
            if field.dims:
                what = f"{field.name}, {field.shape} {field.type}"
                raise UserError(f"{place} takes {what}: rows hold one value of a field")

    def request(self, rows: Rows, number: int) -> dict[str, np.generic]:
        """Return what the target is sent of a row."""
        sent = {
            field.name: field.numpy_type(value)
            for field, value in zip(self.inputs, rows.values[number], strict=True)
            if field.name not in self.answered
        }
        return sent | {name: column[number] for name, column in rows.others.items()}

    def answer(self, rows: Rows) -> Rows:
        """Return rows with the target's answers in place of the columns that it answers."""

        call = self._ask  # before there are threads, which would import a package each

        def ask(number: int) -> list[float]:
            outputs = call(self.request(rows, number))
            try:
                return [float(outputs[name]) for name in self.answered]
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f"the target's answer cannot be read: {error!r}") from error

        values = rows.values.copy()
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            answers = pool.map(ask, range(len(rows)))
            what = "asking the target"
            bar = tqdm(answers, what, len(values), disable=None, leave=False, delay=1)
            for row, answer in zip(values, bar, strict=True):
                row[[self._names.index(name) for name in self.answered]] = answer
        return replace(rows, values=values)

    @cached_property
    def _ask(self) -> Callable[[Mapping[str, np.generic]], Mapping[str, Any]]:
        """Takes inputs by name, returns outputs by name."""
        if is_address(self.place):
            stub = PredictionServiceStub(open_channel(self.place))

            def call(request: Mapping[str, np.generic]) -> dict[str, Any]:
                tensors = {name: encode(value) for name, value in request.items()}
                try:
                    outputs = stub.Predict(PredictRequest(inputs=tensors), timeout=TIMEOUT).outputs
                except grpc.RpcError as error:
                    raise UserError(f"the target at {self.place}: {error.details()}") from error
                return {name: decode(tensor) for name, tensor in outputs.items()}

            return call
        function = load_function(Path(self.place))

        def run(request: Mapping[str, np.generic]) -> Mapping[str, Any]:
            try:
                return function(**request)
            except Exception as error:  # the function's own may be anything
                raise UserError(f"{self.place} fails: {type(error).__name__}: {error}") from error

        return run
