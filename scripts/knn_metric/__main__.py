"""Watch a model on Hydrosphere: build a metric of its requests, try it, attach and read it."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from typing import Any, Callable, Sequence

from knn_metric import __version__, cli
from knn_metric.tables import format_table

SUBCOMMANDS = {
    "build": {
        "new": "write the package of a metric, ready to train",
        "train": "train the metric on requests that the model has answered",
        "check": "say what would go wrong after an upload",
        "image": "write and build the platform's image of a package",
        "upload": "check, then upload with the installed hs",
    },
    "try": {
        "serve": "serve a package on this machine, as the platform's runtime does",
        "explain": "say which field a request's score comes from",
        "evaluate": "measure which corruptions are detected, and when",
        "replay": "send rows through model and metric, as the platform does",
    },
    "watch": {
        "attach": "attach the metric to a model on the platform, or detach it",
        "watch": "say whether a model's traffic has changed, and in which field",
        "score": "score recorded requests, here or on a Dask cluster",
    },
}
EXIT = "exit status: 0, 1 if an alert or a finding was found, 2 if it could not tell, 130 on Ctrl-C"


@cli.entry
def main(argv: Sequence[str] | None = None) -> int | None:
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = make_parser(words[0] if words else "").parse_args(words)
    run: Callable[[argparse.Namespace], int | None] = arguments.run
    return run(arguments)


def make_parser(asked: str) -> cli.Parser:
    """Return the parser; of the subcommands only the one that is asked for is imported."""
    rows = [
        [f"{group}:" if not number else "", name, what]
        for group, names in SUBCOMMANDS.items()
        for number, (name, what) in enumerate(names.items())
    ]
    parser = cli.Parser(f"{__doc__}\n\n{format_table(rows, '<<<')}\n\n{EXIT}", prog="knn-metric")
    parser.examples["SUBCOMMAND"] = "--help"
    parser.add_argument("--version", action="version", version=f"knn-metric {__version__}")
    subparsers: Any = parser.add_subparsers(prog="knn-metric", metavar="SUBCOMMAND", required=True)
    for _, name, _ in rows:
        if name != asked:
            subparsers.add_parser(name)
            continue
        module = import_module(f"knn_metric.commands.{name}")
        subparser = subparsers.add_parser(name, doc=module.__doc__)
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
