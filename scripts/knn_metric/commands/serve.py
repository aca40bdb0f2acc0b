"""Serve a package's function on gRPC as Hydrosphere's 3.x Python runtime does, on this machine.

examples:
  knn-metric serve                              this package, on 127.0.0.1:9090
  knn-metric serve --port 0                     on a free port, which is printed
  knn-metric serve --package examples/adult     another package
"""

from __future__ import annotations

import os
import signal

from knn_metric.cli import INTERRUPTED, Arguments, Parser, UserError

GRACE = 5  # seconds that requests under way get to finish
ENDS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def add_arguments(parser: Parser) -> None:
    default_port = os.environ.get("APP_PORT", "9090")
    parser.number("--port", int, 0, 65535, default=default_port, help="or $APP_PORT")
    parser.add_argument("--host", default="127.0.0.1", help="(default: 127.0.0.1)")
    parser.package()


def run(arguments: Arguments) -> int:
    """Serve until a signal comes; before there is anything to finish, it ends the process."""
    from knn_metric.contract import Contract
    from knn_metric.files import artifact_path
    from knn_metric.platform.server import load_function, start_server

    contract = Contract.read(arguments.package)
    function = load_function(arguments.package)
    features = getattr(function, "__globals__", {}).get("features", contract.input_names)
    artifact = artifact_path(arguments.package)
    problem = contract.find_other_fields(features)
    if artifact.exists() and problem:
        raise UserError(f"{artifact} {problem}")
    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    server, port = start_server(function, f"{host}:{arguments.port}")
    signals = catch_signals()
    print(f"serving {contract.name} on {host}:{port}, stop with Ctrl-C", flush=True)
    ended_by = 0
    while ended_by not in ENDS:
        ended_by = os.read(signals, 1)[0]
    for one in ENDS:  # what comes up to the last moment is too late
        signal.signal(one, signal.SIG_IGN)
    server.stop(GRACE).wait()
    return INTERRUPTED if ended_by == signal.SIGINT else 0


def catch_signals() -> int:
    """Return a pipe from which signals are read, whichever thread they come to."""
    signals, sent = os.pipe()
    os.set_blocking(sent, False)
    signal.set_wakeup_fd(sent, warn_on_full_buffer=False)
    for one in ENDS:
        if signal.getsignal(one) != signal.SIG_IGN:  # as nohup has it
            signal.signal(one, lambda *_: None)
    return signals
