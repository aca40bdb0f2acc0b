"""Replay census rows through a target model and its metric as Hydrosphere shadows them."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import grpc
import numpy as np
import yaml
from hydro_serving_grpc.serving.contract import types_pb2 as types
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor, TensorShape
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest
from hydro_serving_grpc.serving.runtime.api_pb2_grpc import PredictionServiceStub
from tqdm import tqdm

import census
import drift
from alarms import ALARM, PASSED, REJECTED, Check, plot, report, write_checks

sys.path.insert(0, str(census.ROOT / "src"))
import portable_knn

EXAMPLES = """\
examples:
  shadow.py --drift age-in-months@1000        local runtimes, drift from request 1000 on
  shadow.py --data adult.test --rows 16281    all of a file that training has not seen
  shadow.py --target HOST:PORT --metric HOST:PORT   runtimes that are running already
"""
DTYPES = {"int64": types.DT_INT64, "double": types.DT_DOUBLE, "float64": types.DT_DOUBLE}
TIMEOUT = 30  # seconds


class ShadowError(Exception):
    """The replay cannot go on; the message is one line for the user."""


class Shadow:
    """The path of one request: target, gateway's validation, metric, sonar's check."""

    def __init__(self, target: str, metric: str, contract: dict, threshold: float) -> None:
        # A channel of its own for each keeps one hop's queue out of the other's latency.
        self.target = PredictionServiceStub(grpc.insecure_channel(target))
        self.metric = PredictionServiceStub(grpc.insecure_channel(metric))
        self.addresses = {"target": target, "metric": metric}
        self.contract = contract
        self.threshold = threshold

    def check(self, row: int, codes: Sequence[int], drift_name: str) -> Check:
        """Send one row's twelve features to the target, and its answer with them to the metric."""
        inputs = dict(zip(census.FEATURES[:-1], codes, strict=False))
        check = Check(row, drift_name, inputs)
        tensors = {name: make_tensor(code) for name, code in inputs.items()}
        outputs, check.target_ms, check.reason = self._call("target", tensors)
        if check.reason:
            return check
        merged = {**tensors, **outputs}
        for answer in outputs.get("classes", Tensor()).int64_val[:1]:
            check.sent["classes"] = 1 - answer if drift_name == "classes-flipped" else answer
            merged["classes"].int64_val[0] = check.sent["classes"]
        accepted, check.reason = validate(merged, self.contract["inputs"])
        if check.reason:
            check.result = REJECTED
            return check
        outputs, check.metric_ms, check.reason = self._call("metric", accepted)
        if not check.reason:
            values = outputs.get("value", Tensor()).double_val
            check.value = values[0] if values else 0.0
            check.result = PASSED if check.value <= self.threshold else ALARM
        return check

    def _call(self, hop: str, tensors: dict[str, Tensor]) -> tuple[dict, float, str]:
        stub = self.target if hop == "target" else self.metric
        start = time.perf_counter()
        try:
            outputs = dict(stub.Predict(PredictRequest(inputs=tensors), timeout=TIMEOUT).outputs)
            reason = ""
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                address = self.addresses[hop]
                raise ShadowError(f"the {hop} at {address} does not answer any more") from error
            outputs, reason = {}, f"{hop}: {error.code().name} {error.details()}"
        return outputs, 1000 * (time.perf_counter() - start), reason


def make_tensor(code: int) -> Tensor:
    return Tensor(dtype=types.DT_INT64, tensor_shape=TensorShape(), int64_val=[code])


def validate(tensors: dict[str, Tensor], fields: dict[str, dict]) -> tuple[dict[str, Tensor], str]:
    """Take a contract's fields out of a message as the gateway does, or say why it rejects it."""
    problems = []
    for name, field in fields.items():
        wanted = [] if field["shape"] == "scalar" else list(field["shape"])
        if name not in tensors:
            problems.append(f"Missing field {name}")
        elif tensors[name].dtype != DTYPES[field["type"]]:
            names = {number: label for label, number in types.DataType.items()}
            wanted, got = DTYPES[field["type"]], tensors[name].dtype
            problems.append(f"Expected {names[wanted]} data type, got {names.get(got, got)}")
        elif list(tensors[name].tensor_shape.dims) != wanted:
            got = list(tensors[name].tensor_shape.dims)
            problems.append(f"Expected {wanted} shape, got {got}")
    return {name: tensors[name] for name in fields if name in tensors}, "; ".join(problems)


