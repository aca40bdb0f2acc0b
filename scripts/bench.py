"""Measure latency, start, training, batches and growth beside pyod and a constant, in one run.

examples:
  bench.py                    with the rows of UCI's data that training held out
  bench.py --data adult.test  with another file's rows
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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lib import census, command, origin
from lib.bench_report import format_tables, plot
from lib.detector import distance_of, load_detector
from lib.fitting import PARAMS, PUBLISHED, fit_other
from lib.runtime import PREDICT, encode, serving

import grpc
import numpy as np
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest
from tqdm import tqdm

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


@command.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = command.make_parser(__file__, __doc__)
    parser.add_argument("--data", **command.DATA)
    parser.add_argument("--reports", type=Path, default=command.REPORTS, help="where files go")
    arguments = parser.parse_args(argv)
    figures, picture = arguments.reports / "bench.json", arguments.reports / "bench.png"
    command.require_writable(figures, picture)
    detector = load_detector(command.ARTIFACT)
    data = origin.hold_out(census.load(arguments.data), detector.origin_)
    print(f"machine: {describe_machine()}\ndata: {origin.describe_traffic(data, detector)}\n")
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Bench(Path(folder), detector, census.encode(data.records)))
    with command.replacing(figures) as new:
        new.write_text(json.dumps(results, indent=1))
    print(format_tables(results))
    plot(results, data.source, picture)
    print(f"\nfigures: {command.shorten(figures)}, picture: {command.shorten(picture)}")


def describe_machine() -> str:
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        model = found[1] if found else model
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"


def measure(bench: Bench) -> dict:
    tasks = (bench.fit, bench.request, bench.serve, bench.start, bench.batch, bench.grow)
    with tqdm(tasks, disable=None, leave=False) as bar:
        results = {}
        for task in bar:
            bar.set_description(task.__name__)
            results[task.__name__] = task()
    return results


class Bench:
    """The packages to compare, the rows, and each measurement as a method."""

    def __init__(self, folder: Path, detector: PortableKNN, held_out: np.ndarray) -> None:
        self.pythons = {"current": Path(sys.executable), "image": find_image_python()}
        both = {distance_of(one): one for one in (detector, fit_other(detector))}
        published = both[PUBLISHED]
        self.params = {name: getattr(published, name) for name in PARAMS}
        self.folder, self.requests = folder, held_out
        self.rows, self.training = str(folder / "rows.npy"), str(folder / "training.npy")
        np.save(self.rows, held_out)
        np.save(self.training, detector.training_rows_.astype(np.int64))
        self.ours = copy_package(folder / "ours", published)
        self.hvdm = copy_package(folder / "hvdm", both["hvdm"])
        self.constant = make_package(folder / "constant", CONSTANT)
        source = TUTORIAL % (detector.feature_names_in_.tolist(),)
        self.tutorials = {
            name: make_package(folder / f"tutorial_{name}", source) for name in self.pythons
        }

    def run(self, environment: str, task: str, *arguments: object) -> dict | list:
        """Take one measurement in a process of its own, where only our package's src/ is found."""
        path = os.pathsep.join([str(command.ROOT / "scripts"), str(self.ours / "src")])
        line = [self.pythons[environment], "-m", "lib.bench_worker", json.dumps([task, *arguments])]
        result = subprocess.run(
            line, cwd=self.folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True
        )
        if result.returncode:
            last = result.stderr.decode().strip().splitlines()[-1]
            raise command.UserError(f"{task} failed in the {environment} environment: {last}")
        return json.loads(result.stdout)

    def fit(self) -> dict:
        """Train both ways, in both environments; the tutorial's packages get their dumps."""
        return {
            name: self.run(name, "fit", self.training, self.params, str(self.tutorials[name]))
            for name in self.pythons
        }

    def request(self) -> dict:
        """Time one request in process, by the other distance too."""
        packages = {"ours": str(self.ours), "hvdm": str(self.hvdm)}
        return {
            name: self.run(name, "request", self.rows, {**packages, "pyod": str(tutorial)})
            for name, tutorial in self.tutorials.items()
        }

    def serve(self) -> dict:
        """Time one request and ten clients over gRPC; the constant comes first and last."""
        packages = {
            "constant": self.constant,
            "ours": self.ours,
            "pyod": self.tutorials["image"],
            "constant again": self.constant,
        }
        messages = [encode_request(row) for row in self.requests[:CALLS]]
        seconds = {name: [] for name in packages}
        rates = {name: [] for name in packages}
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

    def start(self) -> dict:
        """Time a process in the image's environment from its start to its first value."""
        packages = {"ours": self.ours, "pyod": self.tutorials["image"]}
        runs = {name: [] for name in packages}
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

    def batch(self) -> dict:
        """Score 10,000 rows at once."""
        return self.run("current", "batch", self.rows, self.training, self.params)

    def grow(self) -> dict:
        """Train on ten and a hundred times as many rows; pyod on no more than ten times."""
        arguments = (self.rows, self.training, self.params)
        return {
            str(size): self.run("current", "grow", *arguments, size, size != max(SIZES))
            for size in SIZES
        }


def find_image_python() -> Path:
    """Return an interpreter with an image's packages, made by nox if it is not there."""
    for version in ("3.7", "3.8"):
        python = command.ROOT / ".nox" / f"image-{version.replace('.', '-')}" / "bin" / "python"
        if not python.exists():
            nox = [sys.executable, "-m", "nox", "-f", command.ROOT / "tests/noxfile.py"]
            subprocess.run([*nox, "-s", f"image-{version}"], capture_output=True)
        if python.exists():
            return python
    raise command.UserError(
        "an image's environment takes Python 3.7 or 3.8, and the package registry once"
    )


def copy_package(folder: Path, detector: PortableKNN) -> Path:
    """Copy this package, with a detector of its own."""
    shutil.copytree(command.ROOT / "src", folder / "src")
    shutil.copy(command.ROOT / "serving.yaml", folder)
    detector.save(folder / command.ARTIFACT.name)
    return folder


def make_package(folder: Path, source: str) -> Path:
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "func_main.py").write_text(source)
    shutil.copy(command.ROOT / "serving.yaml", folder)
    return folder


def encode_request(codes: np.ndarray) -> bytes:
    tensors = {name: encode(code) for name, code in zip(census.FEATURES, codes, strict=True)}
    return PredictRequest(inputs=tensors).SerializeToString()


@contextmanager
def calling(python: Path, package: Path) -> Iterator[Callable[[bytes], bytes]]:
    """Serve a package; yield a call that takes and returns raw bytes.

    Python's own protobuf would be slower than the server.
    """
    with serving(package, str(python)) as address, grpc.insecure_channel(address) as channel:
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


if __name__ == "__main__":
    sys.exit(main())
