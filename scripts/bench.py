"""Measure latency, start-up, growth and batches beside pyod and an empty function, in one run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import joblib
import numpy as np
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor, TensorShape
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest
from tqdm import tqdm

import census
from bench_report import format_tables, plot

sys.path.insert(0, str(census.ROOT / "src"))
EXAMPLES = """\
examples:
  bench.py                    with UCI's rows, downloaded once
  bench.py --data adult.data  with a file's rows that training has not seen
"""
METHOD = "/hydrosphere.serving.runtime.PredictionService/Predict"
SIZES = (26_048, 260_480, 2_604_800)
ROUNDS = 8
CALLS = 150  # of each function, a round
CLIENTS = 10
CONSTANT = """\
def predict(**inputs):
    return {"value": 1.0}
"""
# What the tutorial does: the plain dump, one array, one call of pyod's own search.
TUTORIAL = """\
from pathlib import Path

import joblib
import numpy as np

detector = joblib.load(str(Path(__file__).resolve().parents[1] / "monitoring_model.joblib"))
features = %r


def predict(**inputs):
    row = np.array([inputs[name] for name in features]).reshape(1, -1)
    return {"value": float(detector.decision_function(row)[0])}
"""


class BenchError(Exception):
    """The benchmark cannot run; the message is one line for the user."""


def find_image_python() -> Path:
    """Return an interpreter with an image's packages, made by nox if it is not there."""
    for version in ("3.7", "3.8"):
        python = census.ROOT / ".nox" / f"image-{version.replace('.', '-')}" / "bin" / "python"
        nox = [sys.executable, "-m", "nox", "-f", census.ROOT / "tests/noxfile.py"]
        if not python.exists():
            subprocess.run([*nox, "-s", f"image-{version}"], capture_output=True)
        if python.exists():
            return python
    raise BenchError("neither Python 3.7 nor 3.8 is installed, which the images have")


def run_side(python: Path | str, task: str, *arguments: object) -> dict | list:
    command = [python, census.ROOT / "scripts/bench_side.py", task, *arguments]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if result.returncode:
        raise BenchError(f"{task} failed: {result.stderr.strip().splitlines()[-1]}")
    return json.loads(result.stdout)


def make_package(folder: Path, source: str) -> Path:
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "func_main.py").write_text(source)
    shutil.copy(census.ROOT / "serving.yaml", folder)
    return folder


class Bench:
    """The packages to compare, the rows, and each measurement as a method."""

    def __init__(self, folder: Path, artifact: Path, held_out: np.ndarray) -> None:
        detector = joblib.load(artifact)
        self.pythons = {"current": Path(sys.executable), "image": find_image_python()}
        self.rows, self.training = folder / "rows.npy", folder / "training.npy"
        np.save(self.rows, held_out)
        np.save(self.training, detector.training_rows_.astype(np.int64))
        self.requests = held_out
        self.ours = folder / "ours"
        shutil.copytree(census.ROOT / "src", self.ours / "src")
        shutil.copy(census.ROOT / "serving.yaml", self.ours)
        shutil.copy(artifact, self.ours / "monitoring_model.joblib")
        self.constant = make_package(folder / "constant", CONSTANT)
        source = TUTORIAL % (detector.feature_names_in_.tolist(),)
        self.tutorials = {
            name: make_package(folder / f"tutorial_{name}", source) for name in self.pythons
        }

    def train(self) -> dict:
        """Train and save both ways, in both environments."""
        results = {}
        for name, python in self.pythons.items():
            results[f"tutorial_{name}"] = run_side(
                python, "dump", self.training, self.tutorials[name]
            )
            results[f"ours_{name}"] = run_side(python, "fit", self.training, self.ours)
        return results

    def request(self) -> dict:
        """Time one request in process."""
        results = {}
        for name, python in self.pythons.items():
            sides = (self.ours, self.tutorials[name])
            timed = run_side(python, "request", self.rows, *sides)
            results[f"ours_{name}"], results[f"tutorial_{name}"] = timed
        return results

    def start(self) -> dict:
        """Time a process in the image's environment from its start to its first value."""
        sides = {"ours": self.ours, "tutorial": self.tutorials["image"]}
        results = {name: [] for name in sides}
        for turn in range(6):
            for name, package in sides.items():
                began = time.perf_counter()
                result = run_side(self.pythons["image"], "start", self.rows, package)
                result["seconds"] = time.perf_counter() - began
                if turn:
                    results[name].append(result)
        return {
            name: {key: float(np.median([r[key] for r in runs])) for key in runs[0]}
            for name, runs in results.items()
        }

    def serve(self) -> dict:
        """Time one request, and ten clients, over gRPC in the image's environment."""
        packages = {
            "constant": self.constant,
            "ours": self.ours,
            "tutorial": self.tutorials["image"],
        }
        messages = [encode_request(row) for row in self.requests[:CALLS].tolist()]
        seconds = {name: [] for name in packages}
        rates = {name: [] for name in packages}
        with ExitStack() as stack:
            calls = {
                name: stack.enter_context(serving(self.pythons["image"], package))
                for name, package in packages.items()
            }
            for turn in range(ROUNDS + 1):
                for name, call in calls.items():
                    taken = time_requests(call, messages)
                    rate = measure_throughput(call, messages)
                    if turn:  # the first round warms up
                        seconds[name] += taken
                        rates[name].append(rate)
        return {
            name: {
                "p50_us": float(np.percentile(seconds[name], 50) * 1e6),
                "p99_us": float(np.percentile(seconds[name], 99) * 1e6),
                "per_second": float(np.median(rates[name])),
            }
            for name in packages
        }

    def batch(self) -> dict:
        """Score 10,000 rows at once."""
        return run_side(self.pythons["current"], "batch", self.rows, self.ours)

    def grow(self) -> dict:
        """Index ten and a hundred times as many rows."""
        python = self.pythons["current"]
        return {str(n): run_side(python, "grow", self.rows, self.ours, n) for n in SIZES}


