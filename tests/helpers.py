"""What several test modules use: running commands, packages, messages, and known requests."""

import functools
import importlib.util
import io
import json
import math
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import pyarrow as pa
import yaml
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor, TensorShape
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest
from hydro_serving_grpc.serving.runtime.api_pb2_grpc import PredictionServiceStub
from pyarrow import parquet
from pyarrow.csv import write_csv

from knn_metric.__main__ import main
from knn_metric.data import census, validation
from knn_metric.data.survey import plan
from knn_metric.files import ROOT
from knn_metric.platform import hs
from knn_metric.platform.server import load_function, start_server

PNG = b"\x89PNG\r\n"
# An invented person, raw and encoded.
ROW = "39, State-gov, 77000, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, \
Male, 2000, 0, 40, United-States, <=50K"
CODES = [39, 7, 1, 1, 1, 1, 4, 1, 1, 2, 40, 9, 0]
NORMAL = dict(zip(census.FEATURES, (38, 4, 4, 0, 2, 0, 4, 1, 2, 2, 45, 9, 0), strict=True))
# Codes in contract order and the score, as published for the detector trained on UCI's data.
PUBLISHED = (
    ((27, 4, 4, 2, 1, 4, 4, 0, 2, 2, 44, 9, 0), 3.0073710962592606),
    ((27, 4, 1, 1, 5, 1, 4, 0, 2, 2, 40, 9, 0), 1.0),
    ((90, 4, 4, 3, 2, 4, 4, 1, 2, 2, 99, 9, 0), 27.003418892782708),
)
# A published figure is pyod's: on another processor its root may be a unit in the last place off.
UNIT = 2**-52
METRIC = "census_monitoring"
BEGIN = 1_600_000_000_000  # 2020-09-13T12:26:40Z
HOUR = 3_600_000


class Result(NamedTuple):
    status: int
    out: str
    err: str


def run(command, *arguments):
    """Run a subcommand, or a script's main, here; return its exit status and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    words = list(map(str, arguments))
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = command(words) if callable(command) else main([command, *words])
        except SystemExit as end:  # argparse's way out
            status = end.code
    return Result(status, out.getvalue(), err.getvalue())


def assert_one_line(result, *words):
    """Assert exit status 2 and one line on standard error that holds every word."""
    assert result.status == 2, result
    assert len(result.err.splitlines()) == 1, result.err
    for word in words:
        assert str(word) in result.err


def train_package(folder, data):
    """Copy the payload and train its artifact; return the report that is printed."""
    options = ("--package", copy_package(folder), "--plot", folder / "reports" / "knn.png")
    result = run("train", "--data", data, *options)
    assert result.status == 0, result.err
    return result.out


def train_adult(folder, data):
    """Copy examples/adult, and train its classifier."""
    example = ROOT / "examples" / "adult"
    ignore = shutil.ignore_patterns("__pycache__", "*.json*", "*.csv", "train.py")
    shutil.copytree(example, folder, ignore=ignore)
    result = run(load_script(example / "train.py").main, "--data", data, "--package", folder)
    assert result.status == 0, result.err
    return folder


def copy_package(folder, detector=None):
    """Copy the payload, and save a detector as its artifact."""
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("serving.yaml", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    if detector:
        detector.save(folder / "monitoring_model.joblib")
    return folder


def write_model(folder, name, fields, source):
    """Write the package of a model that answers the last one of some fields."""
    inputs = dict(fields)
    outputs = dict([inputs.popitem()])
    contract = {"name": "predict", "inputs": inputs, "outputs": outputs}
    runtime = "hydrosphere/serving-runtime-python-3.7:2.4.3"
    package = {"name": name, "runtime": runtime, "payload": ["src/"], "contract": contract}
    (folder / "src").mkdir(parents=True)
    (folder / "serving.yaml").write_text(yaml.safe_dump(package, sort_keys=False))
    (folder / "src" / "func_main.py").write_text(source)
    return folder


def commit(folder):
    """Make a folder a git repository with one commit, which hs tells of."""
    git = ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for line in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "all"]):
        subprocess.run([*git, *line], check=True)
    return folder


def make_home(tmp_path, generation, address):
    """Make a home in which hs has selected a cluster; return an environment that has it."""
    config = tmp_path / "home" / hs.CONFIGS[generation]
    config.parent.mkdir(parents=True)
    clusters = [{"name": "stub", "cluster": {"server": address}}]
    current = {2: "current-cluster", 3: "current_cluster"}[generation]
    config.write_text(yaml.safe_dump({"clusters": clusters, current: "stub"}))
    return {**os.environ, "HOME": str(tmp_path / "home")}


def read_files(folder):
    """Return the content of each file by its path within the folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def load_script(path):
    """Import a script that shares its name with another one."""
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their module
    spec.loader.exec_module(module)
    return module


