"""A package to upload: the payload, as hs packs it, and what its function says of itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from lib.command import copy_file, last_line

IMAGE = re.compile(r"hydrosphere/serving-runtime-python-(\d\.\d+)(?:\.\d+)?:(\d+\.\d+\.\d+)")
# Runs where nothing but the payload is: imports the function and calls it once.
PROBE = """\
import json, sys
sys.path.append("src")
import numpy as np
import func_main

name, types = json.loads(sys.argv[1])
function = getattr(func_main, name, None)
found = {"function": callable(function), "features": list(func_main.features)}
model = getattr(func_main, "detector", None)
found["n_above"] = None if model is None else int(model.labels_.sum())
found["source"] = (func_main.classifier if model is None else model).origin_.get("source")
if found["function"]:
    inputs = {field: np.dtype(kind).type(1) for field, kind in types.items()}
    try:
        outputs = {field: np.asarray(value) for field, value in function(**inputs).items()}
        found["outputs"] = {field: [v.dtype.name, v.ndim] for field, v in outputs.items()}
    except Exception as error:
        found["failure"] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""


def copy_payload(folder: Path, payload: list[str], to: Path, flat: bool = False) -> None:
    """Copy what the payload names and the package has, without what Python wrote beside it.

    Flat is as hs 2.x packs it: each entry under the last part of its path.
    """
    for entry in payload:
        source, copy = folder / entry, to / (Path(entry).name if flat else entry)
        if source.is_file():
            copy_file(source, copy)
        for inside, _, names in os.walk(source, followlinks=True):
            for name in names if Path(inside).name != "__pycache__" else ():
                copy_file(Path(inside, name), copy / os.path.relpath(inside, source) / name)


def generation_of(runtime: str) -> int | None:
    """Return the generation of an image, None if it is none that the platform has."""
    image = IMAGE.fullmatch(runtime)
    return int(image[2][0]) if image else None


def probe(folder: Path, definition: dict, flat: bool) -> tuple[dict, str]:
    """Import the function where nothing but the payload is; return what it says, or why not."""
    contract = definition["contract"]
    types = {name: field["numpy_type"].__name__ for name, field in contract["inputs"].items()}
    with tempfile.TemporaryDirectory() as alone:
        copy_payload(folder, definition["payload"], Path(alone), flat)
        command = [sys.executable, "-I", "-B", "-c", PROBE, json.dumps([contract["name"], types])]
        result = subprocess.run(command, cwd=alone, capture_output=True, text=True)
    if result.returncode:
        return {}, last_line(result).replace(f"{alone}/", "")
    return json.loads(result.stdout.splitlines()[-1]), ""  # the function may print on import
