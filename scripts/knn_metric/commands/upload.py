"""Check a package and upload it with the installed hs command line, of either generation.

examples:
  knn-metric upload                            this package, to the cluster that hs has selected
  knn-metric upload --package examples/adult   another one
  knn-metric upload --image IMAGE              in another image than the platform's usual one
  knn-metric upload --allow-sample             a model trained on the sample, for a trial
"""

from knn_metric.cli import FOUND, Arguments, Parser


def add_arguments(parser: Parser) -> None:
    parser.package()
    parser.image()
    parser.add_argument("--hs", default="hs", help="the command line to use (default: hs)")


def run(arguments: Arguments) -> int:
    from knn_metric.package.findings import check_package
    from knn_metric.package.payload import staging
    from knn_metric.platform.hs import generation_of_hs, selected_cluster, upload
    from knn_metric.platform.releases import USUAL_RUNTIME_3X

    folder = arguments.package
    generation = generation_of_hs(arguments.hs)
    image = arguments.image or (USUAL_RUNTIME_3X if generation == 3 else None)
    address = selected_cluster(generation)
    asked = image, generation, arguments.allow_sample
    contract = check_package(folder, *asked, "nothing was uploaded")
    if contract is None:
        return FOUND
    with staging(folder, contract) as staged:
        version = upload(arguments.hs, generation, staged, address, contract.name)
    if version:
        next_ = f"`knn-metric attach TARGET --metric {version}` where it"
        print(f"{version} is Released; next: {next_}\nis a metric of TARGET, the model to watch")
    else:
        print(f"the manager lists no new version of {contract.name}: look at it before it is used")
    return 0
