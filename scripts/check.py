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

from lib import command
from lib.inspection import format_findings, inspect


@command.entry
def main(argv: Sequence[str] | None = None) -> int:
    parser = command.make_parser(__file__, __doc__)
    option = parser.add_argument
    option("--model", type=Path, default=command.ROOT, help="default: this package")
    option("--runtime", help="image to use instead of serving.yaml's")
    option("--platform", type=int, choices=(2, 3), help="the cluster's generation")
    option("--allow-sample", action="store_true", help="accept a model trained on the sample")
    findings = inspect(*vars(parser.parse_args(argv)).values())
    print(format_findings(findings))
    return 1 if any(problem for _, problem in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
