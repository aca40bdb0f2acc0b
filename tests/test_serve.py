"""The local runtime, over real gRPC."""

import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import grpc
import pytest
from conftest import ROOT, assert_one_line, run_script
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hydro_serving_grpc.serving.contract import types_pb2 as types
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor, TensorShape
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest
from hydro_serving_grpc.serving.runtime.api_pb2_grpc import PredictionServiceStub
from test_func_main import NORMAL, PUBLISHED

import census

SERVE = ROOT / "scripts" / "serve.py"
CONTRACT = """\
name: echo
contract:
  name: answer
"""
ECHO = """\
import numpy as np
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor

def answer(**inputs):
    if "crash" in inputs:
        raise KeyError("crash")
    return {
        "kind": str(type(inputs["x"]).__name__),
        "x": inputs["x"],
        "tensor": Tensor(dtype=1, float_val=[0.5]),
        "number": 7,
        "array": np.array([[True, False]]),
    }
"""


class Served(NamedTuple):
    process: subprocess.Popen
    port: str
    channel: grpc.Channel


@contextmanager
def serving(folder, *options):
    """Start serve.py on a free port, and stop it afterwards."""
    command = [sys.executable, SERVE, "--port", "0", "--folder", folder, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = re.search(r" on 127\.0\.0\.1:(\d+)", process.stdout.readline())[1]
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield Served(process, port, channel)
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def served(package):
    with serving(package) as served:
        yield served


@pytest.fixture(scope="module")
def channel(served):
    return served.channel


@pytest.fixture(scope="module")
def port(served):
    return served.port


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("echo")
    (folder / "src").mkdir()
    (folder / "src" / "func_main.py").write_text(ECHO)
    (folder / "serving.yaml").write_text(CONTRACT)
    with serving(folder) as served:
        yield PredictionServiceStub(served.channel)


def tensor(value, dtype=types.DT_INT64, field="int64_val", dims=()):
    values = value if isinstance(value, list) else [value]
    return Tensor(dtype=dtype, tensor_shape=TensorShape(dims=dims), **{field: values})


def predict(channel, inputs):
    tensors = {name: tensor(value) for name, value in inputs.items()}
    response = PredictionServiceStub(channel).Predict(PredictRequest(inputs=tensors), timeout=30)
    return response.outputs["value"]


class TestPackage:
    def test_the_value_is_predicts(self, channel, func_main):
        value = predict(channel, NORMAL)
        assert value.dtype == types.DT_DOUBLE
        assert value.HasField("tensor_shape")
        assert not value.tensor_shape.dims
        assert list(value.double_val) == [func_main.predict(**NORMAL)["value"]]

    def test_published_rows(self, uci_package):
        with serving(uci_package[0]) as served:
            for codes, value in PUBLISHED:
                inputs = dict(zip(census.FEATURES, codes, strict=True))
                assert list(predict(served.channel, inputs).double_val) == [value]

    def test_a_value_error_is_out_of_range(self, channel):
        with pytest.raises(grpc.RpcError) as caught:
            predict(channel, {k: v for k, v in NORMAL.items() if k != "race"})
        assert caught.value.code() == grpc.StatusCode.OUT_OF_RANGE
        assert caught.value.details() == repr(ValueError("race: missing"))

    def test_an_unknown_tensor_is_internal(self, channel):
        request = PredictRequest(inputs={"age": Tensor(dtype=types.DT_QINT8)})
        with pytest.raises(grpc.RpcError) as caught:
            PredictionServiceStub(channel).Predict(request)
        assert caught.value.code() == grpc.StatusCode.INTERNAL

    def test_ten_clients_at_once(self, channel, func_main, rows):
        requests = [dict(zip(census.FEATURES, row.tolist(), strict=True)) for row in rows[:200]]
        with ThreadPoolExecutor(10) as pool:
            values = list(pool.map(lambda inputs: predict(channel, inputs).double_val[0], requests))
        assert values == [func_main.predict(**inputs)["value"] for inputs in requests]

    def test_health(self, channel):
        response = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert response.status == health_pb2.HealthCheckResponse.SERVING


class TestConversion:
    @pytest.mark.parametrize(
        ("sent", "kind"),
        [
            (tensor(7), "int64"),
            (tensor(0.5, types.DT_DOUBLE, "double_val"), "float64"),
            (tensor(0.5, types.DT_FLOAT, "float_val"), "float32"),
            (tensor(7, types.DT_UINT8, "int_val"), "uint8"),
            (tensor(True, types.DT_BOOL, "bool_val"), "bool"),
            (tensor(b"x", types.DT_STRING, "string_val"), "str_"),
            (tensor([1, 2, 3, 4], dims=(2, 2)), "ndarray"),
        ],
    )
    def test_the_function_gets_numpy(self, echo, sent, kind):
        outputs = echo.Predict(PredictRequest(inputs={"x": sent})).outputs
        assert outputs["kind"].string_val[0].decode().startswith(kind)
        assert outputs["x"] == sent

    def test_what_a_function_may_return(self, echo):
        outputs = echo.Predict(PredictRequest(inputs={"x": tensor(1)})).outputs
        assert outputs["tensor"] == Tensor(dtype=types.DT_FLOAT, float_val=[0.5])
        assert outputs["number"] == tensor(7)
        assert outputs["array"] == tensor([True, False], types.DT_BOOL, "bool_val", (1, 2))

    def test_another_error_is_internal(self, echo):
        with pytest.raises(grpc.RpcError) as caught:
            echo.Predict(PredictRequest(inputs={"crash": tensor(1)}))
        assert caught.value.code() == grpc.StatusCode.INTERNAL
        assert caught.value.details() == "KeyError('crash')"


class TestProcess:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_stops_cleanly(self, package, number):
        with serving(package) as served:
            predict(served.channel, NORMAL)
            served.process.send_signal(number)
            assert served.process.wait(timeout=20) == 0

    @pytest.mark.parametrize("how", ["option", "environment"])
    def test_a_taken_port(self, package, port, how):
        options = ("--port", port) if how == "option" else ()
        result = run_script("serve.py", "--folder", package, *options, env={"APP_PORT": port})
        assert_one_line(result, f"cannot listen on 127.0.0.1:{port}")

    def test_no_package(self, tmp_path):
        result = run_script("serve.py", "--folder", tmp_path)
        assert_one_line(result, tmp_path / "serving.yaml", "No such file")

    def test_a_malformed_contract(self, tmp_path):
        (tmp_path / "serving.yaml").write_text("name: [")
        assert_one_line(run_script("serve.py", "--folder", tmp_path), "serving.yaml")

    def test_a_function_that_does_not_import(self, tmp_path):
        (tmp_path / "serving.yaml").write_text(CONTRACT)
        assert_one_line(run_script("serve.py", "--folder", tmp_path), "cannot import answer")
