"""Long runs: a fuzz of `predict`, and a million requests through the local runtime. `make soak`."""

import math
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

from lib import census
from lib.command import ROOT
from lib.runtime import PREDICT, serving

import grpc
import numpy as np
import pytest
from helpers import BAD, message
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest, PredictResponse
from tqdm import tqdm

pytestmark = pytest.mark.skipif(not os.environ.get("SOAK"), reason="takes minutes: make soak")
FUZZED_CALLS = 200_000
REQUESTS = 1_000_000
FIRST = 10_000
CLIENTS = 10
MEMORY_LIMIT = 5  # MB that the runtime may grow by after the first requests
GOOD = (
    lambda n: int(n),
    lambda n: float(n),
    lambda n: np.int64(n),
    lambda n: np.int32(n % 2**31),
    lambda n: np.uint8(n % 256),
    lambda n: np.float16(n % 1000),
    lambda n: np.float32(n),
    lambda n: np.bool_(n % 2),
    lambda n: np.array([n]),
    lambda n: np.array([[n]]),
    lambda n: message(int(n)),
    lambda n: message(float(n), 2, "double_val", (1,)),
)
WORSE = (
    np.full((1, 1, 3), 7),
    np.array(None),
    np.array([[]]),
    [[[]]],
    object,
    Ellipsis,
    lambda: 7,
    "7",
    b"",
    10**400,
    -(10**400),
    np.float32("inf"),
    Tensor(),
    Tensor(dtype=2, double_val=[math.nan]),
)


def read_resident_mb(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) / 1024


def test_fuzz(func_main):
    """A finite float, or a ValueError that names the offending fields and no others."""
    random = np.random.default_rng(0)
    bad = [value for value, _ in BAD] + list(WORSE)
    for _ in tqdm(range(FUZZED_CALLS), desc="fuzz", disable=None):
        numbers = random.integers(-(2**62), 2**62, size=13) >> random.integers(0, 62, size=13)
        kinds = random.integers(len(GOOD), size=13)
        inputs = {
            name: GOOD[kind](number)
            for name, kind, number in zip(census.FEATURES, kinds, numbers.tolist(), strict=True)
        }
        offending = set()
        for name in random.choice(census.FEATURES, size=random.integers(4) * random.integers(2)):
            offending.add(str(name))
            inputs[str(name)] = bad[random.integers(len(bad))]
        if random.integers(20) == 0:
            offending.add("race")
            del inputs["race"]
        inputs["extra"] = bad[random.integers(len(bad))]
        if offending:
            with pytest.raises(ValueError) as caught:
                func_main.predict(**inputs)
            assert {part.split(":")[0] for part in str(caught.value).split("; ")} == offending
            continue
        result = func_main.predict(**inputs)
        if isinstance(result, PredictResponse):
            result = {"value": result.outputs["value"].double_val[0]}
        assert type(result["value"]) is float
        assert math.isfinite(result["value"])


def test_a_million_requests(package, func_main, rows):
    expected = func_main.detector.decision_function(rows[:1000]).tolist()
    messages = []
    for codes in rows[:1000].tolist():
        named = zip(census.FEATURES, codes, strict=True)
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


FUZZER = """\
import math, sys
import atheris
with atheris.instrument_imports(include=["func_main"]):
    import func_main

def fuzz(data):
    provider = atheris.FuzzedDataProvider(data)
    draws = (
        lambda: provider.ConsumeInt(9),
        provider.ConsumeFloat,
        provider.ConsumeBool,
        lambda: provider.ConsumeUnicode(5),
        lambda: provider.ConsumeBytes(5),
        lambda: provider.ConsumeIntList(provider.ConsumeIntInRange(0, 3), 2),
        lambda: None,
    )
    names = [name for name in func_main.features if provider.ConsumeIntInRange(0, 9)]
    inputs = {name: draws[provider.ConsumeIntInRange(0, 6)]() for name in names}
    try:
        assert math.isfinite(func_main.predict(**inputs)["value"])
    except ValueError as error:
        assert str(error).split(":")[0] in func_main.features, error

atheris.Setup(sys.argv, fuzz)
atheris.Fuzz()
"""


def test_coverage_guided_fuzz(package, tmp_path):
    pytest.importorskip("atheris", reason="atheris is not installed: pip install atheris")
    program = tmp_path / "fuzz.py"
    program.write_text(FUZZER)
    environment = {**os.environ, "PYTHONPATH": str(package / "src")}
    command = [sys.executable, program, "-max_total_time=300", f"-artifact_prefix={tmp_path}/"]
    result = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
