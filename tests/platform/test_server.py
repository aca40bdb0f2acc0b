"""The local runtime, over real gRPC."""

import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from helpers import NORMAL, assert_one_line, message, predict, run, served_package
from hydro_serving_grpc.serving.contract import types_pb2 as types
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest
from hydro_serving_grpc.serving.runtime.api_pb2_grpc import PredictionServiceStub

from knn_metric.platform.server import serving
from knn_metric.platform.target import open_channel

CONTRACT = """\
name: echo
runtime: none
payload: [src/]
contract:
  name: answer
  inputs: {}
  outputs: {}
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


@pytest.fixture(scope="module")
def channel(package):
    with served_package(package) as address, grpc.insecure_channel(address) as channel:
        yield channel


@pytest.fixture(scope="module")
def echo_package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("echo")
    (folder / "src").mkdir()
    (folder / "src" / "func_main.py").write_text(ECHO)
    (folder / "serving.yaml").write_text(CONTRACT)
    return folder


@pytest.fixture(scope="module")
def echo(echo_package):
    with served_package(echo_package) as address, grpc.insecure_channel(address) as channel:
        yield PredictionServiceStub(channel)


class TestPackage:
    def test_the_value_is_predicts(self, channel, func_main):
        value = predict(channel, NORMAL)
        assert value.dtype == types.DT_DOUBLE
        assert value.HasField("tensor_shape")
        assert not value.tensor_shape.dims
        assert list(value.double_val) == [func_main.predict(**NORMAL)["value"]]

    def test_a_value_error_is_out_of_range(self, channel):
        with pytest.raises(grpc.RpcError) as caught:
            predict(channel, {k: v for k, v in NORMAL.items() if k != "race"})
        assert caught.value.code() == grpc.StatusCode.OUT_OF_RANGE
        assert caught.value.details() == repr(ValueError("race: missing"))

    def test_health(self, channel):
        response = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert response.status == health_pb2.HealthCheckResponse.SERVING


class TestConversion:
    @pytest.mark.parametrize(
        ("sent", "kind"),
        [
            (message(7), "int64"),
            (message(0.5, types.DT_DOUBLE, "double_val"), "float64"),
            (message(0.5, types.DT_FLOAT, "float_val"), "float32"),
            (message(7, types.DT_UINT8, "int_val"), "uint8"),
            (message(True, types.DT_BOOL, "bool_val"), "bool"),
            (message(b"x", types.DT_STRING, "string_val"), "str_"),
            (message([1, 2, 3, 4], dims=(2, 2)), "ndarray"),
        ],
    )
    def test_the_function_gets_numpy(self, echo, sent, kind):
        outputs = echo.Predict(PredictRequest(inputs={"x": sent})).outputs
        assert outputs["kind"].string_val[0].decode().startswith(kind)
        assert outputs["x"] == sent

    def test_what_a_function_may_return(self, echo):
        outputs = echo.Predict(PredictRequest(inputs={"x": message(1)})).outputs
        assert outputs["tensor"] == Tensor(dtype=types.DT_FLOAT, float_val=[0.5])
        assert outputs["number"] == message(7)
        assert outputs["array"] == message([True, False], types.DT_BOOL, "bool_val", (1, 2))

    def test_another_error_is_internal(self, echo):
        with pytest.raises(grpc.RpcError) as caught:
            echo.Predict(PredictRequest(inputs={"crash": message(1)}))
        assert caught.value.code() == grpc.StatusCode.INTERNAL
        assert caught.value.details() == "KeyError('crash')"


def ask(address):
    with open_channel(address) as channel:
        request = PredictRequest(inputs={"x": message(1)})
        return PredictionServiceStub(channel).Predict(request, timeout=30)


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


class TestProcess:
    """With a function that imports in no time."""

    @contextmanager
    def serving(self, folder, *options):
        line = [sys.executable, "-m", "knn_metric", "serve", "--port", "0", "--package", folder]
        line += options
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(line, **pipes) as process:
            try:
                yield process, re.search(r" on (\S+:\d+)", process.stdout.readline())[1]
            finally:
                process.kill()

    @pytest.mark.parametrize(
        ("number", "count"),
        [(signal.SIGTERM, 1), (signal.SIGINT, 1), (signal.SIGINT, 200_000)],
    )
    def test_it_stops_cleanly(self, echo_package, number, count):
        """On one signal, or on as many as come up to its last moment."""
        with self.serving(echo_package) as (process, address):
            ask(address)
            for _ in range(count):
                process.send_signal(number)
            assert process.wait(timeout=20) == (130 if number == signal.SIGINT else 0)
            assert process.stderr.read() == ""

    def test_an_address_of_ipv6(self, echo_package):
        if not has_ipv6():
            pytest.skip("this machine has no ::1")
        with self.serving(echo_package, "--host", "::1") as (_, address):
            assert address.startswith("[::1]:")
            ask(address)

    def test_a_proxy_of_the_environment_is_not_asked(self, echo_package, monkeypatch):
        """What runs on this machine is called without it."""
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        with self.serving(echo_package) as (_, address):
            ask(address)


class TestBadOptions:
    @pytest.mark.parametrize(
        ("host", "words"),
        [
            ("no host", ("--host: no host is no address",)),
            ("192.0.2.77", ("cannot listen on 192.0.2.77:0", "is not this machine's")),
        ],
    )
    def test_a_host_that_will_not_do(self, echo_package, host, words):
        result = run("serve", "--package", echo_package, "--host", host, "--port", 0)
        assert_one_line(result, *words)

    @pytest.mark.parametrize("how", ["option", "environment"])
    def test_a_taken_port(self, echo_package, how, monkeypatch):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            monkeypatch.setenv("APP_PORT", str(port))
            options = ("--port", port) if how == "option" else ()
            result = run("serve", "--package", echo_package, *options)
        assert_one_line(result, f"cannot listen on 127.0.0.1:{port}")

    @pytest.mark.parametrize("port", ["99999", "-1", "x"])
    def test_a_port_that_is_none(self, port, monkeypatch):
        monkeypatch.setenv("APP_PORT", port)
        assert_one_line(run("serve"), "knn-metric serve: argument --port: ", port)

    def test_a_dataclass_in_a_function(self, echo_package, tmp_path):
        """Which looks for its module by name."""
        folder = shutil.copytree(echo_package, tmp_path / "echo")
        head = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        source = f"{head}@dataclass\nclass Row:\n    age: int\n{ECHO}"
        (folder / "src" / "func_main.py").write_text(source)
        with served_package(folder) as address:
            assert predict(grpc.insecure_channel(address), {"x": 1}) is not None

    def test_a_function_that_does_not_import(self, tmp_path):
        (tmp_path / "serving.yaml").write_text(CONTRACT)
        assert_one_line(run("serve", "--package", tmp_path), "cannot import answer")


def test_a_function_that_prints_much(echo_package, tmp_path):
    """On import, and more than a pipe holds with each request."""
    folder = shutil.copytree(echo_package, tmp_path / "loud")
    loud = ECHO.replace("    if ", "    print('x' * 100_000)\n    if ", 1) + "\nprint('loading')\n"
    (folder / "src" / "func_main.py").write_text(loud)
    with serving(folder) as address:
        for _ in range(3):
            ask(address)