def damage(source, path):
    """Copy a Parquet file, and wipe out a page of its last row group."""
    content = bytearray(source.read_bytes())
    metadata = parquet.ParquetFile(source).metadata
    page = metadata.row_group(metadata.num_row_groups - 1).column(0).data_page_offset
    content[page : page + 40] = bytes(40)
    path.write_bytes(content)


@contextmanager
def served(function):
    """Serve a package's function in this process; yield the address."""
    server, port = start_server(function, "127.0.0.1:0")
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


@contextmanager
def served_package(folder):
    with served(load_function(folder)) as address:
        yield address


@contextmanager
def serving_files(folder):
    """Serve a folder over HTTP on loopback; yield the address."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def reload(detector):
    return pickle.loads(pickle.dumps(detector, protocol=4))


def measure(row, query, p, order):
    """Return Minkowski's distance with Python floats and the C library, added up in an order."""
    total = 0.0
    for column in order:
        gap = abs(float(query[column]) - float(row[column]))
        total += math.pow(gap, p) if p != int(p) else math.prod([gap] * int(p))
    return math.sqrt(total) if p == 2 else math.pow(total, 1 / p)


def message(value, dtype=9, field="int64_val", dims=()):
    values = value if isinstance(value, list) else [value]
    return Tensor(dtype=dtype, tensor_shape=TensorShape(dims=dims), **{field: values})


def predict(channel, inputs):
    """Send numbers over gRPC, and return the tensor `value` of the answer."""
    request = PredictRequest(inputs={name: message(value) for name, value in inputs.items()})
    return PredictionServiceStub(channel).Predict(request, timeout=30).outputs["value"]


def attach(manager, name, threshold, version=12):
    """Attach a metric to the first version that a stub of the manager knows."""
    config = {"modelVersionId": version, "threshold": threshold}
    target = manager.versions[0]["id"]
    manager.specs.append({"id": name, "name": name, "modelVersionId": target, "config": config})


def read_scores(folder):
    return pa.concat_tables(map(parquet.read_table, sorted(folder.glob("*.parquet"))))


def read_all(path, *features, keep=(), rows=10_000, time=None):
    """Read the rows of files in blocks; return them as one part."""
    wanted, blocks = plan([str(path)], dict.fromkeys(features, "int64"), list(keep), rows, time)
    return validation.read_all(wanted, blocks, rows)


def replace(table, **columns):
    """Return a table with other values in some columns."""
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    return table


def write_json(table, path):
    path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))


def write_mongo(table, path):
    """Ten records a line, integers as Mongo's writer may put them."""
    records = table.to_pylist()
    lines = [json.dumps(records[first : first + 10]) for first in range(0, len(records), 10)]
    path.write_text(re.sub(r": (-?\d+)(?=[,}])", r': {"$numberLong": "\1"}', "\n".join(lines)))


WRITERS = {
    "rows.parquet": lambda table, path: parquet.write_table(table, path, row_group_size=130),
    "rows.csv": write_csv,
    "rows.jsonl": write_json,
    "mongo.json": write_mongo,
}
