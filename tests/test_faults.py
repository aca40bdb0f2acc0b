"""What a network and a machine may do to the package: it answers or refuses, and goes on."""

import contextlib
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import joblib
import numpy as np
import pytest
from conftest import ROOT
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest
from hydro_serving_grpc.serving.runtime.api_pb2_grpc import PredictionServiceStub
from test_func_main import NORMAL
from test_serve import predict, serving

PREDICT = "/hydrosphere.serving.runtime.PredictionService/Predict"
UNLIMITED = [("grpc.max_send_message_length", -1)]


@pytest.fixture(scope="module")
def served(package):
    with serving(package) as served:
        yield served


@pytest.fixture
def still_serves(served, func_main):
    """Check after the test that a good request is answered as ever."""
    yield
    value = predict(served.channel, NORMAL)
    assert list(value.double_val) == [func_main.predict(**NORMAL)["value"]]
    assert served.process.poll() is None


def send_bytes(served, content):
    with grpc.insecure_channel(f"127.0.0.1:{served.port}", UNLIMITED) as channel:
        return channel.unary_unary(PREDICT)(content, timeout=60)


@pytest.mark.usefixtures("still_serves")
class TestRuntime:
    def test_an_empty_request(self, served):
        with pytest.raises(grpc.RpcError) as caught:
            send_bytes(served, b"")
        assert caught.value.code() == grpc.StatusCode.OUT_OF_RANGE
        assert "age: missing" in caught.value.details()

    @pytest.mark.parametrize("dtype", [0, 8, 11, 27, 99])
    def test_unknown_field_types(self, served, dtype):
        with pytest.raises(grpc.RpcError) as caught:
            send_bytes(
                served, PredictRequest(inputs={"age": Tensor(dtype=dtype)}).SerializeToString()
            )
        assert caught.value.code() == grpc.StatusCode.INTERNAL

    def test_a_message_of_300_mb(self, served):
        with pytest.raises(grpc.RpcError) as caught:
            send_bytes(served, b"\0" * 300_000_000)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED

    def test_a_message_that_is_none(self, served):
        with pytest.raises(grpc.RpcError) as caught:
            send_bytes(served, b"\xff" * 100)
        assert caught.value.code() == grpc.StatusCode.INTERNAL

    def test_garbage_on_the_port(self, served):
        garbage = np.random.default_rng(0).bytes(100_000)
        for content in (b"GET / HTTP/1.1\r\n\r\n", garbage, b""):
            address = ("127.0.0.1", int(served.port))
            # The server may hang up first.
            with socket.create_connection(address, 30) as client, contextlib.suppress(OSError):
                client.sendall(content)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass

    def test_clients_that_leave(self, served):
        request = PredictRequest(inputs={name: Tensor(dtype=9, int64_val=[1]) for name in NORMAL})
        for _ in range(50):
            channel = grpc.insecure_channel(f"127.0.0.1:{served.port}")
            call = PredictionServiceStub(channel).Predict.future(request)
            call.cancel()
            channel.close()

    def test_200_clients_at_once(self, served, func_main):
        ready = threading.Barrier(200)

        def ask(_):
            with grpc.insecure_channel(f"127.0.0.1:{served.port}") as channel:
                ready.wait(timeout=60)
                return predict(channel, NORMAL).double_val[0]

        with ThreadPoolExecutor(200) as pool:
            values = set(pool.map(ask, range(200)))
        assert values == {func_main.predict(**NORMAL)["value"]}


def test_a_killed_training_leaves_the_old_artifact(package, tmp_path):
    """Killed at ten moments, from the start to where a whole run would have ended."""
    out = tmp_path / "model.joblib"
    out.write_bytes((package / "monitoring_model.joblib").read_bytes())
    before = out.read_bytes()
    options = ["--data", "sample", "--neighbors", "10", "--out", out, "--plot", tmp_path / "a.png"]
    command = [sys.executable, ROOT / "scripts" / "train.py", *options]
    whole_run = 4  # seconds; a run that ends sooner must have replaced the artifact
    replaced = 0
    for moment in np.random.default_rng(0).uniform(0, whole_run, 10):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                process.wait(timeout=moment)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
        if process.returncode == 0 or out.read_bytes() != before:
            replaced += 1
            assert joblib.load(out).n_neighbors == 10
            out.write_bytes(before)
    assert replaced < 10
    assert joblib.load(out).n_neighbors == 15