def encode_request(codes: list[int]) -> bytes:
    tensors = {
        name: Tensor(dtype=9, tensor_shape=TensorShape(), int64_val=[code])
        for name, code in zip(census.FEATURES, codes, strict=True)
    }
    return PredictRequest(inputs=tensors).SerializeToString()


@contextmanager
def serving(python: Path, package: Path) -> Iterator[Callable[[bytes], bytes]]:
    """Serve a package with scripts/serve.py; yield a call that takes and returns raw bytes."""
    command = [python, census.ROOT / "scripts/serve.py", "--port", "0", "--folder", package]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = re.search(r" on (\S+:\d+)", process.stdout.readline())
            if address is None:
                raise BenchError(f"{package.name} cannot be served")
            with grpc.insecure_channel(address[1]) as channel:
                # Bytes as they are: Python's own protobuf would be slower than the server.
                yield channel.unary_unary(METHOD)
        finally:
            process.terminate()


def time_requests(call: Callable[[bytes], bytes], messages: list[bytes]) -> list[float]:
    seconds = []
    for message in messages:
        start = time.perf_counter()
        call(message)
        seconds.append(time.perf_counter() - start)
    return seconds


def measure_throughput(call: Callable[[bytes], bytes], messages: list[bytes]) -> float:
    """Return the requests a second that ten clients get answered."""

    def send_all() -> None:
        for message in messages:
            call(message)

    clients = [threading.Thread(target=send_all) for _ in range(CLIENTS)]
    start = time.perf_counter()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return CLIENTS * len(messages) / (time.perf_counter() - start)


def describe_machine() -> str:
    model = platform.processor() or platform.machine()
    try:
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        model = found[1] if found else model
    except OSError:
        pass
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="bench.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", default="uci", help="uci, sample or a file (default: uci)")
    parser.add_argument("--reports", type=Path, default=census.ROOT / "reports", help="where to")
    arguments = parser.parse_args()
    artifact = census.ROOT / "monitoring_model.joblib"
    try:
        if not artifact.exists():
            raise BenchError(f"{artifact} is missing: `make train` makes it")
        data = census.load(arguments.data)
        unseen = census.find_unseen(data, joblib.load(artifact).origin_)
        held_out = census.encode([data.records[index] for index in unseen])
        results = measure(artifact, held_out)
    except (BenchError, census.DataError) as error:
        parser.exit(2, f"bench.py: {error}\n")
    arguments.reports.mkdir(parents=True, exist_ok=True)
    (arguments.reports / "bench.json").write_text(json.dumps(results, indent=1))
    plot(results, arguments.reports / "bench.png")
    print(format_tables(results))
    print(f"\nfigures: {os.path.relpath(arguments.reports / 'bench.json')}, bench.png beside it")


def measure(artifact: Path, held_out: np.ndarray) -> dict:
    """Take every measurement; the packages live in a temporary folder meanwhile."""
    results = {"machine": describe_machine()}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), artifact, held_out)
        names = ("train", "request", "serve", "start", "batch", "grow")
        for name in tqdm(names, desc="benchmarks", disable=None):
            results[name] = getattr(bench, name)()
    return results


if __name__ == "__main__":
    main()
