"""Import a package's function where nothing but the payload is, and call it once.

Runs as a file, `python -I -B probe.py FUNCTION INPUTS HOW`, in the folder of the payload. INPUTS is
a JSON object: by input numpy's type, the DataType and the field of a tensor that holds its value.
HOW is `messages` where the image hands these to the function, else `numbers`. Prints what it found
as a JSON object in its last line.
"""

import json
import sys
from importlib import import_module
from importlib.machinery import PathFinder
from typing import Any


def main(name: str, inputs: dict[str, tuple[str, int, str]], how: str) -> dict[str, Any]:
    sys.path.insert(0, "src")
    # What the payload lacks must not be found where this program is installed.
    for package in ("func_main", "portable_knn", "knn_metric"):
        if PathFinder.find_spec(package, ["src"]) is None:
            sys.modules[package] = None  # type: ignore[assignment]
    func_main: Any = import_module("func_main")
    function: Any = getattr(func_main, name, None)
    model = getattr(func_main, "detector", None)
    found = {
        "function": callable(function),
        "features": list(func_main.features),
        "n_above": None if model is None else int(model.labels_.sum()),
        "source": (model or func_main.classifier).origin_.get("source"),
    }
    rows = getattr(model, "training_rows_", None)
    if rows is not None:
        found["trained"] = {
            feature: [float(column.min()), float(column.max()), bool((column % 1 == 0).all())]
            for feature, column in zip(found["features"], rows.T, strict=True)
        }
    if found["function"]:
        call = call_with_messages if how == "messages" else call_with_numbers
        try:
            found["outputs"] = call(function, inputs)
        except Exception as error:
            found["failure"] = " ".join(f"{type(error).__name__}: {error}".split())
    return found


def call_with_numbers(function: Any, inputs: dict[str, Any]) -> dict[str, tuple[str, int]]:
    """Return numpy's type and the dimensions of each output."""
    import numpy as np

    numbers = {field: np.dtype(kind).type(1) for field, (kind, _, _) in inputs.items()}
    outputs = {field: np.asarray(value) for field, value in function(**numbers).items()}
    return {
        field: (np.dtype(value.dtype.type).name, value.ndim) for field, value in outputs.items()
    }


def call_with_messages(function: Any, inputs: dict[str, Any]) -> dict[str, tuple[str, int]]:
    from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor

    kinds = {dtype: kind for kind, dtype, _ in inputs.values()} | {2: "float64", 9: "int64"}
    sent = {name: Tensor(dtype=dtype, **{at: [1]}) for name, (_, dtype, at) in inputs.items()}
    answer = function(**sent)
    if not hasattr(answer, "outputs"):
        raise TypeError(f"expected a PredictResponse, got {type(answer).__name__}")
    outputs = answer.outputs.items()
    return {name: (kinds[one.dtype], len(one.tensor_shape.dims)) for name, one in outputs}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3])))
