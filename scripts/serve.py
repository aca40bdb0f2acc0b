"""Host the function on gRPC as Hydrosphere's 3.x Python runtime does, on this machine."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Read on import: without it grpc reports a taken port in a line of its own.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
import grpc
import numpy as np
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hydro_serving_grpc.serving.contract import types_pb2 as types
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor, TensorShape
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest, PredictResponse
from hydro_serving_grpc.serving.runtime.api_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)

ROOT = Path(__file__).resolve().parents[1]
THREADS = 10
MESSAGE_LIMIT = 256 * 1024 * 1024  # bytes, as in the runtime
GRACE = 5  # seconds that requests under way get to finish
EXAMPLES = """\
examples:
  serve.py                this package, on 127.0.0.1:9090
  serve.py --port 0       on a free port, which is printed
  serve.py --folder PATH  another unpacked package
"""
# What the runtime converts: DataType, numpy's type and the field of the tensor that holds it.
TENSOR_TYPES = (
    (types.DT_FLOAT, np.float32, "float_val"),
    (types.DT_DOUBLE, np.float64, "double_val"),
    (types.DT_INT8, np.int8, "int_val"),
    (types.DT_INT16, np.int16, "int_val"),
    (types.DT_INT32, np.int32, "int_val"),
    (types.DT_INT64, np.int64, "int64_val"),
    (types.DT_UINT8, np.uint8, "int_val"),
    (types.DT_UINT16, np.uint16, "int_val"),
    (types.DT_UINT32, np.uint32, "uint32_val"),
    (types.DT_UINT64, np.uint64, "uint64_val"),
    (types.DT_BOOL, np.bool_, "bool_val"),
    (types.DT_STRING, np.str_, "string_val"),
)
FROM_TENSOR = {dtype: (kind, field) for dtype, kind, field in TENSOR_TYPES}
TO_TENSOR = {kind: (dtype, field) for dtype, kind, field in TENSOR_TYPES}


class PackageError(Exception):
    """The package cannot be served; the message is one line for the user."""


class FunctionService(PredictionServiceServicer, health_pb2_grpc.HealthServicer):
    """Answer requests with the package's function, errors mapped as the runtime maps them."""

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


def load_function(folder: Path) -> tuple[str, Callable[..., dict]]:
    """Import the function that serving.yaml names, and return it after the model's name.

    Raises
    ------
    PackageError
        If serving.yaml is missing or malformed, or the function cannot be imported.
    """
    try:
        model = yaml.safe_load((folder / "serving.yaml").read_text())
        name, signature = model["name"], model["contract"]["name"]
    except OSError as error:
        raise PackageError(f"{folder / 'serving.yaml'}: {error.strerror}") from error
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise PackageError(f"{folder / 'serving.yaml'}: no name or contract: {error!r}") from error
    sys.path.append(str(folder / "src"))
    try:
        return name, getattr(importlib.import_module("func_main"), signature)
    except Exception as error:
        raise PackageError(f"cannot import {signature} from func_main: {error}") from error


def start(function: Callable[..., dict], address: str) -> tuple[grpc.Server, int]:
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
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise PackageError(f"cannot listen on {address}: is the port taken?") from error
    server.start()
    return server, port


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="serve.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    port = os.environ.get("APP_PORT", "9090")
    parser.add_argument("--port", type=int, default=port, help="default: $APP_PORT, or 9090")
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    parser.add_argument("--folder", type=Path, default=ROOT, help="default: this package")
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        name, function = load_function(arguments.folder)
        server, port = start(function, f"{arguments.host}:{arguments.port}")
    except PackageError as error:
        parser.exit(2, f"serve.py: {error}\n")
    print(f"serving {name} on {arguments.host}:{port}, stop with Ctrl-C", flush=True)
    stop.wait()
    server.stop(GRACE).wait()


if __name__ == "__main__":
    main()
