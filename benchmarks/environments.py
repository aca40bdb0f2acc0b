"""Compare this package with pyod's plain dump, beside an image's packages and beside current ones.

examples:
  environments.py                    with the rows of UCI's data that training held out
  environments.py --data adult.test  with another file's rows
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest

from knn_metric import cli, files
from knn_metric.cli import PARAMS
from knn_metric.contract import Contract
from knn_metric.data.loading import load_rows
from knn_metric.data.rows import Rows, describe_traffic, hold_out
from knn_metric.detection.detectors import load_detector
from knn_metric.detection.training import fit_detector
from knn_metric.platform.server import PREDICT, serving
from knn_metric.platform.target import open_channel
from knn_metric.platform.tensors import encode

if TYPE_CHECKING:
    from portable_knn import PortableKNN

TIMING = Path(__file__).with_name("timing.py")
ROUNDS = 12
CALLS = 150  # to each served function, a round
STARTS = 5
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


@cli.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.Parser(__doc__, prog="environments.py")
    parser.data()
    arguments = parser.parse_args(argv)
    contract = Contract.read(files.ROOT)
    detector = load_detector(files.artifact_path(files.ROOT), contract.input_names)
    rows = hold_out(load_rows(arguments.data, contract, arguments.most_rejected), detector.origin_)
    pythons = {"image": find_image_python(), "current": Path(sys.executable)}
    print(f"data: {describe_traffic(rows, detector)}\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), detector, rows, pythons)
        print(f"| {describe_machine()} | this package | pyod | as fast |")
        print("| --- | --- | --- | --- |")
        for cells in tabulate(bench.measure()):
            print(f"| {' | '.join(cells)} |")


def describe_machine() -> str:
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        model = found[1] if found else model
    return f"{model}, {os.cpu_count()} cores"


class Bench:
    """The packages to compare, the rows, and each measurement as a method."""

    def __init__(
        self, folder: Path, detector: PortableKNN, held_out: Rows, pythons: dict[str, Path]
    ) -> None:
        self.folder, self.pythons = folder, pythons
        training = replace(held_out, values=detector.training_rows_.astype(np.float64))
        requests = held_out.values.astype(np.int64)
        self.rows, self.training = str(folder / "rows.npy"), str(folder / "training.npy")
        np.save(self.rows, requests)
        np.save(self.training, training.values.astype(np.int64))
        self.messages = [encode_request(held_out.names, row) for row in requests[:CALLS]]
        self.ours, self.constant = folder / "ours", make_package(folder / "constant", CONSTANT)
        shutil.copytree(files.ROOT / "src", self.ours / "src")
        shutil.copy(files.ROOT / "serving.yaml", self.ours)
        fit_detector(training).save(files.artifact_path(self.ours))
        source = TUTORIAL % (detector.feature_names_in_.tolist(),)
        self.tutorials = {name: make_package(folder / name, source) for name in pythons}

    def measure(self) -> dict[str, dict[str, float]]:
        """Return every figure by its side; training comes first, since it makes pyod's dumps."""
        figures = {}
        for name, tutorial in self.tutorials.items():
            packages = {"ours": str(self.ours), "pyod": str(tutorial)}
            figures[f"fit {name}"] = self.run(name, "fit", self.training, PARAMS, str(tutorial))
            figures[f"request {name}"] = self.run(name, "request", self.rows, packages)
        figures["batch"] = self.run("current", "batch", self.rows, self.training, PARAMS)
        return {**figures, "start": self.start(), "served": self.serve()}

    def run(self, environment: str, task: str, *arguments: object) -> Any:
        """Take one timing in a process of its own, where only our package's src/ is found."""
        line = [str(self.pythons[environment]), str(TIMING), json.dumps([task, *arguments])]
        path = {**os.environ, "PYTHONPATH": str(self.ours / "src")}
        result = subprocess.run(line, cwd=self.folder, env=path, capture_output=True, text=True)
        if result.returncode:
            last = cli.last_line(result)
            raise cli.UserError(f"{task} failed in the {environment} environment: {last}")
        return json.loads(result.stdout)

    def serve(self) -> dict[str, float]:
        """Return how many times as long as a constant's a request to each package takes."""
        packages = (self.constant, self.ours, self.tutorials["image"])
        seconds: list[list[float]] = [[] for _ in packages]
        with ExitStack() as stack:
            calls = []
            for package in packages:
                address = stack.enter_context(serving(package, str(self.pythons["image"])))
                # Raw bytes: Python's own protobuf would be slower than the server.
                calls.append(stack.enter_context(open_channel(address)).unary_unary(PREDICT))
            for turn in range(ROUNDS + 1):
                for taken, call in zip(seconds, calls, strict=True):
                    of_one = time_requests(call, self.messages)
                    taken += of_one if turn else []  # the first round warms up
        constant, ours, pyod = (float(np.median(taken)) for taken in seconds)
        return {"ours": ours / constant, "pyod": pyod / constant}

    def start(self) -> dict[str, float]:
        """Return the seconds of a process in the image's environment, to its first value."""
        packages = {"ours": self.ours, "pyod": self.tutorials["image"]}
        seconds: dict[str, list[float]] = {name: [] for name in packages}
        for _ in range(STARTS):
            for name, package in packages.items():
                began = time.perf_counter()
                self.run("image", "start", self.rows, str(package))
                seconds[name].append(time.perf_counter() - began)
        return {name: float(np.median(taken)) for name, taken in seconds.items()}


def tabulate(figures: dict[str, dict[str, float]]) -> list[list[str]]:
    """Return the rows of the README's table."""
    served = figures["served"]
    return [
        compare("one request, image's pyod 1.0.0, p50 us", figures["request image"]),
        compare("one request, current pyod, p50 us", figures["request current"]),
        compare("training, image, s", figures["fit image"], 2),
        compare("10,000 rows at once, 2 cores, rows a second", figures["batch"], rate=True),
        compare("start to first value, image, s", figures["start"], 1),
        ["over gRPC, p50 beside a constant's", f"{served['ours']:.2f}", f"{served['pyod']:.2f}"],
    ]


def compare(label: str, sides: dict[str, float], digits: int = 0, rate: bool = False) -> list[str]:
    ours, pyod = sides["ours"], sides["pyod"]
    ratio = ours / pyod if rate else pyod / ours
    return [label, f"{ours:.{digits}f}", f"{pyod:.{digits}f}", f"{ratio:.1f}x"]


def find_image_python() -> Path:
    """Return an interpreter with an image's packages, made by nox if it is not there."""
    for version in ("3.7", "3.8"):
        python = files.ROOT / ".nox" / f"image-{version.replace('.', '-')}" / "bin" / "python"
        if not python.exists():
            nox = [sys.executable, "-m", "nox", "-f", str(files.ROOT / "noxfile.py")]
            subprocess.run([*nox, "-s", f"image-{version}"], capture_output=True)
        if python.exists():
            return python
    needs = "takes Python 3.7 or 3.8, and the package registry once"
    raise cli.UserError(f"an image's environment {needs}")


def make_package(folder: Path, source: str) -> Path:
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "func_main.py").write_text(source)
    shutil.copy(files.ROOT / "serving.yaml", folder)
    return folder


def encode_request(names: Sequence[str], codes: np.ndarray) -> bytes:
    tensors = {name: encode(code) for name, code in zip(names, codes, strict=True)}
    return PredictRequest(inputs=tensors).SerializeToString()


def time_requests(call: Callable[[bytes], bytes], messages: list[bytes]) -> list[float]:
    seconds = []
    for message in messages:
        start = time.perf_counter()
        call(message)
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
