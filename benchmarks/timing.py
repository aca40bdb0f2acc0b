"""One timing of `make bench`, in the interpreter that runs it, from Python 3.7 on.

usage: timing.py '["TASK", ARGUMENT, ...]', which prints the figures as JSON
"""

import json
import sys
import time
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

ROUNDS = 20
CALLS = 100
MANY = 10_000


def load_function(package: str) -> ModuleType:
    """Import a package's func_main under a name of its own."""
    path = Path(package) / "src" / "func_main.py"
    loader = SourceFileLoader("func_main_" + Path(package).name, str(path))
    module = ModuleType(loader.name)
    module.__file__ = loader.path
    loader.exec_module(module)
    return module


def time_call(function: Any, *arguments: Any, **options: Any) -> Any:
    start = time.perf_counter()
    result = function(*arguments, **options)
    return time.perf_counter() - start, result


def fit(training: str, params: Any, tutorial: str) -> Any:
    """Return the seconds of both ways of training; dump pyod's plainly as the tutorial does."""
    import joblib
    from pyod.models.knn import KNN

    from portable_knn import PortableKNN

    rows = np.load(training)
    ours, _ = time_call(PortableKNN(**params).fit, rows)
    seconds, detector = time_call(KNN(**params).fit, rows)
    joblib.dump(detector, str(Path(tutorial) / "monitoring_model.joblib"))
    return ours, seconds


def request(rows: str, *packages: str) -> Any:
    """Return the median microseconds of each package's `predict`, interleaved."""
    modules = [load_function(package) for package in packages]
    requests = [dict(zip(modules[0].features, row)) for row in np.load(rows)]
    taken: Any = [[] for _ in modules]
    for turn in range(ROUNDS + 1):
        first = turn * CALLS % max(len(requests) - CALLS, 1)
        for module, seconds in zip(modules, taken):
            for inputs in requests[first : first + CALLS]:
                seconds.append(time_call(module.predict, **inputs)[0])
    # The first round warms up.
    return [1e6 * np.median(seconds[CALLS:]) for seconds in taken]


def start(rows: str, package: str) -> Any:
    """Answer one request, for the caller to time the whole process."""
    module = load_function(package)
    return module.predict(**dict(zip(module.features, np.load(rows)[0])))["value"]


def batch(rows: str, training: str, params: Any) -> Any:
    """Return the rows a second of both detectors, with many rows at once on two cores."""
    from pyod.models.knn import KNN

    from portable_knn import PortableKNN

    known = np.load(rows)
    many = np.resize(known, (MANY, known.shape[1])).astype(float)
    detectors = [kind(n_jobs=2, **params).fit(np.load(training)) for kind in (PortableKNN, KNN)]
    return [
        MANY / min(time_call(d.decision_function, many)[0] for _ in range(3)) for d in detectors
    ]


if __name__ == "__main__":
    task, *arguments = json.loads(sys.argv[1])
    print(json.dumps(globals()[task](*arguments)))
