"""Attach the metric to a target model, to alarm above the artifact's threshold; or detach it.

examples:
  metric.py adult:1                          attach the newest census_monitoring
  metric.py adult:1 --metric census_monitoring:2 --dry-run
  metric.py adult:1 --cluster http://hydrosphere.example
  metric.py adult:1 --list                   what is attached, with versions and thresholds
  metric.py adult:1 --detach                 the target is no longer watched
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from monitoring import cli, files
from monitoring.contract import Contract
from monitoring.detection.detectors import load_detector
from monitoring.hydrosphere.hs import reference, selected_cluster
from monitoring.hydrosphere.manager import Manager, describe_artifact
from monitoring.hydrosphere.metrics import attach_metric, detach_metric, list_metrics


@cli.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.make_parser(__file__, __doc__)
    option = parser.add_argument
    parser.required("target", "adult:1", type=reference, help="the model to watch, NAME:VERSION")
    option("--metric", help="NAME or NAME:VERSION (default: the newest of serving.yaml's name)")
    option("--name", type=key, help="of the metric on the target (default: its model's)")
    option("--cluster", help="address (default: the one that hs has selected)")
    option("--artifact", type=Path, help="the trained detector (default: this package's)")
    option("--dry-run", action="store_true", help="print the request, change nothing")
    option("--detach", action="store_true", help="remove the metric of that name")
    option("--list", action="store_true", help="list what is attached, change nothing")
    arguments = parser.parse_args(argv)
    manager = Manager(arguments.cluster or selected_cluster())
    model = Contract.read(files.ROOT).name
    name = arguments.name or model
    path = arguments.artifact or files.artifact_path(files.ROOT)
    with manager.reading():
        target = manager.version(arguments.target)
        if arguments.list:
            print(list_metrics(manager, target))
            return
        if arguments.detach:
            detach_metric(manager, target, name, arguments.dry_run)
            return
        artifact = describe_artifact(path, load_detector(path))
        metric = manager.version(arguments.metric or model)
        attach_metric(manager, target, metric, name, artifact, arguments.dry_run)


def key(text: str) -> str:
    """Refuse a name that the platform's database takes for a path: its checks would be lost."""
    if "." in text or text.startswith("$"):
        raise argparse.ArgumentTypeError(f"a dot or a leading $ loses every check, got {text!r}")
    return text


if __name__ == "__main__":
    sys.exit(main())
