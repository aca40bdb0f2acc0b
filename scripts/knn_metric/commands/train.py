"""Train the metric: fit the KNN detector, score held-out rows, draw the scores, save the artifact.

examples:
  knn-metric train                              UCI's adult.data, downloaded once
  knn-metric train --data sample                the synthetic sample, for trying out
  knn-metric train --data monday.csv tuesday.csv --package churn-metric
  knn-metric train --data requests.parquet --contamination 0.01 --plot scores.png
"""

from knn_metric.cli import PARAMS, REPORTS, Arguments, Parser, complain


def add_arguments(parser: Parser) -> None:
    number = parser.number
    parser.data()
    parser.time()
    parser.package()
    k, p, contamination = PARAMS.values()
    number("--neighbors", int, 1, 10_000, dest="n_neighbors", default=k, help="k")
    number("--p", float, 1, 15, default=p, help="Minkowski's p")
    what = "proportion of training rows above the threshold"
    number("--contamination", float, 0.0001, 0.5, default=contamination, help=what)
    parser.split()
    plot = REPORTS / "knn_comparison.png"
    parser.file("--plot", default=plot, help=f"picture of the scores (default: {plot})")


def run(arguments: Arguments) -> None:
    from tqdm import tqdm

    from knn_metric import files
    from knn_metric.contract import Contract, lost_by_sonar
    from knn_metric.data.rows import load_rows
    from knn_metric.detection.detectors import source_of
    from knn_metric.detection.training import find_drift, format_training, plot, train

    contract = Contract.read(arguments.package)
    for problem in lost_by_sonar(contract.input_names):
        complain(problem)
    out = files.artifact_path(arguments.package)
    files.require_writable(out, arguments.plot, inputs=arguments.data)
    steps = tqdm(total=5, bar_format="{desc:<22} |{bar:30}| {elapsed}", disable=None, leave=False)

    def begin(description: str) -> None:
        steps.set_description_str(description)
        steps.update()

    with steps:
        begin("reading rows")
        rows = load_rows(arguments.data, contract, arguments.most_rejected, arguments.time)
        if not arguments.force:
            files.require_replaceable(out, source_of(out), rows.source)
        begin("fitting the detector")
        params = {name: getattr(arguments, name) for name in PARAMS}
        detector, scores = train(rows, arguments.test_size, arguments.seed, **params)
        begin("looking for drift")
        drift = find_drift(rows, arguments.seed, **params)
        begin("drawing the picture")
        plot(contract.name, detector, scores, arguments.plot)
        begin("saving the artifact")
        with files.keeping_previous(out):
            detector.save(out)
    print(format_training(detector, scores, rows, drift, out, arguments.plot))
