"""Import a package's function where nothing but the payload is, and call it once.

Runs as a file, `python -I -B probe.py FUNCTION TYPES`, in the folder of the payload. TYPES is a
JSON object of numpy's types by input. Prints what it found as a JSON object in its last line.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


def main(name, types):
    # What the payload lacks must not be found in this repository, where .venv would find it.
    own = [ROOT / folder for folder in ("src", "scripts")]
    sys.path[:] = ["src", *(path for path in sys.path if Path(path).resolve() not in own)]
    import numpy as np

    import func_main

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
        inputs = {field: np.dtype(kind).type(1) for field, kind in types.items()}
        try:
            outputs = {field: np.asarray(value) for field, value in function(**inputs).items()}
            found["outputs"] = {field: [v.dtype.name, v.ndim] for field, v in outputs.items()}
        except Exception as error:
            found["failure"] = f"{type(error).__name__}: {error}"
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]))))
