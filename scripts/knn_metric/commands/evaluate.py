"""Measure what the metric sees: alarms on corrupted rows, and when a change is detected.

The artifact is evaluated on rows that its training held out. With --target the model answers the
corrupted requests, as on the platform. `median` and `90%` are of 200 streams of rows drawn at
random, counted from where the corruption begins; - is where more than 5,000 requests pass.

examples:
  knn-metric evaluate --target examples/adult         the part of UCI's data that training held out
  knn-metric evaluate --data adult.test               all of another file
  knn-metric evaluate --corrupt scale:age:12,mix      these corruptions
"""

from knn_metric.cli import Arguments, Parser


def add_arguments(parser: Parser) -> None:
    parser.data()
    parser.package()
    option = parser.add_argument
    option("--target", help="the model: the folder of its package, or HOST:PORT")
    what = "corruptions, with commas between them (default: a list for the fields)"
    option("--corrupt", type=lambda names: names.split(","), metavar="NAME,...", help=what)
    parser.out()
    parser.report()


def run(arguments: Arguments) -> None:
    import json

    from knn_metric import files
    from knn_metric.data.corruptions import list_corruptions, parse_corruption
    from knn_metric.data.rows import hold_out, load_rows
    from knn_metric.detection import evaluation
    from knn_metric.detection.detectors import describe_detector, describe_traffic, open_package
    from knn_metric.page import write_page
    from knn_metric.platform.target import Target
    from knn_metric.tables import format_fields, format_table

    picture, figures = (arguments.out / f"evaluation.{kind}" for kind in ("png", "json"))
    files.require_writable(picture, figures, *arguments.report, inputs=arguments.data)
    contract, detector = open_package(arguments.package)
    place = arguments.target
    target = Target(place, contract.inputs) if place else None
    others = target.others if target else ()
    rows = load_rows(arguments.data, contract, arguments.most_rejected, others=others)
    rows = hold_out(rows, detector.origin_)
    answered = target.answered if target else rows.names[-1:]
    names = arguments.corrupt or list_corruptions(rows, answered)
    corruptions = [parse_corruption(name, rows) for name in names]
    changed = evaluation.corrupt_rows(rows, corruptions, target)
    results = evaluation.evaluate(detector, changed, corruptions)
    answers = f"of {place}" if place else "as recorded, for want of a --target"
    fields = {
        "data": describe_traffic(rows, detector),
        "answers": answers,
        "detector": describe_detector(detector),
        "threshold_": repr(float(detector.threshold_)),
        "contamination": f"{detector.contamination:.2%} asked for",
        "alarm rate": evaluation.format_clean(results[0]),
    }
    table = evaluation.tabulate(results)
    thresholds = evaluation.tabulate_thresholds(results, detector.decision_scores_)
    print(format_fields(fields), format_table(table, "<>>>><<"), sep="\n\n")
    print("", format_table(thresholds), "", sep="\n")
    content = {one.name: one.to_json() for one in results}
    with files.replacing_file(figures) as new:
        new.write_text(json.dumps(content, indent=1))
    title = f"What {contract.name} detects"
    described = f"{title}: {len(rows):,} rows of {rows.source}, answers {answers}"
    evaluation.plot(results, described, picture)
    tables = {"Corruptions": table, "Alarms at other thresholds": thresholds}
    for path in arguments.report:
        write_page(path, title, fields, tables, [picture])
    written = map(files.shorten, (figures, picture, *arguments.report))
    print(f"written  {', '.join(written)}")
