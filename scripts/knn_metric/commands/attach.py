"""Attach the metric to a target model, to alarm above the artifact's threshold; or detach it.

examples:
  knn-metric attach adult:1                    the newest version of serving.yaml's name
  knn-metric attach adult:1 --metric census_monitoring:2 --dry-run
  knn-metric attach adult:1 --cluster http://hydrosphere.example
  knn-metric attach adult:1 --list             what is attached, with its status and threshold
  knn-metric attach adult:1 --detach           the target is no longer watched
"""

from knn_metric.cli import Arguments, Parser


def add_arguments(parser: Parser) -> None:
    option = parser.add_argument
    parser.target()
    option("--metric", help="NAME or NAME:VERSION (default: the newest of serving.yaml's name)")
    option("--name", help="of the metric on the target (default: its model's)")
    parser.package()
    parser.cluster()
    option("--dry-run", action="store_true", help="print the request, change nothing")
    option("--deployment", metavar="NAME", help="of a DeploymentConfiguration for the metric (3.x)")
    instead = parser.add_mutually_exclusive_group().add_argument
    instead("--detach", action="store_true", help="remove the metric of that name")
    instead("--list", action="store_true", help="list what is attached, change nothing")


def run(arguments: Arguments) -> None:
    from knn_metric.cli import UserError
    from knn_metric.contract import Contract, lost_by_sonar
    from knn_metric.detection.detectors import load_detector
    from knn_metric.platform.metrics import Watched, require_same_artifact

    watched = Watched(arguments.target, arguments.cluster)
    with watched.manager.reading():
        if arguments.list:
            print(watched.table())
            return
        metric = arguments.metric or Contract.read(arguments.package).name
        name = arguments.name or metric.partition(":")[0]
        for problem in lost_by_sonar([name]):
            raise UserError(f"--name: {problem}")
        if arguments.detach:
            watched.detach(name, arguments.dry_run)
            return
        detector = load_detector(arguments.package)
        version = watched.manager.version(metric)
        require_same_artifact(version, arguments.package, detector)
        watched.attach(version, name, detector, arguments.deployment, arguments.dry_run)
