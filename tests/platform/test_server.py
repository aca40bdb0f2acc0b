"""The local runtime, over real gRPC: it answers or refuses, and goes on."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from helpers import NORMAL, assert_one_line, message, predict, run, served, served_package
from hydro_serving_grpc.serving.contract import types_pb2 as types
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest, PredictResponse
from hydro_serving_grpc.serving.runtime.api_pb2_grpc import PredictionServiceStub

from knn_metric.platform import server
from knn_metric.platform.server import PREDICT, serving
from knn_metric.platform.target import open_channel

CONTRACT = """\
{name: echo, runtime: none, payload: [src/], contract: {name: answer, inputs: {}, outputs: {}}}
"""
# A dataclass looks for its module by name; what three requests print is more than a pipe holds.
NOISY = """\
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Row:
    age: int

print("loading")

def answer(**inputs):
    print("x" * 30_000)
    return {"value": inputs["x"]}
"""
UNKNOWN = [
    PredictRequest(inputs={"age": Tensor(dtype=dtype)}).SerializeToString()
    for dtype in (0, 8, 11, 27, 99)
]
PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


@pytest.fixture(scope="module")
def address(package):
    """That of a runtime which takes a megabyte at most."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "MESSAGE_LIMIT", 2**20)
        with served_package(package) as address:
            yield address


def write_package(folder, source):
    (folder / "src").mkdir()
    (folder / "src" / "func_main.py").write_text(source)
    (folder / "serving.yaml").write_text(CONTRACT)
    return folder


@pytest.fixture(scope="module")
def noisy_package(tmp_path_factory):
    return write_package(tmp_path_factory.mktemp("noisy"), NOISY)


def echo(x):
    tensor, array = Tensor(dtype=types.DT_FLOAT, float_val=[0.5]), np.array([[True, False]])
    kind = type(x).__name__
    return {"kind": kind, "value": x, "tensor": tensor, "number": 7, "array": array}


class TestAnswers:
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
    def test_the_function_gets_numpy_and_may_return_it(self, sent, kind):
        with served(echo) as address, grpc.insecure_channel(address) as channel:
            request = PredictRequest(inputs={"x": sent})
            outputs = PredictionServiceStub(channel).Predict(request).outputs
        assert outputs["kind"].string_val[0].decode().startswith(kind)
        assert outputs["value"] == sent
        assert outputs["tensor"] == Tensor(dtype=types.DT_FLOAT, float_val=[0.5])
        assert outputs["number"] == message(7)
        assert outputs["array"] == message([True, False], types.DT_BOOL, "bool_val", (1, 2))


class TestFaults:
    @pytest.fixture(autouse=True)
    def still_serves(self, address, func_main):
        yield
        with grpc.insecure_channel(address) as channel:
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            value = predict(channel, NORMAL)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        assert list(value.double_val) == [func_main.predict(**NORMAL)["value"]]

    @pytest.mark.parametrize(
        ("content", "times", "code", "words"),
        [
            (b"", 1, grpc.StatusCode.OUT_OF_RANGE, "ValueError('age: missing; "),
            *((tensor, 1, grpc.StatusCode.INTERNAL, "") for tensor in UNKNOWN),
            (b"\0", 2**20 + 1, grpc.StatusCode.RESOURCE_EXHAUSTED, ""),
            (b"\xff", 100, grpc.StatusCode.INTERNAL, ""),
        ],
    )
    def test_a_message_that_is_refused(self, address, content, times, code, words):
        with grpc.insecure_channel(address) as channel:
            caught = channel.unary_unary(PREDICT).future(content * times, timeout=60)
            assert (caught.code(), words in caught.details()) == (code, True)

    @pytest.mark.parametrize(
        "garbage", [b"GET / HTTP/1.1\r\n\r\n", np.random.default_rng(0).bytes(100_000), b""]
    )
    def test_garbage_on_the_port(self, address, garbage):
        # The server may hang up first.
        with connect(address) as client, contextlib.suppress(OSError):
            client.sendall(garbage)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass

    def test_clients_that_leave(self, address):
        request = PredictRequest(inputs={name: message(1) for name in NORMAL})
        for _ in range(20):
            with grpc.insecure_channel(address) as channel:
                PredictionServiceStub(channel).Predict.future(request).cancel()

    def test_50_clients_at_once(self, address, func_main, rows):
        ready = threading.Barrier(50)

        def ask(inputs):
            with grpc.insecure_channel(address) as channel:
                ready.wait(timeout=60)
                return predict(channel, inputs).double_val[0]

        requests = [dict(zip(NORMAL, row.tolist(), strict=True)) for row in rows[:50]]
        with ThreadPoolExecutor(50) as pool:
            values = list(pool.map(ask, requests))
        assert values == [func_main.predict(**inputs)["value"] for inputs in requests]


