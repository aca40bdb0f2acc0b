"""Write what the platform builds a version's image from, and build it with docker or podman.

examples:
  image.py                     this package, in the runtime that serving.yaml names
  image.py --runtime hydrosphere/serving-runtime-python-3.7:3.0.3
  image.py --model examples/adult --allow-sample

Writing needs neither of the two, nor root or the network; where neither works, the commands are
printed. Building fetches the runtime and what install-command installs. A build that fails ends
with status 2 and the builder's last line; the folder stays, and can be built on another machine.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from monitoring import cli, files
from monitoring.bundle.checks import check, require_passed
from monitoring.bundle.image import build_image, write_context
from monitoring.contract import Contract
from monitoring.tables import format_table


@cli.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.make_parser(__file__, __doc__)
    option = parser.add_argument
    option("--model", type=Path, default=files.ROOT, help="the package (default: this one)")
    option("--runtime", help="image (default: serving.yaml's)")
    option("--allow-sample", action="store_true", help="accept a model trained on the sample")
    option("--reports", type=Path, default=files.REPORTS, help="where image/NAME/ is written")
    arguments = parser.parse_args(argv)
    package = arguments.model
    findings = check(package, arguments.runtime, None, arguments.allow_sample)
    require_passed(findings, "nothing was written")
    contract = Contract.read(package)
    contract = replace(contract, runtime=arguments.runtime or contract.runtime)
    context = arguments.reports / "image" / contract.name
    write_context(package, contract, context)
    print(f"written    {files.shorten(context)}", flush=True)
    print(format_table(build_image(context, contract), "<<"))


if __name__ == "__main__":
    sys.exit(main())
