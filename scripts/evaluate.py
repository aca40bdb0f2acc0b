"""Measure what the metric sees: alarms on corrupted rows, and when a change is detected.

The artifact is evaluated on rows that its training held out. The target answers the corrupted
requests, as on the platform. `median` and `90%` are of 200 streams of rows drawn at
random, counted from where the corruption begins; - is where more than 5,000 requests pass.

examples:
  evaluate.py                            the part of UCI's data that training held out
  evaluate.py --data adult.test          all of another file
  evaluate.py --drift scale:age:12,mix   these corruptions
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from monitoring import cli, files
from monitoring.contract import Contract
from monitoring.data.corruptions import list_corruptions, parse_corruption
from monitoring.data.loading import load_rows
from monitoring.data.provenance import describe_traffic, hold_out
from monitoring.detection.detectors import describe_detector, load_detector
from monitoring.detection.evaluation import (
    corrupt_rows,
    evaluate,
    format_clean,
    format_results,
    format_thresholds,
)
from monitoring.detection.evaluation_plot import plot
from monitoring.hydrosphere.target import reaching
from monitoring.tables import format_fields

TARGET = files.ROOT / "examples" / "adult"


@cli.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.make_parser(__file__, __doc__)
    option = parser.add_argument
    parser.data()
    option("--artifact", type=Path, help="the trained detector (default: this package's)")
    option("--target", help="HOST:PORT or a folder (default: examples/adult, if it is trained)")
    option("--drift", help="corruptions, with commas between them (default: a list for the fields)")
    option("--reports", type=Path, default=files.REPORTS, help="where evaluation.png and .json go")
    arguments = parser.parse_args(argv)
    picture = arguments.reports / "evaluation.png"
    figures = arguments.reports / "evaluation.json"
    files.require_writable(picture, figures, inputs=[arguments.data])
    contract = Contract.read(files.ROOT)
    artifact = arguments.artifact or files.artifact_path(files.ROOT)
    detector = load_detector(artifact, contract.input_names)
    rows = load_rows(arguments.data, contract, arguments.most_rejected)
    rows = hold_out(rows, detector.origin_)
    place = arguments.target or find_target(contract)
    with reaching(place, contract.inputs) if place else nullcontext() as target:
        answered = target.answered if target else rows.names[-1:]
        asked = arguments.drift.split(",") if arguments.drift else list_corruptions(rows, answered)
        corruptions = [parse_corruption(name, rows) for name in asked]
        changed = corrupt_rows(rows, corruptions, target)
    results = evaluate(detector, changed, corruptions)
    answers = f"of {place}" if place else "as recorded, for want of a target: flatters the metric"
    fields = {
        "data": describe_traffic(rows, detector),
        "answers": answers,
        "detector": describe_detector(detector),
        "threshold_": repr(float(detector.threshold_)),
        "contamination": f"{detector.contamination:.2%} asked for",
        "alarm rate": format_clean(results[0]),
    }
    print(format_fields(fields), format_results(results), sep="\n\n")
    print("", format_thresholds(results, detector.decision_scores_), "", sep="\n")
    content = {one.name: one.to_json() for one in results}
    with files.replacing_file(figures) as new:
        new.write_text(json.dumps(content, indent=1))
    plot(results, f"{len(rows):,} rows of {rows.source}, answers {answers}", picture)
    print(f"figures  {files.shorten(figures)}, picture: {files.shorten(picture)}")


def find_target(contract: Contract) -> str | None:
    """Return examples/adult where it is trained, if it answers a field of this contract."""
    if not (TARGET / "classifier.json").exists():
        return None
    answered = {field.name for field in Contract.read(TARGET).outputs}
    names = {field.name for field in contract.inputs}
    return files.shorten(TARGET) if answered & names else None


if __name__ == "__main__":
    sys.exit(main())
