"""What a session of noxfile.py runs in its own interpreter, from Python 3.6 on.

usage: matrix.py score PACKAGE DATA         score DATA's rows, keep them and the values
       matrix.py compare PACKAGES [PIN...]  serve the rows that each package in a folder keeps,
                                            compare bit for bit, beside the pins
"""

import importlib
import sys
from pathlib import Path

import numpy as np

N_TENSORS = 200


def score(package, data):
    """Keep every row of the data and the values that the detector gives them here."""
    from knn_metric.data.rows import load_census

    rows = load_census(data).values.astype(np.int64)
    values = load_function(package).detector.decision_function(rows)
    np.savez(str(package / "scored.npz"), rows=rows, values=values)


def load_function(package):
    """Import a package's func_main anew, and what it imports once: all packages share that."""
    sys.path.insert(0, str(package / "src"))
    sys.modules.pop("func_main", None)
    return importlib.import_module("func_main")


def compare_all(packages, pins):
    """Compare each artifact once: trained on two Pythons, it has the same bytes and values."""
    compared = {}
    for package in packages:
        scored = np.load(str(package / "scored.npz"))
        content = (package / "monitoring_model.joblib").read_bytes()
        if content not in compared:
            compare(package, scored["rows"], scored["values"], pins)
        values = compared.setdefault(content, scored["values"])
        assert (scored["values"] == values).all(), "values differ"


def compare(package, rows, values, pins):
    """Serve the kept rows here as each generation of the runtime would."""
    func_main = load_function(package)
    paths = {"tensor messages": serve_tensors} if pins else {}
    if any(pin.startswith("hydrosdk") for pin in pins):
        importlib.import_module("hydrosdk.data.conversions")
        paths["the runtime's own path"] = serve_converted
    assert len(rows) >= 2000
    for pin in pins:
        assert not pin.startswith("numpy==") or pin == f"numpy=={np.__version__}", np.__version__
    requests = [dict(zip(func_main.features, row)) for row in rows]
    served = [func_main.predict(**request)["value"] for request in requests]
    assert (np.array(served) == values).all(), "values differ"
    for serve in paths.values():
        serve(func_main, requests[:N_TENSORS], values)
    done = ", ".join([f"{len(served)} values equal bit for bit", *paths])
    python = "{}.{}".format(*sys.version_info)
    print(f"python {python}, numpy {np.__version__}, trained on {package.name}: {done}")


def serve_converted(func_main, requests, values):
    """Take the path of the runtimes from 2.3.1 on: tensor, numpy, predict, numpy, tensor."""
    from hydrosdk.data.conversions import np_to_tensor_proto, tensor_proto_to_np

    for request, value in zip(requests, values):
        tensors = {name: np_to_tensor_proto(number) for name, number in request.items()}
        inputs = {name: tensor_proto_to_np(tensor) for name, tensor in tensors.items()}
        outputs = func_main.predict(**inputs)
        tensor = np_to_tensor_proto(outputs["value"])
        assert tensor.dtype == 2, tensor
        assert tensor_proto_to_np(tensor) == value


def serve_tensors(func_main, requests, values):
    """Take the path of the runtimes up to 2.3.0: tensor messages in, PredictResponse out."""
    import hydro_serving_grpc as hs

    if hasattr(hs, "TensorProto"):
        kind, response_kind = hs.TensorProto, hs.PredictResponse
    else:
        from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor as kind
        from hydro_serving_grpc.serving.runtime.api_pb2 import PredictResponse as response_kind
    for request, value in zip(requests, values):
        tensors = {name: kind(dtype=9, int64_val=[number]) for name, number in request.items()}
        response = func_main.predict(**tensors)
        assert type(response) is response_kind, type(response)
        output = response.outputs["value"]
        assert (output.dtype, list(output.double_val)) == (2, [value]), output
        assert output.HasField("tensor_shape")


if __name__ == "__main__":
    command, package, *others = sys.argv[1:]
    if command == "score":
        score(Path(package), others[0])
    else:
        compare_all(sorted(Path(package).glob("trained-*")), others)
