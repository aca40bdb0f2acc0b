"""Say of a request how anomalous it is, and what each of its fields should be by all the others.

examples:
  knn-metric explain age=540 workclass=4 education=1 marital_status=0 occupation=8 \\
    relationship=0 race=4 sex=1 capital_gain=2 capital_loss=2 hours_per_week=50 country=9 classes=1
  knn-metric explain adult:1 --request 6553f10000000000000001f4     a request of the cluster
  knn-metric explain adult:1 --last 5                               its last alarms

What a field should be is read off the 50 training rows that are nearest by all its other fields;
rows that training held out tell how rare it is that a field is so far from that.
"""

from knn_metric.cli import Arguments, Parser, UserError, matching

EXPECTED = "NAME=VALUE of each field, or NAME:VERSION"


def add_arguments(parser: Parser) -> None:
    what = "NAME=VALUE of each field, a category by name too; or the watched model, NAME:VERSION"
    kind = matching(r"(?s)[^:=]+:\d+|[^=]*=.*", EXPECTED)
    parser.required("what", "adult:1", nargs="+", type=kind, metavar="TARGET|NAME=VALUE", help=what)
    parser.add_argument("--request", metavar="ID", help="of the model, as `watch` prints it")
    parser.number("--last", int, 1, 1000, help="or so many of its last alarms (default: 1)")
    parser.package()
    parser.cluster()


def run(arguments: Arguments) -> None:
    from knn_metric.data.census import FEATURES, LABELS
    from knn_metric.detection.detectors import load_detector
    from knn_metric.detection.explanation import format_explanation, parse_row
    from knn_metric.live.alarms import find_alarms

    what, request, last = arguments.what, arguments.request, arguments.last
    is_row = "=" in what[0]
    if is_row and (request or last):
        raise UserError("--request and --last are of a model: name it as NAME:VERSION")
    if not is_row and what[1:]:
        raise UserError(f"expected {EXPECTED}, got {' '.join(what)!r}")
    detector = load_detector(arguments.package)
    features = detector.feature_names_in_.tolist()
    labels = LABELS if tuple(features) == FEATURES else {}
    if is_row:
        print(format_explanation(detector, parse_row(what, features, labels), labels))
        return
    found = find_alarms(what[0], arguments.cluster, request, last or 1, detector)
    for number, (title, row) in enumerate(found):
        print("\n" if number else "", title, sep="")
        print(format_explanation(detector, row, labels))
