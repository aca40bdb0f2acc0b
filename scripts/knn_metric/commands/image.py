"""Write what the platform builds a version's image from, and build it with docker or podman.

examples:
  knn-metric image                     this package, in the runtime that serving.yaml names
  knn-metric image --image hydrosphere/serving-runtime-python-3.7:3.0.3
  knn-metric image --package examples/adult --allow-sample

Writing needs neither of the two, nor root or the network; where neither works, the commands are
printed. Building fetches the runtime and what install-command installs. A build that fails ends
with status 2 and the builder's last line; the folder stays, and can be built on another machine.
"""

from knn_metric.cli import FOUND, Arguments, Parser


def add_arguments(parser: Parser) -> None:
    parser.package()
    parser.image()
    parser.out()


def run(arguments: Arguments) -> int:
    from knn_metric.files import shorten
    from knn_metric.package.findings import check_package
    from knn_metric.package.image import build_image, write_context
    from knn_metric.tables import format_table

    folder = arguments.package
    asked = arguments.image, None, arguments.allow_sample
    contract = check_package(folder, *asked, "nothing was written")
    if contract is None:
        return FOUND
    context = arguments.out / "image" / contract.name
    write_context(folder, contract, context)
    print(f"written    {shorten(context)}", flush=True)
    print(format_table(build_image(context, contract), "<<"))
    return 0
