"""One timing of `make bench`, in the interpreter that runs it, from Python 3.7 on.

usage: timing.py '["TASK", ARGUMENT, ...]', which prints the figures as JSON
"""

import json
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS, CALLS, MANY = 20, 100, 10_000


def load_function(package: str) -> Any:
    return runpy.run_path(str(Path(package) / "src" / "func_main.py"))


def time_call(function: Any, *arguments: Any, **options: Any) -> Any:
    start = time.perf_counter()
    result = function(*arguments, **options)
    return time.perf_counter() - start, result


def make_detectors(**params: Any) -> Any:
    from pyod.models.knn import KNN

    from portable_knn import PortableKNN

    return PortableKNN(**params), KNN(**params)


def fit(training: str, params: Any, tutorial: str) -> Any:
    """Return the seconds of both ways of training; dump pyod's plainly as the tutorial does."""
    import joblib

    rows = np.load(training)
    (ours, _), (pyod, detector) = (time_call(one.fit, rows) for one in make_detectors(**params))
    joblib.dump(detector, str(Path(tutorial) / "monitoring_model.joblib"))
    return ours, pyod


def interleave(functions: Any, blocks: Any) -> Any:
    """Return functions' median seconds, where each takes each block in turn; the first warms up."""
    taken: Any = [[] for _ in functions]
    for block in blocks:
        for function, seconds in zip(functions, taken):
            seconds.append([time_call(function, **inputs)[0] for inputs in block])
    return [float(np.median(seconds[1:])) for seconds in taken]


def request(rows: str, *packages: str) -> Any:
    """Return the median microseconds of each package's `predict`."""
    functions = [load_function(package) for package in packages]
    requests = [dict(zip(functions[0]["features"], row)) for row in np.load(rows)]
    firsts = [turn * CALLS % max(len(requests) - CALLS, 1) for turn in range(ROUNDS + 1)]
    blocks = [requests[first : first + CALLS] for first in firsts]
    return [1e6 * one for one in interleave([each["predict"] for each in functions], blocks)]


def start(rows: str, package: str) -> Any:
    """Answer one request, for the caller to time the whole process."""
    function = load_function(package)
    return function["predict"](**dict(zip(function["features"], np.load(rows)[0])))["value"]


def batch(rows: str, training: str, params: Any) -> Any:
    """Return the rows a second of both detectors, with many rows at once on two cores."""
    known = np.load(rows)
    many = np.resize(known, (MANY, known.shape[1])).astype(float)
    detectors = [one.fit(np.load(training)) for one in make_detectors(n_jobs=2, **params)]
    times = [[time_call(one.decision_function, many)[0] for _ in range(3)] for one in detectors]
    return [MANY / min(seconds) for seconds in times]


if __name__ == "__main__":
    task, *arguments = json.loads(sys.argv[1])
    print(json.dumps(globals()[task](*arguments)))
