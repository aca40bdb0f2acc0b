"""Attach the metric to a target model, to alarm above the artifact's threshold; or detach it.

examples:
  attach_metric.py adult:1                          attach the newest census_monitoring
  attach_metric.py adult:1 --metric census_monitoring:2 --dry-run
  attach_metric.py adult:1 --cluster http://hydrosphere.example
  attach_metric.py adult:1 --detach                 the target is no longer watched
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lib import command
from lib.detector import distance_of, load_detector
from lib.platform import Manager, describe_artifact, reference, selected_cluster

# The check passes, that is no alarm, when `value <operator> threshold`.
OPERATOR = "LessEq"
NAMES = {"minkowski": "census_monitoring", "hvdm": "census_hvdm"}


@command.entry
def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    manager = Manager(arguments.cluster or selected_cluster())
    if arguments.name is None:
        arguments.name = usual_name(arguments.artifact)
    with manager.reading():
        target = manager.version(arguments.target)
        if arguments.detach:
            detach(manager, target, arguments)
        else:
            attach(manager, target, arguments)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.make_parser(__file__, __doc__)
    option = parser.add_argument
    parser.required("target", "adult:1", type=reference, help="the model to watch, NAME:VERSION")
    option("--metric", default="census_monitoring", help="NAME or NAME:VERSION")
    names = ", by HVDM ".join(NAMES.values())
    option("--name", type=key, help=f"of the metric on the target (default: {names})")
    option("--cluster", help="address (default: the one that hs has selected)")
    option("--artifact", **command.ARTIFACT_OPTION)
    option("--dry-run", action="store_true", help="print the request, change nothing")
    option("--detach", action="store_true", help="remove the metric of that name")
    return parser.parse_args(argv)


def key(text: str) -> str:
    """Refuse a name that the platform's database takes for a path: its checks would be lost."""
    if "." in text or text.startswith("$"):
        raise argparse.ArgumentTypeError(f"a dot or a leading $ loses every check, got {text!r}")
    return text


def usual_name(artifact: Path) -> str:
    """Name a metric by its artifact's distance, so that neither replaces the other."""
    return NAMES[distance_of(load_detector(artifact))] if artifact.exists() else NAMES["minkowski"]


def attach(manager: Manager, target: dict, arguments: argparse.Namespace) -> None:
    """Create the metric unless it is there, and remove the one of that name that it replaces."""
    threshold = float(load_detector(arguments.artifact).threshold_)
    metric = manager.version(arguments.metric)
    require_same_artifact(metric, describe_artifact(arguments.artifact, threshold))
    config = {
        "modelVersionId": metric["id"],
        "threshold": threshold,
        "thresholdCmpOperator": {"kind": OPERATOR},
    }
    body = {"name": arguments.name, "modelVersionId": target["id"], "config": config}
    same_name = attached(manager, target, arguments.name)
    others = [spec for spec in same_name if not is_same(spec["config"], config)]
    if arguments.dry_run:
        print(f"POST {manager.url('monitoring/metricspec')}")
        print(json.dumps(body, indent=2))
    elif len(others) < len(same_name) and not others:
        print(f"{arguments.name} is attached to {arguments.target} already: {describe(config)}")
    else:
        replace(manager, body, others)
        print(f"{arguments.name} is attached to {arguments.target}: {describe(config)}")


def require_same_artifact(metric: dict, ours: dict[str, str]) -> None:
    """Refuse to give a version the threshold of another artifact than it was uploaded with."""
    name = f"{metric['model']['name']}:{metric['modelVersion']}"
    theirs = {field: (metric.get("metadata") or {}).get(field) for field in ours}
    if theirs["artifact.sha256"] is None:
        print(f"{name} was not uploaded by `make upload`: whether the artifact is its own is open")
    elif theirs != ours:
        raise command.UserError(
            f"{name} was uploaded with another artifact, of threshold"
            f" {theirs['artifact.threshold']}; the one here has {ours['artifact.threshold']}:"
            " `make upload` first, or --metric=NAME:VERSION for an earlier version"
        )


def detach(manager: Manager, target: dict, arguments: argparse.Namespace) -> None:
    specs = attached(manager, target, arguments.name)
    for spec in specs:
        path = f"monitoring/metricspec/{spec['id']}"
        if arguments.dry_run:
            print(f"DELETE {manager.url(path)}")
        else:
            manager.call("DELETE", path)
            print(f"{arguments.name} is detached from {arguments.target}")
    if not specs:
        print(f"{arguments.name} is not attached to {arguments.target}")


def attached(manager: Manager, target: dict, name: str) -> list[dict]:
    return [spec for spec in manager.metrics(target) if spec["name"] == name]


def replace(manager: Manager, body: dict, others: list[dict]) -> None:
    """Create the new metric before the old ones go, so that the target is never unwatched."""
    for spec in others:
        print(f"replacing {spec['name']}: {describe(spec['config'])}")
    created = manager.call("POST", "monitoring/metricspec", body)
    try:
        for spec in others:
            manager.call("DELETE", f"monitoring/metricspec/{spec['id']}")
    except command.UserError:
        manager.call("DELETE", f"monitoring/metricspec/{created['id']}")
        raise


def is_same(old: dict, new: dict) -> bool:
    return all(old.get(field) == value for field, value in new.items())


def describe(config: dict) -> str:
    operator = (config.get("thresholdCmpOperator") or {}).get("kind")
    return f"healthy if value {operator} {config.get('threshold')!r}"


if __name__ == "__main__":
    sys.exit(main())
