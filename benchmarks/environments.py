"""Compare this package with pyod's plain dump, beside an image's packages and beside current ones.

The rows are those of UCI's data that training held out.

examples:
  python benchmarks/environments.py   takes some minutes, and prints the README's table
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timing
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest

from knn_metric import cli, files
from knn_metric.contract import Contract
from knn_metric.data.rows import hold_out, load_census
from knn_metric.detection.detectors import load_detector
from knn_metric.package.new import write_package
from knn_metric.platform.server import PREDICT, encode, serving
from knn_metric.platform.target import open_channel

ROUNDS, CALLS = 12, 150  # to each served function
STARTS = 5
CONSTANT = 'def predict(**inputs): return {"value": 1.0}'
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
    sources = {**dict.fromkeys(pythons, TUTORIAL % [*contract.input_names]), "constant": CONSTANT}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "rows.npy", rows.values.astype(np.int64))
        np.save(folder / "training.npy", detector.training_rows_.astype(np.int64))
        for package in ("ours", *sources):
            write_package(folder / package, package, contract.inputs)
        shutil.copy(files.artifact_path(files.ROOT), folder / "ours")
        for package, source in sources.items():
            (folder / package / "src" / "func_main.py").write_text(source)
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        machine = f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores, UCI's rows"
        print(f"| {machine} | this package | pyod | as fast |\n| --- | --- | --- | --- |")
        for cells in Bench(folder, pythons).measure():
            print(f"| {' | '.join(cells)} |", flush=True)


class Bench(NamedTuple):
    """A folder with rows, training rows and packages, and each measurement as a method."""

    folder: Path
    pythons: dict[str, Path]

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
        line = [str(self.pythons[environment]), timing.__file__, json.dumps([task, *arguments])]
        own = {**os.environ, "PYTHONPATH": str(self.folder / "ours" / "src")}
        own["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(dir=self.folder)  # empty, as in a new container
        result = subprocess.run(line, cwd=self.folder, env=own, capture_output=True, text=True)
        if result.returncode:
            last = cli.last_line(result)
            raise cli.UserError(f"{task} failed in the {environment} environment: {last}")
        return json.loads(result.stdout)

    def start(self) -> Any:
        """Return the median seconds of a process in the image's environment, to its first value."""
        starts = [partial(self.run, "image", "start", "rows.npy", one) for one in ("ours", "image")]
        return timing.interleave(starts, [[{}]] * (STARTS + 1))

    def serve(self) -> list[float]:
        """Return how many times as long as a constant's a request to each package takes."""
        names, calls = Contract.read(self.folder / "ours").input_names, []
        rows = [map(encode, row) for row in np.load(self.folder / "rows.npy")[:CALLS]]
        messages = [PredictRequest(inputs=dict(zip(names, row, strict=True))) for row in rows]
        with ExitStack() as stack:
            for package in ("constant", "ours", "image"):
                served = serving(self.folder / package, str(self.pythons["image"]))
                channel = stack.enter_context(open_channel(stack.enter_context(served)))
                calls.append(channel.unary_unary(PREDICT))  # raw bytes, without Python's protobuf
            block = [{"request": message.SerializeToString()} for message in messages]
            constant, *others = timing.interleave(calls, [block] * (ROUNDS + 1))
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
