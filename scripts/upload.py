"""Check a package and upload it with the installed hs command line, of either generation.

examples:
  upload.py                   this package, to the cluster that hs has selected
  upload.py --runtime IMAGE   in another image than the platform's usual one
  upload.py --allow-sample    a model trained on the sample, for a trial
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from monitoring import cli, files
from monitoring.bundle.checks import check, require_passed
from monitoring.bundle.staging import staging
from monitoring.contract import Contract
from monitoring.hydrosphere.hs import generation_of_hs, run_hs, selected_cluster
from monitoring.hydrosphere.manager import Manager
from monitoring.hydrosphere.releases import USUAL_RUNTIME_3X


@cli.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.make_parser(__file__, __doc__)
    option = parser.add_argument
    option("--model", type=Path, default=files.ROOT, help="the package (default: this one)")
    option("--runtime", help="image (default: serving.yaml's, or for 3.x 3.0.3's)")
    option("--hs", default="hs", help="the command line to use (default: hs)")
    option("--allow-sample", action="store_true", help="accept a model trained on the sample")
    arguments = parser.parse_args(argv)
    folder = arguments.model
    generation = generation_of_hs(arguments.hs)
    runtime = arguments.runtime or (USUAL_RUNTIME_3X if generation == 3 else None)
    address = selected_cluster(generation)
    findings = check(folder, runtime, generation, arguments.allow_sample)
    require_passed(findings, "nothing was uploaded")
    Manager(address).call("GET", "model/version")  # hs 3.x would end in a traceback
    print(f"uploading {Contract.read(folder).name} to {address} with hs {generation}.x")
    with staging(folder, runtime) as staged:
        run_hs(arguments.hs, generation, staged)


if __name__ == "__main__":
    sys.exit(main())
