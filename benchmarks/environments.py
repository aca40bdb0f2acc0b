"""Compare this package with pyod's plain dump, beside an image's packages and beside current ones.

The rows are those of UCI's data that training held out.

examples:
  python benchmarks/environments.py   takes some minutes, and prints the README's table
"""

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest

from knn_metric import cli, files
from knn_metric.contract import Contract
from knn_metric.data.rows import hold_out, load_census
from knn_metric.detection.detectors import load_detector
from knn_metric.detection.training import fit_detector
from knn_metric.package.new import write_package
from knn_metric.platform.server import PREDICT, serving
from knn_metric.platform.target import open_channel
from knn_metric.platform.tensors import encode

TIMING = Path(__file__).with_name("timing.py")
ROUNDS, CALLS = 12, 150  # to each served function
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
    cli.Parser(__doc__, prog="environments.py").parse_args(argv)
    contract = Contract.read(files.ROOT)
    detector = load_detector(files.ROOT)
    rows = hold_out(load_census("uci"), detector.origin_)
    pythons = {"image": find_image_python(), "current": Path(sys.executable)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "rows.npy", rows.values.astype(np.int64))
        np.save(folder / "training.npy", detector.training_rows_.astype(np.int64))
        write_package(folder / "ours", "ours", contract.inputs)
        training = replace(rows, values=detector.training_rows_.astype(np.float64))
        fit_detector(training).save(files.artifact_path(folder / "ours"))
        sources = dict.fromkeys(pythons, TUTORIAL % (list(contract.input_names),))
        for other, source in {**sources, "constant": CONSTANT}.items():
            write_package(folder / other, other, contract.inputs)
            (folder / other / "src" / "func_main.py").write_text(source)
        print(f"| {describe_machine()} | this package | pyod | as fast |")
        print("| --- | --- | --- | --- |")
        for cells in Bench(folder, pythons).measure():
            print(f"| {' | '.join(cells)} |", flush=True)


def describe_machine() -> str:
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores, UCI's rows"


class Bench:
    """A folder with rows, training rows and packages, and each measurement as a method."""

    def __init__(self, folder: Path, pythons: dict[str, Path]) -> None:
        self.folder, self.pythons = folder, pythons

    def measure(self) -> list[list[str]]:
        """Return the rows of the README's table; training comes first, as it makes pyod's dumps."""
        fits = [self.run(one, "fit", "training.npy", cli.PARAMS, one) for one in self.pythons]
        image, current = (self.run(one, "request", "rows.npy", "ours", one) for one in self.pythons)
        batch = self.run("current", "batch", "rows.npy", "training.npy", cli.PARAMS)
        ours, pyod = self.serve()
        return [
            compare("one request, image's pyod 1.0.0, p50 us", image),
            compare("one request, current pyod, p50 us", current),
            compare("training, image, s", fits[0], 2),
            compare("10,000 rows at once, 2 cores, rows a second", batch, rate=True),
            compare("start to first value, image, s", self.start(), 1),
            ["over gRPC, p50 beside a constant's", f"{ours:.2f}", f"{pyod:.2f}", ""],
        ]

    def run(self, environment: str, task: str, *arguments: object) -> Any:
        """Take one timing in a process of its own, where only our package's src/ is found."""
        line = [str(self.pythons[environment]), str(TIMING), json.dumps([task, *arguments])]
        path = {**os.environ, "PYTHONPATH": str(self.folder / "ours" / "src")}
        result = subprocess.run(line, cwd=self.folder, env=path, capture_output=True, text=True)
        if result.returncode:
            last = cli.last_line(result)
            raise cli.UserError(f"{task} failed in the {environment} environment: {last}")
        return json.loads(result.stdout)

    def start(self) -> list[float]:
        """Return the median seconds of a process in the image's environment, to its first value."""
        seconds: dict[str, list[float]] = {"ours": [], "image": []}
        for name in [*seconds] * STARTS:
            began = time.perf_counter()
            self.run("image", "start", "rows.npy", name)
            seconds[name].append(time.perf_counter() - began)
        return [float(np.median(taken)) for taken in seconds.values()]

    def serve(self) -> list[float]:
        """Return how many times as long as a constant's a request to each package takes."""
        names = Contract.read(self.folder / "ours").input_names
        tensors = [map(encode, row) for row in np.load(self.folder / "rows.npy")[:CALLS]]
        messages = [
            PredictRequest(inputs=dict(zip(names, row, strict=True))).SerializeToString()
            for row in tensors
        ]
        packages = ("constant", "ours", "image")
        seconds: list[list[float]] = [[] for _ in packages]
        with ExitStack() as stack:
            calls = []
            for package in packages:
                served = serving(self.folder / package, str(self.pythons["image"]))
                channel = stack.enter_context(open_channel(stack.enter_context(served)))
                calls.append(channel.unary_unary(PREDICT))  # raw bytes, without Python's protobuf
            for _ in range(ROUNDS + 1):
                for taken, call in zip(seconds, calls, strict=True):
                    for message in messages:
                        began = time.perf_counter()
                        call(message)
                        taken.append(time.perf_counter() - began)
        # The first round warms up.
        constant, *others = (float(np.median(taken[len(messages) :])) for taken in seconds)
        return [other / constant for other in others]


def compare(label: str, sides: Sequence[float], digits: int = 0, rate: bool = False) -> list[str]:
    ours, pyod = sides
    ratio = ours / pyod if rate else pyod / ours
    return [label, f"{ours:.{digits}f}", f"{pyod:.{digits}f}", f"{ratio:.1f}x"]


def find_image_python() -> Path:
    """Return an interpreter with an image's packages, made by nox if it is not there."""
    python = files.ROOT / ".nox" / "image-3-8" / "bin" / "python"
    if not python.exists():
        subprocess.run(["nox", "-s", "image-3.8"], cwd=files.ROOT, capture_output=True)
    if not python.exists():
        raise cli.UserError("an image's environment takes Python 3.8, and the package registry")
    return python


if __name__ == "__main__":
    sys.exit(main())
