"""Requests to this package, to pyod's plain dump and to a constant, measured in one run."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest
from tqdm import tqdm

from monitoring.cli import UserError
from monitoring.data.rows import Rows
from monitoring.detection.training import PARAMS, fit_detector
from monitoring.files import ARTIFACT, ROOT
from monitoring.hydrosphere.server import PREDICT, serving
from monitoring.hydrosphere.target import open_channel
from monitoring.hydrosphere.tensors import encode

if TYPE_CHECKING:
    from portable_knn import PortableKNN

SIZES = (26_048, 260_480, 2_604_800)
ROUNDS = 12
CALLS = 150  # to each served function, a round
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


def describe_machine() -> str:
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        model = found[1] if found else model
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"


def measure(bench: Bench) -> dict[str, Any]:
    tasks = (bench.fit, bench.request, bench.serve, bench.start, bench.batch, bench.grow)
    with tqdm(tasks, disable=None, leave=False) as bar:
        results = {}
        for task in bar:
            bar.set_description(task.__name__)
            results[task.__name__] = task()
    return results


class Bench:
    """The packages to compare, the rows, and each measurement as a method."""

    def __init__(self, folder: Path, detector: PortableKNN, held_out: Rows) -> None:
        self.pythons = {"current": Path(sys.executable), "image": find_image_python()}
        training = replace(held_out, values=detector.training_rows_.astype(np.float64))
        self.params = PARAMS
        self.folder, self.requests = folder, held_out.values.astype(np.int64)
        self.rows, self.training = str(folder / "rows.npy"), str(folder / "training.npy")
        np.save(self.rows, self.requests)
        np.save(self.training, training.values.astype(np.int64))
        self.names = held_out.names
        self.ours = copy_package(folder / "ours", fit_detector(training))
        self.constant = make_package(folder / "constant", CONSTANT)
        source = TUTORIAL % (detector.feature_names_in_.tolist(),)
        self.tutorials = {
            name: make_package(folder / f"tutorial_{name}", source) for name in self.pythons
        }

    def run(self, environment: str, task: str, *arguments: object) -> Any:
        """Take one measurement in a process of its own, where only our package's src/ is found."""
        path = os.pathsep.join([str(ROOT / "scripts"), str(self.ours / "src")])
        line = [
            str(self.pythons[environment]),
            "-m",
            "monitoring.bench.worker",
            json.dumps([task, *arguments]),
        ]
        result = subprocess.run(
            line, cwd=self.folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True
        )
        if result.returncode:
            last = result.stderr.decode().strip().splitlines()[-1]
            raise UserError(f"{task} failed in the {environment} environment: {last}")
        return json.loads(result.stdout)

    def fit(self) -> dict[str, Any]:
        """Train both ways, in both environments; the tutorial's packages get their dumps."""
        return {
            name: self.run(name, "fit", self.training, self.params, str(self.tutorials[name]))
            for name in self.pythons
        }

    def request(self) -> dict[str, Any]:
        """Time one request in process."""
        return {
            name: self.run(
                name, "request", self.rows, {"ours": str(self.ours), "pyod": str(tutorial)}
            )
            for name, tutorial in self.tutorials.items()
        }

    def serve(self) -> dict[str, Any]:
        """Time one request and ten clients over gRPC; the constant comes first and last."""
        packages = {
            "constant": self.constant,
            "ours": self.ours,
            "pyod": self.tutorials["image"],
            "constant again": self.constant,
        }
        messages = [encode_request(self.names, row) for row in self.requests[:CALLS]]
        seconds: dict[str, list[float]] = {name: [] for name in packages}
        rates: dict[str, list[float]] = {name: [] for name in packages}
        with ExitStack() as stack:
            calls = {
                name: stack.enter_context(calling(self.pythons["image"], package))
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
                "p50_us": 1e6 * float(np.median(seconds[name])),
                "per_second": float(np.median(rates[name])),
            }
            for name in packages
        }

    def start(self) -> dict[str, Any]:
        """Time a process in the image's environment from its start to its first value."""
        packages = {"ours": self.ours, "pyod": self.tutorials["image"]}
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in packages}
        for turn in range(6):
            for name, package in packages.items():
                began = time.perf_counter()
                result = self.run("image", "start", self.rows, str(package))
                result["seconds"] = time.perf_counter() - began
                if turn:
                    runs[name].append(result)
        return {
            name: {key: float(np.median([run[key] for run in of_one])) for key in of_one[0]}
            for name, of_one in runs.items()
        }

    def batch(self) -> dict[str, Any]:
        """Score 10,000 rows at once."""
        return self.run("current", "batch", self.rows, self.training, self.params)

    def grow(self) -> dict[str, Any]:
        """Train on ten and a hundred times as many rows; pyod on no more than ten times."""
        arguments = (self.rows, self.training, self.params)
        return {
            str(size): self.run("current", "grow", *arguments, size, size != max(SIZES))
            for size in SIZES
        }


def find_image_python() -> Path:
    """Return an interpreter with an image's packages, made by nox if it is not there."""
    for version in ("3.7", "3.8"):
        python = ROOT / ".nox" / f"image-{version.replace('.', '-')}" / "bin" / "python"
        if not python.exists():
            nox = [sys.executable, "-m", "nox", "-f", str(ROOT / "noxfile.py")]
            subprocess.run([*nox, "-s", f"image-{version}"], capture_output=True)
        if python.exists():
            return python
    raise UserError("an image's environment takes Python 3.7 or 3.8, and the package registry once")


def copy_package(folder: Path, detector: PortableKNN) -> Path:
    """Copy this package, with a detector of its own."""
    shutil.copytree(ROOT / "src", folder / "src")
    shutil.copy(ROOT / "serving.yaml", folder)
    detector.save(folder / ARTIFACT)
    return folder


def make_package(folder: Path, source: str) -> Path:
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "func_main.py").write_text(source)
    shutil.copy(ROOT / "serving.yaml", folder)
    return folder


def encode_request(names: Sequence[str], codes: np.ndarray) -> bytes:
    tensors = {name: encode(code) for name, code in zip(names, codes, strict=True)}
    return PredictRequest(inputs=tensors).SerializeToString()


@contextmanager
def calling(python: Path, package: Path) -> Iterator[Callable[[bytes], bytes]]:
    """Serve a package; yield a call that takes and returns raw bytes.

    Python's own protobuf would be slower than the server.
    """
    with serving(package, str(python)) as address, open_channel(address) as channel:
        yield channel.unary_unary(PREDICT)


def time_requests(call: Callable[[bytes], bytes], messages: list[bytes]) -> list[float]:
    seconds = []
    for message in messages:
        start = time.perf_counter()
        call(message)
        seconds.append(time.perf_counter() - start)
    return seconds


def measure_throughput(call: Callable[[bytes], bytes], messages: list[bytes]) -> float:
    """Return the requests a second that ten clients get answered."""
    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda _: time_requests(call, messages), range(CLIENTS)))
    return CLIENTS * len(messages) / (time.perf_counter() - start)
