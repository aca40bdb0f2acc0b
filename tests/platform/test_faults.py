"""What a network may do to the runtime: it answers or refuses, and goes on."""

import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from helpers import NORMAL, message, predict, served_package
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest
from hydro_serving_grpc.serving.runtime.api_pb2_grpc import PredictionServiceStub

from knn_metric.platform.server import PREDICT

UNLIMITED = [("grpc.max_send_message_length", -1)]
UNKNOWN = [
    PredictRequest(inputs={"age": Tensor(dtype=dtype)}).SerializeToString()
    for dtype in (0, 8, 11, 27, 99)
]


@pytest.fixture(scope="module")
def address(package):
    with served_package(package) as address:
        yield address


@pytest.fixture
def still_serves(address, func_main):
    """Check after the test that a good request is answered as ever."""
    yield
    with grpc.insecure_channel(address) as channel:
        value = predict(channel, NORMAL)
    assert list(value.double_val) == [func_main.predict(**NORMAL)["value"]]


def send_bytes(address, content):
    with grpc.insecure_channel(address, UNLIMITED) as channel:
        return channel.unary_unary(PREDICT)(content, timeout=60)


@pytest.mark.usefixtures("still_serves")
class TestRuntime:
    @pytest.mark.parametrize(
        ("content", "times", "code", "words"),
        [
            (b"", 1, grpc.StatusCode.OUT_OF_RANGE, "age: missing"),
            *((tensor, 1, grpc.StatusCode.INTERNAL, "") for tensor in UNKNOWN),
            (b"\0", 300_000_000, grpc.StatusCode.RESOURCE_EXHAUSTED, ""),
            (b"\xff", 100, grpc.StatusCode.INTERNAL, ""),
        ],
    )
    def test_a_message_that_is_refused(self, address, content, times, code, words):
        with pytest.raises(grpc.RpcError) as caught:
            send_bytes(address, content * times)
        assert caught.value.code() == code
        assert words in caught.value.details()

    def test_garbage_on_the_port(self, address):
        garbage = np.random.default_rng(0).bytes(100_000)
        for content in (b"GET / HTTP/1.1\r\n\r\n", garbage, b""):
            host = ("127.0.0.1", int(address.split(":")[1]))
            # The server may hang up first.
            with socket.create_connection(host, 30) as client, contextlib.suppress(OSError):
                client.sendall(content)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass

    def test_clients_that_leave(self, address):
        request = PredictRequest(inputs={name: message(1) for name in NORMAL})
        for _ in range(50):
            channel = grpc.insecure_channel(address)
            call = PredictionServiceStub(channel).Predict.future(request)
            call.cancel()
            channel.close()

    def test_200_clients_at_once(self, address, func_main, rows):
        ready = threading.Barrier(200)

        def ask(inputs):
            with grpc.insecure_channel(address) as channel:
                ready.wait(timeout=60)
                return predict(channel, inputs).double_val[0]

        requests = [dict(zip(NORMAL, row.tolist(), strict=True)) for row in rows[:200]]
        with ThreadPoolExecutor(200) as pool:
            values = list(pool.map(ask, requests))
        assert values == [func_main.predict(**inputs)["value"] for inputs in requests]
