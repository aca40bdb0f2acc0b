"""Print the inputs of a metric's serving.yaml: what the target takes and answers.

examples:
  contract.py --target churn:3               of a version on the cluster
  contract.py --from examples/adult          of a package's serving.yaml
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from monitoring import cli
from monitoring.contract import Contract
from monitoring.hydrosphere.hs import reference, selected_cluster
from monitoring.hydrosphere.manager import Manager
from monitoring.hydrosphere.signatures import format_inputs, read_signature


@cli.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.make_parser(__file__, __doc__)
    option = parser.add_argument
    option("--target", type=reference, help="the model to watch, NAME:VERSION")
    option("--from", type=Path, dest="folder", help="read a package's serving.yaml instead")
    option("--cluster", help="address (default: the one that hs has selected)")
    arguments = parser.parse_args(argv)
    if arguments.folder:
        contract = Contract.read(arguments.folder)
        print(*format_inputs([*contract.inputs, *contract.outputs]), sep="\n")
        return
    if not arguments.target:
        parser.error("--target is missing, as in --target=churn:3, or --from=path/to/package")
    manager = Manager(arguments.cluster or selected_cluster())
    with manager.reading():
        fields, others = read_signature(manager.version(arguments.target))
    print(*format_inputs(fields, others), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
