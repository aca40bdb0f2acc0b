"""Hydrosphere's 3.x Python runtime on this machine: a package's function on gRPC."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

# Read on import: without it grpc reports a taken port in a line of its own.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from hydro_serving_grpc.serving.contract import types_pb2 as types
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor, TensorShape
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest, PredictResponse
from hydro_serving_grpc.serving.runtime.api_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)

from knn_metric.cli import UserError
from knn_metric.contract import Contract

PREDICT = "/hydrosphere.serving.runtime.PredictionService/Predict"
THREADS = 10
PR_SET_PDEATHSIG = 1  # lets Linux end a process when its parent has ended, however that came
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
END_WITH_PARENT = LIBC and partial(LIBC.prctl, PR_SET_PDEATHSIG, signal.SIGTERM)
MESSAGE_LIMIT = 256 * 1024 * 1024  # bytes, as in the runtime
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


def load_function(folder: Path) -> Callable[..., dict[str, Any]]:
    """Import a package's func_main, and return the function that its serving.yaml names."""
    name = Contract.read(folder).function
    try:
        function: Callable[..., dict[str, Any]] = getattr(load_module(folder), name)
        return function
    except Exception as error:
        # What is served here needs no upload.
        problem = str(error).replace(", then upload again", "")
        raise UserError(f"cannot import {name} from func_main: {problem}") from error


def load_module(folder: Path) -> ModuleType:
    """Import a package's func_main, beside those of other packages."""
    path = folder / "src" / "func_main.py"
    if not path.is_file():  # a pipe would be read for ever
        raise FileNotFoundError(f"{path} is no file")
    sys.path.insert(0, str(path.parent))
    loader = SourceFileLoader("func_main", str(path))
    module = ModuleType(loader.name)
    module.__file__ = loader.path
    sys.modules["func_main"] = module  # where dataclasses and pickle look for it
    loader.exec_module(module)
    return module


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


class FunctionService(PredictionServiceServicer, health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Answer requests with a function, errors mapped as the runtime maps them."""

    def __init__(self, function: Callable[..., dict[str, Any]]) -> None:
        self.function = function

    def Predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:
        try:
            inputs = {name: decode(tensor) for name, tensor in request.inputs.items()}
            outputs = {name: encode(value) for name, value in self.function(**inputs).items()}
            return PredictResponse(outputs=outputs)
        except ValueError as error:
            context.abort(grpc.StatusCode.OUT_OF_RANGE, repr(error))
        except Exception as error:
            logging.exception("the function failed")
            context.abort(grpc.StatusCode.INTERNAL, repr(error))

    def Check(self, request: Any, context: grpc.ServicerContext) -> health_pb2.HealthCheckResponse:
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


def start_server(function: Callable[..., dict[str, Any]], address: str) -> tuple[grpc.Server, int]:
    limits = [(f"grpc.max_{way}_message_length", MESSAGE_LIMIT) for way in ("send", "receive")]
    # Where ports are reused, a second server on this one would start and take half the requests.
    options = [*limits, ("grpc.so_reuseport", 0)]
    server = grpc.server(ThreadPoolExecutor(max_workers=THREADS), options=options)
    service = FunctionService(function)
    add_PredictionServiceServicer_to_server(service, server)
    health_pb2_grpc.add_HealthServicer_to_server(service, server)
    # For clients that ask what they may call; the platform's runtime has no such service.
    reflection.enable_server_reflection([PREDICT.split("/")[1]], server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        problem = "the port is taken, or the address is not this machine's"
        raise UserError(f"cannot listen on {address}: {problem}") from error
    server.start()
    return server, port


@contextmanager
def serving(folder: Path, python: str = sys.executable) -> Iterator[str]:
    """Serve a package on a free port, in a process of its own; yield its address."""
    command = [python, "-m", "knn_metric", "serve", "--port", "0", "--package", str(folder)]
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    # Ctrl-C does not reach a session of its own before the caller has ended.
    own: dict[str, Any] = {"start_new_session": True, "preexec_fn": END_WITH_PARENT, "env": path}
    with tempfile.TemporaryFile("w+") as errors, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=errors, universal_newlines=True, **own
    ) as process:
        try:
            address = _read_address(process)
            if address:
                yield address
            process.terminate()
            process.wait()
            errors.seek(0)
            said = errors.read()
            if not address:
                line = (said.splitlines() or [f"{folder} cannot be served"])[-1]
                raise UserError(line.replace("knn-metric serve: ", "", 1))
            # Only its own process could see where the function failed last.
            start = said.rfind("Traceback (most recent call last)")
            if start >= 0:
                print(said[start:].rstrip(), file=sys.stderr)
        finally:
            process.terminate()


def _read_address(process: subprocess.Popen[str]) -> str:
    """Return where the process serves, '' if it ends before; what else it prints is dropped."""
    lines = process.stdout or ()
    matches = (re.match(r"serving .* on (\S+:\d+), stop with", line) for line in lines)
    found = next(filter(None, matches), None)
    if found is None:
        return ""
    # A full pipe would block whatever the function prints.
    threading.Thread(target=lambda: list(lines), daemon=True).start()
    return found.group(1)
