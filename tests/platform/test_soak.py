"""A million requests through the local runtime: `make soak`."""

import os
import re
import threading
from pathlib import Path

import grpc
import pytest
from helpers import message
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest, PredictResponse
from tqdm import tqdm

from knn_metric.data.census import FEATURES
from knn_metric.platform.server import PREDICT, serving

REQUESTS = 1_000_000
FIRST = 10_000
CLIENTS = 10
MEMORY_LIMIT = 5  # MB that the runtime may grow by after the first requests


def read_resident_mb(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) / 1024


@pytest.mark.soak
def test_a_million_requests(package, func_main, rows):
    expected = func_main.detector.decision_function(rows[:1000]).tolist()
    messages = []
    for codes in rows[:1000].astype(int).tolist():
        named = zip(FEATURES, codes, strict=True)
        tensors = {name: message(code) for name, code in named}
        messages.append(PredictRequest(inputs=tensors).SerializeToString())
    with serving(package) as address:
        (pid,) = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        send_all(address, messages, expected, FIRST)
        before = read_resident_mb(pid)
        send_all(address, messages, expected, REQUESTS - FIRST)
        after = read_resident_mb(pid)
    print(f"resident: {before:.1f} MB after {FIRST} requests, {after:.1f} MB after {REQUESTS}")
    assert after - before <= MEMORY_LIMIT


def send_all(address, messages, expected, count):
    """Send messages in turn from ten clients, and check each answer."""
    answers = [None] * len(messages)
    wrong, done = [], []
    with tqdm(total=count, desc="requests", disable=None) as bar:

        def send(first):
            with grpc.insecure_channel(address) as channel:
                call = channel.unary_unary(PREDICT)
                for number in range(first, count, CLIENTS):
                    index = number % len(messages)
                    answer = call(messages[index], timeout=60)
                    if answers[index] is None:
                        value = PredictResponse.FromString(answer).outputs["value"].double_val[0]
                        answers[index] = answer
                        if value != expected[index]:
                            wrong.append((index, value))
                    elif answers[index] != answer:
                        wrong.append((index, answer))
                    bar.update()
            done.append(first)

        clients = [threading.Thread(target=send, args=(first,)) for first in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    assert sorted(done) == list(range(CLIENTS)), "a client ended early"
    assert wrong == []
