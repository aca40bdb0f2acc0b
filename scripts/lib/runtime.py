"""Hydrosphere's 3.x Python runtime on this machine: tensors, the server, serving a package."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

# Read on import: without it grpc reports a taken port in a line of its own.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
from lib.command import ROOT, UserError, advise, importing_compiled

import grpc
import numpy as np
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from hydro_serving_grpc.serving.contract import types_pb2 as types
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor, TensorShape
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest, PredictResponse
from hydro_serving_grpc.serving.runtime.api_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)

PREDICT = "/hydrosphere.serving.runtime.PredictionService/Predict"
THREADS = 10
MESSAGE_LIMIT = 256 * 1024 * 1024  # bytes, as in the runtime
# What the runtime converts: numpy's type, DataType and the field of the tensor that holds it.
TENSOR_TYPES = (
    (np.float32, types.DT_FLOAT, "float_val"),
    (np.float64, types.DT_DOUBLE, "double_val"),
    (np.int8, types.DT_INT8, "int_val"),
    (np.int16, types.DT_INT16, "int_val"),
    (np.int32, types.DT_INT32, "int_val"),
    (np.int64, types.DT_INT64, "int64_val"),
    (np.uint8, types.DT_UINT8, "int_val"),
    (np.uint16, types.DT_UINT16, "int_val"),
    (np.uint32, types.DT_UINT32, "uint32_val"),
    (np.uint64, types.DT_UINT64, "uint64_val"),
    (np.bool_, types.DT_BOOL, "bool_val"),
    (np.str_, types.DT_STRING, "string_val"),
)
FROM_TENSOR = {dtype: (kind, field) for kind, dtype, field in TENSOR_TYPES}
TO_TENSOR = {kind: (dtype, field) for kind, dtype, field in TENSOR_TYPES}
CONTRACT_NAMES = {"double": "float64", "string": "str"}  # where serving.yaml has not numpy's


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


def read_definition(folder: Path) -> dict:
    """Read a package's serving.yaml, each type in its contract replaced by numpy's.

    Raises
    ------
    UserError
        If it is missing, malformed, or has a type that the platform does not know.
    """
    path = folder / "serving.yaml"
    try:
        definition = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(definition, dict):
            raise ValueError("it holds no fields by name")
        for key, kind in (("name", str), ("runtime", str), ("payload", list)):
            if not isinstance(definition[key], kind):
                raise ValueError(f"{key} is {definition[key]!r}, expected a {kind.__name__}")
        for entry in definition["payload"]:
            if Path(entry).is_absolute() or ".." in Path(entry).parts:
                raise ValueError(f"payload: {entry} is outside the package")
        definition["contract"]["name"]
        for fields in (definition["contract"]["inputs"], definition["contract"]["outputs"]):
            for field in fields.values():
                dims_of(field)
                name = field["type"]
                field["numpy_type"] = np.dtype(CONTRACT_NAMES.get(name, name)).type
                TO_TENSOR[field["numpy_type"]]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path} cannot be read: {problem}") from error
    return definition


def dims_of(field: dict) -> list[int]:
    """Return the shape of a contract's field as messages have it: a scalar has no dims."""
    return [] if field["shape"] == "scalar" else list(map(int, field["shape"]))


def load_function(folder: Path) -> Callable[..., dict]:
    """Import a package's func_main, and return the function that its serving.yaml names.

    Raises
    ------
    UserError
        If serving.yaml cannot be read or the function cannot be imported.
    """
    name = read_definition(folder)["contract"]["name"]
    try:
        return getattr(load_module(folder), name)
    except Exception as error:
        raise UserError(f"cannot import {name} from func_main: {advise(error)}") from error


def load_module(folder: Path) -> ModuleType:
    """Import a package's func_main, beside those of other packages."""
    path = folder / "src" / "func_main.py"
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("func_main", str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules["func_main"] = module  # where dataclasses and pickle look for it
    with importing_compiled():
        spec.loader.exec_module(module)
    return module


class FunctionService(PredictionServiceServicer, health_pb2_grpc.HealthServicer):
    """Answer requests with a function, errors mapped as the runtime maps them."""

    def __init__(self, function: Callable[..., dict]) -> None:
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

    def Check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


def start_server(function: Callable[..., dict], address: str) -> tuple[grpc.Server, int]:
    """Start a server and return it with the port that it got."""
    options = [
        ("grpc.max_send_message_length", MESSAGE_LIMIT),
        ("grpc.max_receive_message_length", MESSAGE_LIMIT),
        # Without this a second server on the same port would start and take half the requests.
        ("grpc.so_reuseport", 0),
    ]
    server = grpc.server(ThreadPoolExecutor(max_workers=THREADS), options=options)
    service = FunctionService(function)
    add_PredictionServiceServicer_to_server(service, server)
    health_pb2_grpc.add_HealthServicer_to_server(service, server)
    # For clients that ask what they may call; the platform's runtime has no such service.
    reflection.enable_server_reflection([PREDICT.split("/")[1]], server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise UserError(f"cannot listen on {address}: is the port taken?") from error
    server.start()
    return server, port


@contextmanager
def serving(folder: Path, python: str = sys.executable) -> Iterator[str]:
    """Serve a package on a free port, in a process of its own; yield its address.

    Raises
    ------
    UserError
        With the runtime's own line, if the package cannot be served.
    """
    command = [python, ROOT / "scripts" / "serve.py", "--port", "0", "--model", folder]
    with tempfile.TemporaryFile("w+") as errors, subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=errors,
        universal_newlines=True,
        start_new_session=True,  # Ctrl-C does not reach it before the caller has ended
    ) as process:
        try:
            address = re.search(r" on (\S+:\d+)", process.stdout.readline())
            if address is None:
                process.wait()
                errors.seek(0)
                lines = errors.read().splitlines() or [f"{folder} cannot be served"]
                raise UserError(lines[-1].replace("serve.py: ", "", 1))
            yield address.group(1)
            process.terminate()
            process.wait()
            errors.seek(0)
            show_last_traceback(errors.read())
        finally:
            process.terminate()


def show_last_traceback(text: str) -> None:
    """Print where the function failed last, which only its own process could see."""
    start = text.rfind("Traceback (most recent call last)")
    if start >= 0:
        print(text[start:].rstrip(), file=sys.stderr)