def replay(shadow: Shadow, rows: np.ndarray, arguments: argparse.Namespace) -> Iterator[Check]:
    """Check every row, `--concurrency` at a time and at most `--rate` a second, as they end."""
    stop, began = threading.Event(), time.perf_counter()

    def check(row: int) -> Check | None:
        if arguments.rate:
            stop.wait(began + row / arguments.rate - time.perf_counter())
        if stop.is_set():
            return None
        name = arguments.drift_name if row >= arguments.start else ""
        return shadow.check(row, rows[row].tolist(), name)

    with ThreadPoolExecutor(arguments.concurrency) as pool:
        try:
            for future in as_completed([pool.submit(check, row) for row in range(len(rows))]):
                if future.result() is not None:
                    yield future.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Serve a package on a free port of this machine; yield its address."""
    command = [sys.executable, census.ROOT / "scripts/serve.py", "--port", "0", "--folder", folder]
    # In a session of its own Ctrl-C does not reach it before the replay has ended.
    options = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command, **options) as process:
        try:
            address = re.search(r" on (\S+:\d+)", process.stdout.readline())
            if address is None:
                raise ShadowError(f"{folder} cannot be served")
            yield address[1]
        finally:
            process.terminate()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="shadow.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option("--data", default="uci", help="traffic: uci, sample or a file (default: uci)")
    option("--rows", type=int, default=2000, help="requests to send (default: 2000)")
    option("--rate", type=float, default=0, help="requests a second (default: no limit)")
    option("--concurrency", type=int, default=4, help="requests at a time (default: 4)")
    option("--seed", type=int, default=0, help="of the rows' order (default: 0)")
    option("--drift", metavar="NAME@ROW", help=f"from ROW on, one of {', '.join(drift.DRIFTS)}")
    option(
        "--target", default=census.ROOT / "examples/adult", help="HOST:PORT or a folder to serve"
    )
    option("--metric", default=census.ROOT, help="HOST:PORT or a folder")
    option("--artifact", type=Path, help="the metric's (default: the one in its folder)")
    option("--reports", type=Path, default=census.ROOT / "reports", help="where files go")
    arguments = parser.parse_args()
    arguments.drift_name, _, start = (arguments.drift or "").partition("@")
    if arguments.drift and (arguments.drift_name not in drift.DRIFTS or not start.isdigit()):
        parser.error(f"--drift: expected NAME@ROW, NAME one of {', '.join(drift.DRIFTS)}")
    arguments.start = int(start) if arguments.drift else arguments.rows
    if min(arguments.rows, arguments.concurrency) < 1 or min(arguments.rate, arguments.seed) < 0:
        parser.error("--rows and --concurrency must be at least 1, --rate and --seed at least 0")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    try:
        sys.exit(run(arguments))
    except (census.DataError, ShadowError) as error:
        print(f"shadow.py: {error}", file=sys.stderr)
    except OSError as error:
        print(f"shadow.py: {error.filename}: {error.strerror}", file=sys.stderr)
    sys.exit(2)


def run(arguments: argparse.Namespace) -> int:
    """Replay, then write and print what was checked, all of it or up to what ended it."""
    metric_folder = census.ROOT if is_address(arguments.metric) else Path(arguments.metric)
    detector = load_detector(arguments.artifact or metric_folder / "monitoring_model.joblib")
    rows = choose_rows(arguments, detector.origin_)
    contract = yaml.safe_load((census.ROOT / "serving.yaml").read_text())["contract"]
    checks, status = [], 0
    with serve_or_call(arguments.target) as target, serve_or_call(arguments.metric) as metric:
        shadow = Shadow(target, metric, contract, float(detector.threshold_))
        bar = tqdm(total=len(rows), desc="shadowing", unit="request", disable=None)
        try:
            for check in replay(shadow, rows, arguments):
                checks.append(check)
                bar.update()
        except KeyboardInterrupt:
            status = 130
        except ShadowError as error:
            print(f"shadow.py: {error}, after {len(checks)} requests", file=sys.stderr)
            status = 2
        bar.close()
    checks.sort(key=lambda check: check.row)
    write_checks(checks, arguments.reports / "shadow.csv")
    plot(checks, float(detector.threshold_), arguments.reports / "shadow.png")
    print(report(checks))
    print(f"requests    {os.path.relpath(arguments.reports / 'shadow.csv')}")
    print(f"picture     {os.path.relpath(arguments.reports / 'shadow.png')}")
    return status


def load_detector(artifact: Path) -> portable_knn.PortableKNN:
    try:
        return portable_knn.load(artifact)
    except RuntimeError as error:
        raise ShadowError(error) from error


def choose_rows(arguments: argparse.Namespace, origin: dict) -> np.ndarray:
    """Draw rows that the metric was not trained on, and corrupt those from the drift's start on."""
    data = census.load(arguments.data)
    unseen = np.random.default_rng(arguments.seed).permutation(census.find_unseen(data, origin))
    records = [data.records[index] for index in np.resize(unseen, arguments.rows)]
    rows = census.encode(records)
    if arguments.drift_name and arguments.drift_name != "classes-flipped":
        late = slice(arguments.start, None)
        rows[late] = drift.corrupt(arguments.drift_name, rows[late], records[late], arguments.seed)
    return rows


def is_address(place: str | Path) -> bool:
    return bool(re.fullmatch(r"[^/]+:\d+", str(place)))


def serve_or_call(place: str | Path) -> AbstractContextManager[str]:
    return nullcontext(place) if is_address(place) else running(Path(place))


if __name__ == "__main__":
    main()
