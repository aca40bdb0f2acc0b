"""Serve the trained detector and score a few people over gRPC, normal ones and absurd ones."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import grpc
import joblib
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor, TensorShape
from hydro_serving_grpc.serving.contract.types_pb2 import DT_INT64
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictRequest
from hydro_serving_grpc.serving.runtime.api_pb2_grpc import PredictionServiceStub

import census

sys.path.insert(0, str(census.ROOT / "src"))

EXAMPLES = """\
examples:
  demo.py                 score with the detector that train.py saved
  demo.py --folder PATH   score with another unpacked package
"""
# Invented people, in the order of census.COLUMNS.
CLERK = "27, Private, 0, HS-grad, 9, Never-married, Adm-clerical, Not-in-family, White, Female, \
0, 0, 40, United-States, <=50K"
CRAFTSMAN = "38, Private, 0, HS-grad, 9, Married-civ-spouse, Craft-repair, Husband, White, Male, \
0, 0, 45, United-States, <=50K"
MANAGER = "45, Private, 0, Bachelors, 13, Married-civ-spouse, Exec-managerial, Husband, White, \
Male, 0, 0, 50, United-States, >50K"


def build_requests() -> dict[str, dict[str, int]]:
    records = census.read("\n".join((CLERK, CRAFTSMAN, MANAGER)).encode(), "demo.py")
    people = census.encode(records).tolist()
    clerk, craftsman, manager = (dict(zip(census.FEATURES, row, strict=True)) for row in people)
    return {
        "clerk, 27, 40 hours a week": clerk,
        "craftsman, 38, 45 hours a week": craftsman,
        "manager, 45, 50 hours a week": manager,
        "the clerk's age in months": {**clerk, "age": 12 * clerk["age"]},
        "the craftsman's age missing, sent as 0": {**craftsman, "age": 0},
        "the manager's hours, by the month": {**manager, "hours_per_week": 217},
    }


def score(stub: PredictionServiceStub, inputs: dict[str, int]) -> float:
    tensors = {
        name: Tensor(dtype=DT_INT64, tensor_shape=TensorShape(), int64_val=[value])
        for name, value in inputs.items()
    }
    response = stub.Predict(PredictRequest(inputs=tensors), timeout=10)
    return response.outputs["value"].double_val[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="demo.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, default=census.ROOT, help="default: this package")
    folder = parser.parse_args().folder
    serve = census.ROOT / "scripts/serve.py"
    command = [sys.executable, serve, "--port", "0", "--folder", folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = re.search(r"on (\S+:\d+)", server.stdout.readline())
            if address is None:  # the server has said why
                parser.exit(2)
            threshold = float(joblib.load(folder / "monitoring_model.joblib").threshold_)
            with grpc.insecure_channel(address[1]) as channel:
                print_scores(PredictionServiceStub(channel), threshold)
        except grpc.RpcError as error:
            parser.exit(2, f"demo.py: {error.code().name}: {error.details()}\n")
        finally:
            server.terminate()


def print_scores(stub: PredictionServiceStub, threshold: float) -> None:
    print(f"{'request':<40}{'value':>8}  threshold {threshold:.2f}")
    for name, inputs in build_requests().items():
        value = score(stub, inputs)
        print(f"{name:<40}{value:>8.2f}  {'ALARM' if value > threshold else 'pass'}")


if __name__ == "__main__":
    main()
