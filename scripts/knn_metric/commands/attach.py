"""Attach the metric to a target model, to alarm above the artifact's threshold; or detach it.

examples:
  knn-metric attach adult:1                    the newest version of serving.yaml's name
  knn-metric attach adult:1 --metric census_monitoring:2 --dry-run
  knn-metric attach adult:1 --cluster http://hydrosphere.example
  knn-metric attach adult:1 --list             what is attached, with its status and threshold
  knn-metric attach adult:1 --detach           the target is no longer watched
"""

from __future__ import annotations

import argparse

from knn_metric.cli import Parser


def add_arguments(parser: Parser) -> None:
    option = parser.add_argument
    parser.target()
    option("--metric", help="NAME or NAME:VERSION (default: the newest of serving.yaml's name)")
    option("--name", type=key, help="of the metric on the target (default: its model's)")
    parser.package()
    parser.cluster()
    option("--dry-run", action="store_true", help="print the request, change nothing")
    option("--deployment", metavar="NAME", help="of a DeploymentConfiguration for the metric (3.x)")
    instead = parser.add_mutually_exclusive_group().add_argument
    instead("--detach", action="store_true", help="remove the metric of that name")
    instead("--list", action="store_true", help="list what is attached, change nothing")


def key(text: str) -> str:
    """Refuse a name that the platform's database takes for a path: its checks would be lost."""
    if "." in text or text.startswith("$"):
        raise argparse.ArgumentTypeError(f"a dot or a leading $ loses every check, got {text!r}")
    return text


def run(arguments: argparse.Namespace) -> None:
    from knn_metric import files
    from knn_metric.contract import Contract
    from knn_metric.detection.detectors import load_detector
    from knn_metric.platform.hs import selected_cluster
    from knn_metric.platform.manager import Manager, describe_artifact
    from knn_metric.platform.metrics import attach_metric, detach_metric, list_metrics

    manager = Manager(arguments.cluster or selected_cluster())
    with manager.reading():
        target = manager.version(arguments.target)
        if arguments.list:
            print(list_metrics(manager, target))
            return
        model = Contract.read(arguments.package).name
        name = arguments.name or model
        if arguments.detach:
            detach_metric(manager, target, name, arguments.dry_run)
            return
        path = files.artifact_path(arguments.package)
        detector = load_detector(path)
        artifact = describe_artifact(path, detector)
        metric = manager.version(arguments.metric or model)
        deployment, dry_run = arguments.deployment, arguments.dry_run
        attach_metric(manager, target, metric, name, artifact, detector, deployment, dry_run)
