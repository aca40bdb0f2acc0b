"""Time one side of scripts/bench.py in the interpreter that runs this, and print it as JSON."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
EXAMPLES = """\
examples:
  bench_side.py dump ROWS.npy FOLDER            train and dump pyod's own KNN, as the tutorial does
  bench_side.py request ROWS.npy FOLDER FOLDER  time both packages' predict, interleaved
"""
PARAMS = {"n_neighbors": 15, "p": 5, "contamination": 0.05}
FEATURES = 13
ROUNDS = 20
CALLS = 100


def load_function(folder):
    """Import a package's func_main under a name of its own."""
    path = Path(folder) / "src" / "func_main.py"
    spec = importlib.util.spec_from_file_location(f"func_main_{Path(folder).name}", str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def time_calls(calls):
    """Return the seconds that each call takes, one after the other."""
    seconds = []
    for call in calls:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def read_resident_mb():
    """Return the most memory that this process has held; ru_maxrss would count the parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def summarize(seconds):
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e6
    return {"p50_us": p50, "p99_us": p99}


def dump(rows, folder):
    """Train pyod's own KNN and dump it plainly."""
    import joblib
    from pyod.models.knn import KNN

    start = time.perf_counter()
    detector = KNN(**PARAMS).fit(rows)
    seconds = time.perf_counter() - start
    path = Path(folder) / "monitoring_model.joblib"
    joblib.dump(detector, str(path))
    return {"seconds": seconds, "bytes": path.stat().st_size}


def fit(rows, folder):
    """Train PortableKNN and save it."""
    from portable_knn import PortableKNN

    start = time.perf_counter()
    names = [str(index) for index in range(rows.shape[1])]
    detector = PortableKNN(**PARAMS).fit(rows, feature_names=names)
    seconds = time.perf_counter() - start
    path = Path(folder) / "fitted.joblib"
    detector.save(path)
    return {"seconds": seconds, "bytes": path.stat().st_size}


def request(rows, *folders):
    """Time `predict` of each package, in rounds that take turns."""
    modules = [load_function(folder) for folder in folders]
    names = modules[0].features
    requests = [dict(zip(names, row)) for row in rows]
    seconds = [[] for _ in folders]
    for turn in range(ROUNDS + 1):
        first = turn * CALLS % (len(requests) - CALLS)
        for module, taken in zip(modules, seconds):
            calls = [
                lambda inputs=inputs, predict=module.predict: predict(**inputs)
                for inputs in requests[first : first + CALLS]
            ]
            times = time_calls(calls)
            if turn:  # the first round warms up
                taken.extend(times)
    return [summarize(taken) for taken in seconds]


def start(rows, folder):
    """Answer one request, for the caller to time the whole process."""
    module = load_function(folder)
    value = module.predict(**dict(zip(module.features, rows[0])))
    return {"value": value["value"], "resident_mb": read_resident_mb()}


def batch(rows, folder):
    """Score 10,000 rows at once with both detectors, on one core and on two."""
    import joblib
    from pyod.models.knn import KNN

    portable = joblib.load(str(Path(folder) / "monitoring_model.joblib"))
    training = portable.training_rows_.astype(float)
    many = np.resize(rows, (10_000, FEATURES)).astype(float)
    results = {}
    for cores in (1, 2):
        portable.n_jobs = cores
        pyod = KNN(n_jobs=cores, **PARAMS).fit(training)
        for name, detector in (("portable", portable), ("pyod", pyod)):
            seconds = time_calls([lambda d=detector: d.decision_function(many)] * 3)
            results[f"{name}_{cores}"] = len(many) / min(seconds)
    return results


def grow(rows, folder, size):
    """Index `size` rows like the training rows, and time single requests."""
    import joblib

    detector = joblib.load(str(Path(folder) / "monitoring_model.joblib"))
    training = detector.training_rows_.astype(float)
    random = np.random.RandomState(0)
    larger = training[random.randint(len(training), size=int(size))]
    # Ages and hours a little off, or all but a few rows would be copies.
    larger[:, [0, 10]] += random.randint(-2, 3, size=(len(larger), 2))
    start = time.perf_counter()
    detector._index(larger)
    seconds = time.perf_counter() - start
    calls = [
        lambda row=row: detector.decision_function(row[None]) for row in rows[:1000].astype(float)
    ]
    time_calls(calls[:100])
    return {"build_s": seconds, "resident_mb": read_resident_mb(), **summarize(time_calls(calls))}


TASKS = {
    "dump": dump,
    "fit": fit,
    "request": request,
    "start": start,
    "batch": batch,
    "grow": grow,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="bench_side.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("rows", help="encoded rows, a .npy file of shape (n, 13)")
    parser.add_argument("others", nargs="+", help="packages, and for grow the size")
    arguments = parser.parse_args()
    if not os.path.exists(arguments.rows):
        parser.exit(2, f"bench_side.py: {arguments.rows}: No such file or directory\n")
    result = TASKS[arguments.task](np.load(arguments.rows), *arguments.others)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
