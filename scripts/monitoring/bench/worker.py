"""One measurement of scripts/bench.py, in the interpreter that runs it, from Python 3.7 on.

usage: python -m monitoring.bench.worker '["TASK", ARGUMENT, ...]', which prints the figures as JSON
"""

import json
import sys
import time
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import numpy as np

ROUNDS = 20
CALLS = 100
MANY = 10_000


def load_function(package):
    """Import a package's func_main under a name of its own."""
    path = Path(package) / "src" / "func_main.py"
    loader = SourceFileLoader("func_main_" + Path(package).name, str(path))
    module = ModuleType(loader.name)
    module.__file__ = loader.path
    loader.exec_module(module)
    return module


def time_call(function, *arguments, **options):
    start = time.perf_counter()
    result = function(*arguments, **options)
    return time.perf_counter() - start, result


def read_resident_mb():
    """Return the most memory that this process has held; ru_maxrss would count the parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def summarize(seconds):
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e6
    return {"p50_us": p50, "p99_us": p99}


def fit(rows, params, tutorial):
    """Time both ways of training, and dump pyod's plainly as the tutorial does."""
    import joblib
    from pyod.models.knn import KNN

    from portable_knn import PortableKNN

    rows = np.load(rows)
    ours, _ = time_call(PortableKNN(**params).fit, rows)
    seconds, detector = time_call(KNN(**params).fit, rows)
    joblib.dump(detector, str(Path(tutorial) / "monitoring_model.joblib"))
    return {"ours": {"seconds": ours}, "pyod": {"seconds": seconds}}


def request(rows, packages):
    """Time `predict` of each package by name, interleaved."""
    modules = {name: load_function(package) for name, package in packages.items()}
    requests = [dict(zip(modules["ours"].features, row)) for row in np.load(rows)]
    taken: dict[str, list[float]] = {name: [] for name in modules}
    for turn in range(ROUNDS + 1):
        first = turn * CALLS % max(len(requests) - CALLS, 1)
        for name, module in modules.items():
            for inputs in requests[first : first + CALLS]:
                second, _ = time_call(module.predict, **inputs)
                if turn:  # the first round warms up
                    taken[name].append(second)
    return {name: summarize(seconds) for name, seconds in taken.items()}


def start(rows, package):
    """Answer one request, for the caller to time the whole process."""
    module = load_function(package)
    value = module.predict(**dict(zip(module.features, np.load(rows)[0])))
    return {"value": value["value"], "resident_mb": read_resident_mb()}


def batch(rows, training, params):
    """Score many rows at once with both detectors, on one core and on two."""
    from pyod.models.knn import KNN

    from portable_knn import PortableKNN

    many = np.resize(np.load(rows), (MANY, np.load(rows).shape[1])).astype(float)
    results: dict[str, dict[str, float]] = {}
    for cores in (1, 2):
        for name, kind in (("ours", PortableKNN), ("pyod", KNN)):
            detector = kind(n_jobs=cores, **params).fit(np.load(training))
            seconds = min(time_call(detector.decision_function, many)[0] for _ in range(3))
            results.setdefault(f"{cores} core(s)", {})[name] = MANY / seconds
    return results


def grow(rows, training, params, size, with_pyod):
    """Train on many rows like the training rows, and time single requests."""
    from pyod.models.knn import KNN

    from portable_knn import PortableKNN

    known, random = np.load(training), np.random.RandomState(0)
    larger = known[random.randint(len(known), size=size)]
    # Ages and hours a little off, or all but a few rows would be copies.
    larger[:, [0, 10]] += random.randint(-2, 3, size=(size, 2))
    detector = PortableKNN(n_jobs=2, **params)
    results = {"fit_s": time_call(detector.fit, larger)[0], "resident_mb": read_resident_mb()}
    queries = np.load(rows)[:1000].tolist()
    seconds = [time_call(detector.decision_function, [query])[0] for query in queries * 2]
    results.update(summarize(seconds[len(queries) :]))
    if with_pyod:
        results["pyod_s"] = time_call(KNN(n_jobs=2, **params).fit, larger)[0]
    return results


TASKS = {task.__name__: task for task in (fit, request, start, batch, grow)}

if __name__ == "__main__":
    task, *arguments = json.loads(sys.argv[1])
    print(json.dumps(TASKS[task](*arguments)))
