"""A package of each kind of contract, on every path: a row has one score, wherever it is made."""

import json

import grpc
import numpy as np
import pyarrow as pa
import pytest
from helpers import WRITERS, read_scores, run, served_package, write_model
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest
from hydro_serving_grpc.serving.runtime.api_pb2_grpc import PredictionServiceStub
from pyarrow import csv

from knn_metric.contract import Field
from knn_metric.platform.server import encode
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
    return {"%s": np.dtype("%s").type(total %% %s)}
"""


def make_column(random, numpy_type, n_classes):
    column = random.normal(50, 12, N_ROWS)
    if n_classes:
        column = random.integers(0, int(n_classes), N_ROWS)
    elif np.dtype(numpy_type).kind in "biu":
        column = np.rint(column)
    return column.astype(numpy_type)


@pytest.mark.slow
@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS)
def test_every_path_gives_the_same_score(kinds, tmp_path):
    target, package, reports = (tmp_path / one for one in ("target", "package", "reports"))
    random, definitions, columns, types = np.random.default_rng(0), {}, {}, {}
    for place, kind in enumerate(kinds.split()):
        name, (kind, _, n_classes) = f"field_{place}", kind.partition("/")
        profile = {"profile": "categorical"} if n_classes else {}
        definitions[name] = {"shape": "scalar", "type": kind, **profile}
        types[name] = Field(name, kind).numpy_type
        columns[name] = make_column(random, types[name], n_classes)
    table, answer = pa.table(columns), (name, types[name].__name__, n_classes or "90")
    write_model(target, "other", definitions, TARGET % answer)

    def command(*words):
        result = run(*words)
        assert (result.status, result.err) == (0, ""), result
        return result.out

    own = ("--package", package)
    command("new", package, "--for", target)
    paths, trained = [tmp_path / name for name in WRITERS], []
    for path in paths:
        WRITERS[path.name](table, path)
        command("train", "--data", path, *own, "--plot", reports / "knn.png")
        trained.append(load(package / "monitoring_model.joblib"))
        np.testing.assert_array_equal(trained[-1].training_rows_, trained[0].training_rows_)
        assert trained[-1].threshold_ == trained[0].threshold_
    values = np.array([column.to_numpy().astype(float) for column in table.columns]).T
    expected = trained[-1].decision_function(values).tolist()

    command("check", *own)
    for path in paths:
        command("score", path, *own, "--out", reports / path.suffix)
        assert read_scores(reports / path.suffix)["value"].to_pylist() == expected
    words = [f"{name}={value}" for name, value in zip(types, values[0], strict=True)]
    assert repr(expected[0]) in command("explain", *own, *words)
    with served_package(package) as address, grpc.insecure_channel(address) as channel:
        for row, score in zip(table.slice(0, 20).to_pylist(), expected, strict=False):
            tensors = {name: encode(types[name](number)) for name, number in row.items()}
            answer = PredictionServiceStub(channel).Predict(PredictRequest(inputs=tensors))
            assert answer.outputs["value"].double_val[0] == score
        if len(types) == 1:  # a target has nothing to answer from
            return
        with served_package(target) as asked:
            where = ("--runtime", address, "--target", asked, "--rows", 40, "--out", reports)
            corruption = "flip@20" if n_classes else "scale:field_0:2@20"
            command("replay", "--data", paths[0], *own, *where, "--corrupt", corruption)
    sent = csv.read_csv(reports / "replay.csv")
    codes = np.array([sent[name].to_numpy().astype(float) for name in types]).T
    assert sent["value"].to_pylist() == trained[-1].decision_function(codes).tolist()
    options = ("--target", target, "--out", reports, "--corrupt", "scale:field_0:10,mix")
    command("evaluate", "--data", paths[0], *own, *options)
    found = json.loads((reports / "evaluation.json").read_text())
    assert found["scale:field_0:10"]["median"] is not None
