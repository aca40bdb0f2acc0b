"""A package of each kind of contract, on every path: a row has one score, wherever it is made."""

import csv
import json
import shutil
from typing import NamedTuple

import grpc
import numpy as np
import pyarrow as pa
import pytest
import yaml
from helpers import run, served_package
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest
from hydro_serving_grpc.serving.runtime.api_pb2_grpc import PredictionServiceStub
from pyarrow import parquet

from knn_metric import files
from knn_metric.contract import Contract
from knn_metric.files import ROOT
from knn_metric.platform.tensors import encode
from portable_knn import load

N_ROWS = 600


class Kind(NamedTuple):
    """Types of the inputs, of which the last is the outcome, and which of them are codes."""

    types: tuple
    n_classes: int  # 0 for a number
    codes: tuple = ()


KINDS = {
    "churn": Kind((*["double"] * 5, *["int64"] * 3, "int64"), 2, (5, 6, 7, 8)),
    "float32 and bool": Kind(("float", "bool", "double", "int32"), 3, (1, 3)),
    "small and unsigned": Kind(("int8", "uint8", "int16", "uint16", "uint32", "double"), 0, (1,)),
    "one": Kind(("double",), 0),
    "sixty": Kind((*["double"] * 59, "uint8"), 2, (59,)),
}


def make_rows(kind, seed=0):
    random = np.random.default_rng(seed)
    numpy_types = {"double": "float64", "float": "float32"}
    columns = {}
    for place, name in enumerate(kind.types):
        if place == len(kind.types) - 1 and kind.n_classes:
            column = random.integers(0, kind.n_classes, N_ROWS)
        elif place in kind.codes or name == "bool":
            column = random.integers(0, 2 if name == "bool" else 5, N_ROWS)
        else:
            column = random.normal(50, 12, N_ROWS)
            column = column if name in numpy_types else np.rint(column)
        columns[f"field_{place}"] = column.astype(numpy_types.get(name, name))
    return columns


TARGET = """\
import numpy as np

def predict(**inputs):
    total = sum(float(value) for value in inputs.values())
    return {"NAME": np.dtype("TYPE").type(total % CLASSES)}
"""


def make_package(folder, kind):
    """Write our package under a contract of this kind, and a target that answers the last field."""
    names = list(make_rows(kind))
    inputs = {
        name: {"shape": "scalar", "type": kind.types[place]}
        | ({"profile": "categorical"} if place in kind.codes else {})
        for place, name in enumerate(names)
    }
    definition = yaml.safe_load((ROOT / "serving.yaml").read_text())
    definition |= {"name": "other_monitoring"}
    definition["contract"]["inputs"] = inputs
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.txt", folder)
    (folder / "serving.yaml").write_text(yaml.safe_dump(definition, sort_keys=False))
    target = folder / "target"
    (target / "src").mkdir(parents=True)
    numpy_type = Contract.read(folder).inputs[-1].numpy_type.__name__
    text = TARGET.replace("NAME", names[-1]).replace("TYPE", numpy_type)
    (target / "src" / "func_main.py").write_text(text.replace("CLASSES", str(kind.n_classes or 90)))
    outputs = {names[-1]: inputs.pop(names[-1])}
    definition["contract"] = {"name": "predict", "inputs": inputs, "outputs": outputs}
    definition |= {"name": "other", "payload": ["src/"]}
    (target / "serving.yaml").write_text(yaml.safe_dump(definition, sort_keys=False))


def write_formats(folder, columns):
    """Write the rows in each format; return the paths."""
    paths = [folder / f"rows.{end}" for end in ("csv", "parquet", "jsonl")]
    lists = {name: column.tolist() for name, column in columns.items()}
    rows = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    with paths[0].open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lists))
        writer.writeheader()
        writer.writerows(rows)
    parquet.write_table(pa.table(dict(columns)), paths[1])
    paths[2].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return paths


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_every_path_gives_the_same_score(name, tmp_path):
    kind, reports = KINDS[name], tmp_path / "reports"
    make_package(tmp_path, kind)
    columns = make_rows(kind)
    paths = write_formats(tmp_path, columns)
    artifact = files.artifact_path(tmp_path)

    def command(main, *options):
        result = run(main, *options)
        assert (result.status, result.err) == (0, ""), result
        return result.out

    trained = []
    for path in paths:
        options = ("--data", path, "--package", tmp_path, "--plot", reports / "knn.png")
        command("train", *options)
        trained.append(load(artifact))
    for other in trained[1:]:
        np.testing.assert_array_equal(other.training_rows_, trained[0].training_rows_)
        assert other.threshold_ == trained[0].threshold_
    detector = trained[-1]
    values = np.array([column.astype(float) for column in columns.values()]).T
    expected = detector.decision_function(values)

    command("check", "--package", tmp_path)
    own = ("--package", tmp_path)
    for path in paths:
        command("score", path, *own, "--out", reports / path.suffix)
        scored = pa.concat_tables(
            parquet.read_table(one) for one in (reports / path.suffix).glob("*.parquet")
        )
        assert scored["value"].to_pylist() == expected.tolist()

    text = [f"{name}={column[0]}" for name, column in zip(columns, values.T, strict=True)]
    explained = command("explain", *own, *text)
    assert repr(float(expected[0])) in explained
    with served_package(tmp_path) as address, grpc.insecure_channel(address) as channel:
        for row, score_of_row in list(zip(values, expected, strict=True))[:20]:
            fields = zip(Contract.read(tmp_path).inputs, row, strict=True)
            tensors = {field.name: encode(field.numpy_type(number)) for field, number in fields}
            request = PredictRequest(inputs=tensors)
            answer = PredictionServiceStub(channel).Predict(request, timeout=30)
            assert answer.outputs["value"].double_val[0] == score_of_row
        if len(columns) == 1:  # a target has nothing to answer from
            return
        with served_package(tmp_path / "target") as target:
            options = ("--runtime", address, "--target", target, "--rows", 40, "--out", reports)
            drift = "flip" if kind.n_classes else "scale:field_0:2"
            command("replay", "--data", paths[0], *own, *options, "--corrupt", f"{drift}@20")
    with (reports / "replay.csv").open() as file:
        sent = list(csv.DictReader(file))
    replayed = detector.decision_function([[float(one[name]) for name in columns] for one in sent])
    assert [float(one["value"]) for one in sent] == replayed.tolist()
    options = ("--package", tmp_path, "--target", tmp_path / "target", "--out", reports)
    drift = ("--corrupt", "scale:field_0:10,mix")
    command("evaluate", "--data", paths[0], *options, *drift)
    found = json.loads((reports / "evaluation.json").read_text())
    assert found["scale:field_0:10"]["median"] is not None
