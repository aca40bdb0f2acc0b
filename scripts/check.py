"""Say what is known to go wrong after an upload. Exit status 0 if nothing would, else 1.

examples:
  check.py                               this package, as serving.yaml has it
  check.py --runtime IMAGE --platform 3  for another image, on a 3.x platform
  check.py --allow-sample                for a trial upload
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from monitoring import cli, files
from monitoring.bundle.checks import check, format_findings


@cli.entry
def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.make_parser(__file__, __doc__)
    option = parser.add_argument
    option("--model", type=Path, default=files.ROOT, help="the package (default: this one)")
    option("--runtime", help="image to use instead of serving.yaml's")
    option("--platform", type=int, choices=(2, 3), help="the cluster's generation")
    option("--allow-sample", action="store_true", help="accept a model trained on the sample")
    arguments = parser.parse_args(argv)
    options = arguments.runtime, arguments.platform, arguments.allow_sample
    findings = check(arguments.model, *options)
    print(format_findings(findings))
    return int(any(finding.problem for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
