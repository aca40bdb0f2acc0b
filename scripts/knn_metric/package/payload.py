"""The payload of a package: copied as hs packs it, and tried where nothing else is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from knn_metric.cli import last_line
from knn_metric.contract import Contract
from knn_metric.files import copy_file
from knn_metric.platform.releases import generation_of_image, gives_messages
from knn_metric.platform.tensors import TO_TENSOR

PROBE = Path(__file__).with_name("probe.py")


def copy_payload(folder: Path, payload: Iterable[str], to: Path, flat: bool = False) -> None:
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


def probe_payload(folder: Path, contract: Contract, runtime: str) -> tuple[dict[str, Any], str]:
    """Import the function where nothing but the payload is, and call it as an image does.

    Returns
    -------
    dict
        What `probe.py` found; empty if the function cannot be imported.
    str
        Why it cannot be imported, or ''.
    """
    inputs = {
        field.name: (np.dtype(field.numpy_type).name, *TO_TENSOR[field.numpy_type])
        for field in contract.inputs
    }
    flat = generation_of_image(runtime) == 2
    how = "messages" if gives_messages(runtime) else "numbers"
    with tempfile.TemporaryDirectory() as alone:
        copy_payload(folder, contract.payload, Path(alone), flat)
        line = [sys.executable, "-I", "-B", str(PROBE), contract.function, json.dumps(inputs), how]
        result = subprocess.run(line, cwd=alone, capture_output=True, text=True)
    if result.returncode:
        return {}, last_line(result).replace(f"{alone}/", "")
    return json.loads(result.stdout.splitlines()[-1]), ""  # the function may print on import
