"""Attach the metric to a target model: alarm above the artifact's threshold."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from urllib.parse import urljoin

import requests

from cluster import ClusterError, find_cluster

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
import portable_knn

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = """\
examples:
  attach_metric.py adult:1                          attach the newest census_monitoring
  attach_metric.py adult:1 --metric census_monitoring:2 --dry-run
  attach_metric.py adult:1 --cluster http://hydrosphere.example
"""
TIMEOUT = 30  # seconds
# The check passes, that is no alarm, when `value <operator> threshold`.
OPERATOR = "LessEq"


class MetricError(Exception):
    """The metric cannot be attached; the message is one line for the user."""


class Manager:
    """The REST API of a cluster's manager, errors turned into one line each."""

    def __init__(self, address: str) -> None:
        self.address = address

    def call(self, method: str, path: str, body: dict | None = None) -> object:
        url = urljoin(self.address, f"/api/v2/{path}")
        try:
            response = requests.request(method, url, json=body, timeout=TIMEOUT)
            response.raise_for_status()
            return response.json() if response.content else None
        except requests.HTTPError as error:
            text = " ".join(response.text.split())[:200]
            status = f"HTTP {response.status_code}"
            raise MetricError(f"{method} {url}: {status} {text}".rstrip()) from error
        except requests.JSONDecodeError as error:
            raise MetricError(f"{method} {url}: the answer is not JSON") from error
        except (requests.RequestException, ValueError) as error:
            raise MetricError(f"{method} {url}: {type(error).__name__}") from error

    def find_version(self, reference: str) -> dict:
        """Return the version that NAME:VERSION names, or the newest of NAME."""
        name, _, number = reference.partition(":")
        versions = [v for v in self.call("GET", "model/version") if v["model"]["name"] == name]
        if not versions:
            raise MetricError(f"no model {name} at {self.address}")
        if not number:
            return max(versions, key=lambda version: version["modelVersion"])
        for version in versions:
            if str(version["modelVersion"]) == number:
                return version
        known = ", ".join(str(version["modelVersion"]) for version in versions)
        raise MetricError(f"no version {number} of {name} at {self.address}, there is {known}")


def attach(manager: Manager, arguments: argparse.Namespace, threshold: float) -> None:
    """Create the metric unless it is there, and remove the one of that name that it replaces."""
    target = manager.find_version(arguments.target)
    metric = manager.find_version(arguments.metric)
    config = {
        "modelVersionId": metric["id"],
        "threshold": threshold,
        "thresholdCmpOperator": {"kind": OPERATOR},
    }
    body = {"name": arguments.name, "modelVersionId": target["id"], "config": config}
    specs = manager.call("GET", f"monitoring/metricspec/modelversion/{target['id']}")
    same_name = [spec for spec in specs if spec["name"] == arguments.name]
    others = [spec for spec in same_name if not is_same(spec["config"], config)]
    if arguments.dry_run:
        print(f"POST {urljoin(manager.address, '/api/v2/monitoring/metricspec')}")
        print(json.dumps(body, indent=2))
    elif len(others) < len(same_name) and not others:
        print(f"{arguments.name} is attached to {arguments.target} already: {describe(config)}")
    else:
        replace(manager, body, others)
        print(f"{arguments.name} is attached to {arguments.target}: {describe(config)}")


def replace(manager: Manager, body: dict, others: list[dict]) -> None:
    """Create the new metric before the old ones go, so that the target is never unwatched."""
    for spec in others:
        print(f"replacing {spec['name']}: {describe(spec['config'])}")
    created = manager.call("POST", "monitoring/metricspec", body)
    try:
        for spec in others:
            manager.call("DELETE", f"monitoring/metricspec/{spec['id']}")
    except MetricError:
        manager.call("DELETE", f"monitoring/metricspec/{created['id']}")
        raise


def is_same(old: dict, new: dict) -> bool:
    return all(old.get(key) == value for key, value in new.items())


def describe(config: dict) -> str:
    operator = (config.get("thresholdCmpOperator") or {}).get("kind")
    return f"healthy if value {operator} {config.get('threshold')!r}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="attach_metric.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", help="the model to watch, NAME:VERSION")
    parser.add_argument("--metric", default="census_monitoring", help="NAME or NAME:VERSION")
    parser.add_argument("--name", default="census_monitoring", help="of the metric on the target")
    parser.add_argument("--cluster", help="address (default: the one that hs has selected)")
    parser.add_argument("--artifact", type=Path, default=ROOT / "monitoring_model.joblib")
    parser.add_argument("--dry-run", action="store_true", help="print the request, change nothing")
    arguments = parser.parse_args()
    if not re.fullmatch(r"[^:]+:\d+", arguments.target):
        parser.exit(
            2, f"attach_metric.py: expected TARGET NAME:VERSION, got {arguments.target!r}\n"
        )
    try:
        threshold = read_threshold(arguments.artifact)
        address = arguments.cluster or find_cluster()
        attach(Manager(address), arguments, threshold)
    except (ClusterError, MetricError) as error:
        parser.exit(2, f"attach_metric.py: {error}\n")
    except (KeyError, TypeError) as error:
        parser.exit(2, f"attach_metric.py: {address} answers otherwise than a manager: {error!r}\n")


def read_threshold(artifact: Path) -> float:
    try:
        return float(portable_knn.load(artifact).threshold_)
    except RuntimeError as error:
        raise MetricError(error) from error


if __name__ == "__main__":
    main()