def connect(address):
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), 30)


def ask(address):
    with open_channel(address) as channel:
        return predict(channel, {"x": 1})


class TestProcess:
    @contextlib.contextmanager
    def serve(self, folder, *options):
        line = [sys.executable, "-m", "knn_metric", "serve", "--port", "0", "--package", folder]
        with subprocess.Popen([*line, *options], **PIPES, text=True) as process:
            try:
                assert process.stdout.readline() == "loading\n"
                yield process
            finally:
                process.kill()

    @pytest.mark.parametrize(
        ("number", "count", "host"),
        [(signal.SIGTERM, 1, "[::1]"), (signal.SIGHUP, 1, "0.0.0.0"), (signal.SIGINT, 200_000, "")],
    )
    def test_it_stops_cleanly(self, noisy_package, number, count, host):
        """On one signal, or on as many as come up to its last moment; at whatever address."""
        known = {address.address for listed in psutil.net_if_addrs().values() for address in listed}
        host = host if "::1" in known or "::" not in host else ""
        options = ("--host", host.strip("[]")) if host else ()
        with self.serve(noisy_package, *options) as process:
            address = re.search(r" on (\S+:\d+)", process.stdout.readline())[1]
            assert address.startswith(f"{host or '127.0.0.1'}:")
            ask(address)
            for _ in range(count):
                process.send_signal(number)
            assert process.wait(timeout=20) == (130 if number == signal.SIGINT else 0)
            assert process.stderr.read() == ""

    def test_it_ends_while_the_function_is_imported(self, tmp_path):
        write_package(tmp_path, "print('loading', flush=True); import time; time.sleep(99)")
        with self.serve(tmp_path) as process:
            process.terminate()
            assert process.wait(timeout=20) == -signal.SIGTERM

    def test_it_prints_much_asks_no_proxy_and_ends_when_its_parent_does(self, noisy_package):
        """However that ends: by a signal that it cannot handle."""
        code = f"from knn_metric.platform.server import serving; from pathlib import Path\n\
with serving(Path({str(noisy_package)!r})) as address: print(address, flush=True); input()"
        with subprocess.Popen([sys.executable, "-c", code], **PIPES, text=True) as parent:
            address = parent.stdout.readline().strip()
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("http_proxy", "http://127.0.0.1:9")
                for _ in range(3):
                    ask(address)
            parent.kill()
            with contextlib.suppress(ConnectionError):
                while True:
                    connect(address).close()
                    time.sleep(0.05)


def test_a_taken_port(noisy_package, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("APP_PORT", str(port))
        result = run("serve", "--package", noisy_package)
    assert_one_line(result, f"cannot listen on 127.0.0.1:{port}")


def test_a_function_that_does_not_import(tmp_path):
    (tmp_path / "serving.yaml").write_text(CONTRACT)
    assert_one_line(run("serve", "--package", tmp_path), "cannot import answer")
    (tmp_path / "src").mkdir()
    os.mkfifo(tmp_path / "src" / "func_main.py")
    assert_one_line(run("serve", "--package", tmp_path), "func_main.py is no file")


@pytest.mark.soak
def test_a_million_requests(package, func_main, rows):
    """The runtime grows by at most 5 MB after the first ten thousand; 10 clients send each part."""
    expected = func_main.detector.decision_function(rows[:1000]).tolist()
    requests = [
        PredictRequest(inputs=dict(zip(NORMAL, map(message, row), strict=True))).SerializeToString()
        for row in rows[:1000].tolist()
    ]

    def send(count):
        with grpc.insecure_channel(address) as channel:
            call = channel.unary_unary(PREDICT, response_deserializer=PredictResponse.FromString)
            for number in range(count):
                outputs = call(requests[number % 1000], timeout=60).outputs
                assert outputs["value"].double_val[0] == expected[number % 1000]

    sizes = []
    with serving(package) as address, ThreadPoolExecutor(10) as pool:
        (server,) = psutil.Process().children()
        for count in (1_000, 99_000):
            list(pool.map(send, [count] * 10))
            sizes.append(server.memory_info().rss / 2**20)
    print("resident in MB, after the first requests and after all:", sizes)
    assert sizes[1] - sizes[0] <= 5
