"""Write the package of a metric for a model: serving.yaml, src/ and requirements.txt.

The metric takes the model's inputs and answers. What it cannot take is left out, and said.

examples:
  knn-metric new churn-metric --for churn:3                 a version on the cluster
  knn-metric new churn-metric --for path/to/churn           the model's package, or its serving.yaml
"""

import re
from pathlib import Path
from shlex import quote

from knn_metric.cli import Arguments, Parser, show


def add_arguments(parser: Parser) -> None:
    example = "churn-metric --for churn:3"
    parser.required("folder", example, type=Path, help="to write")
    what = "NAME:VERSION on the cluster, the folder of its package, or its serving.yaml"
    parser.required("--for", example, dest="model", metavar="MODEL", help=what)
    parser.cluster()


def run(arguments: Arguments) -> None:
    from knn_metric.contract import Contract, lost_by_sonar
    from knn_metric.files import shorten
    from knn_metric.package.new import select_inputs, write_package
    from knn_metric.platform.metrics import Watched

    place = Path(arguments.model)
    if re.fullmatch(r"[^:/]+:\d+", arguments.model) and not place.exists():
        model = Watched(arguments.model, arguments.cluster)
        fields, others, name = model.fields, model.others, arguments.model.partition(":")[0]
    else:
        contract = Contract.read(place)
        fields, others, name = [*contract.inputs, *contract.outputs], [], contract.name
    inputs, left_out = select_inputs(fields)
    folder = arguments.folder
    write_package(folder, f"{name}_monitoring", inputs)
    print(f"{shorten(folder)} has the package of {name}_monitoring: {len(inputs)} inputs, src/,")
    print("requirements.txt and serving.yaml, where a profile says whether a field holds codes")
    lines = [f"left out  {line}" for line in [*left_out, *others]]
    names = [*(field.name for field in fields), *(other.partition(": ")[0] for other in others)]
    lines += [f"warning   {problem}" for problem in lost_by_sonar(names)]
    for line in lines:
        print(show(line))
    print(f"next      `knn-metric train --package {quote(shorten(folder))} --data REQUESTS`")
