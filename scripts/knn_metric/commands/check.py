"""Say what is known to go wrong after an upload. Exit status 0 if nothing would, else 1.

examples:
  knn-metric check                               this package, as serving.yaml has it
  knn-metric check --package examples/adult      another one
  knn-metric check --image IMAGE --platform 3    for another image, on a 3.x platform
  knn-metric check --allow-sample                for a trial upload
"""

from knn_metric.cli import FOUND, Arguments, Parser


def add_arguments(parser: Parser) -> None:
    parser.package()
    parser.image()
    what = "the cluster's generation"
    parser.add_argument("--platform", type=int, choices=(2, 3), help=what)


def run(arguments: Arguments) -> int:
    from knn_metric.package.findings import check_package

    asked = arguments.image, arguments.platform, arguments.allow_sample
    return 0 if check_package(arguments.package, *asked) else FOUND
