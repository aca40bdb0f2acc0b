"""A package of each kind of contract, on every path: a row has one score, wherever it is made."""

import json

import grpc
import numpy as np
import pyarrow as pa
import pytest
import yaml
from helpers import run, served_package
from histories import WRITERS, read
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest
from hydro_serving_grpc.serving.runtime.api_pb2_grpc import PredictionServiceStub
from pyarrow import csv

from knn_metric.contract import Contract
from knn_metric.platform.tensors import encode
from portable_knn import load

N_ROWS = 600
# Types of the inputs, of which the last is the answer; codes are marked by their number of classes.
KINDS = {
    "churn": "double double double double double int64/4 int64/6 int64/3 int64/2",
    "float32 and bool": "float bool/2 double int32/3",
    "small and unsigned": "int8 uint8/5 int16 uint16 uint32 double",
    "one": "double",
    "sixty": " ".join(["double"] * 59 + ["uint8/2"]),
}
TARGET = """\
import numpy as np

def predict(**inputs):
    total = sum(float(value) for value in inputs.values())
    return {"NAME": np.dtype("TYPE").type(total % CLASSES)}
"""


def write_target(folder, kinds):
    """Write a model that answers the last field."""
    fields = {}
    for place, (kind, _, n_classes) in enumerate(kinds):
        profile = {"profile": "categorical"} if n_classes else {}
        fields[f"field_{place}"] = {"shape": "scalar", "type": kind, **profile}
    name, answer = fields.popitem()
    contract = {"name": "predict", "inputs": fields, "outputs": {name: answer}}
    runtime = "hydrosphere/serving-runtime-python-3.7:2.4.3"
    package = {"name": "other", "runtime": runtime, "payload": ["src/"], "contract": contract}
    (folder / "src").mkdir(parents=True)
    (folder / "serving.yaml").write_text(yaml.safe_dump(package, sort_keys=False))
    numpy_type = Contract.read(folder).outputs[0].numpy_type.__name__
    text = TARGET.replace("NAME", name).replace("TYPE", numpy_type)
    text = text.replace("CLASSES", kinds[-1][2] or "90")
    (folder / "src" / "func_main.py").write_text(text)


def make_rows(fields, kinds):
    random, columns = np.random.default_rng(0), {}
    for field, (_, _, n_classes) in zip(fields, kinds, strict=True):
        column = random.normal(50, 12, N_ROWS)
        if n_classes:
            column = random.integers(0, int(n_classes), N_ROWS)
        elif np.dtype(field.numpy_type).kind in "biu":
            column = np.rint(column)
        columns[field.name] = column.astype(field.numpy_type)
    return pa.table(columns)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_every_path_gives_the_same_score(name, tmp_path):
    kinds = [word.partition("/") for word in KINDS[name].split()]
    target, package, reports = (tmp_path / one for one in ("target", "package", "reports"))
    write_target(target, kinds)

    def command(*words):
        result = run(*words)
        assert (result.status, result.err) == (0, ""), result
        return result.out

    command("new", package, "--for", target)
    own, fields = ("--package", package), Contract.read(package).inputs
    table = make_rows(fields, kinds)
    paths, trained = [tmp_path / name for name in WRITERS], []
    for path in paths:
        WRITERS[path.name](table, path)
        command("train", "--data", path, *own, "--plot", reports / "knn.png")
        trained.append(load(package / "monitoring_model.joblib"))
    for other in trained[1:]:
        np.testing.assert_array_equal(other.training_rows_, trained[0].training_rows_)
        assert other.threshold_ == trained[0].threshold_
    values = np.array([column.to_numpy().astype(float) for column in table.columns]).T
    expected = trained[-1].decision_function(values)

    command("check", *own)
    for path in paths:
        command("score", path, *own, "--out", reports / path.suffix)
        assert read(reports / path.suffix)["value"].to_pylist() == expected.tolist()
    words = [f"{field.name}={value}" for field, value in zip(fields, values[0], strict=True)]
    assert repr(float(expected[0])) in command("explain", *own, *words)
    with served_package(package) as address, grpc.insecure_channel(address) as channel:
        for row, score in list(zip(values, expected, strict=True))[:20]:
            numbers = zip(fields, row, strict=True)
            tensors = {field.name: encode(field.numpy_type(number)) for field, number in numbers}
            answer = PredictionServiceStub(channel).Predict(PredictRequest(inputs=tensors))
            assert answer.outputs["value"].double_val[0] == score
        if len(fields) == 1:  # a target has nothing to answer from
            return
        with served_package(target) as asked:
            where = ("--runtime", address, "--target", asked, "--rows", 40, "--out", reports)
            corruption = "flip@20" if kinds[-1][2] else "scale:field_0:2@20"
            command("replay", "--data", paths[0], *own, *where, "--corrupt", corruption)
    sent = csv.read_csv(reports / "replay.csv")
    codes = np.array([sent[field.name].to_numpy().astype(float) for field in fields]).T
    assert sent["value"].to_pylist() == trained[-1].decision_function(codes).tolist()
    options = ("--target", target, "--out", reports, "--corrupt", "scale:field_0:10,mix")
    command("evaluate", "--data", paths[0], *own, *options)
    found = json.loads((reports / "evaluation.json").read_text())
    assert found["scale:field_0:10"]["median"] is not None
