"""Serve a package's function on gRPC as Hydrosphere's 3.x Python runtime does, on this machine.

examples:
  knn-metric serve                              this package, on 127.0.0.1:9090
  knn-metric serve --port 0                     on a free port, which is printed
  knn-metric serve --package examples/adult     another package
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
from pathlib import Path

from knn_metric.cli import INTERRUPTED, Parser, UserError

GRACE = 5  # seconds that requests under way get to finish
ENDS = (signal.SIGTERM, signal.SIGINT)


def add_arguments(parser: Parser) -> None:
    default_port = os.environ.get("APP_PORT", "9090")
    parser.number("--port", int, 0, 65535, default=default_port, help="or $APP_PORT")
    parser.add_argument("--host", default="127.0.0.1", help="(default: 127.0.0.1)")
    parser.package()


def run(arguments: argparse.Namespace) -> int:
    # Only this thread waits for them: all that libraries start from here on inherit the mask.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    try:
        ended_by = serve(arguments.package, arguments.host, arguments.port)
    except UserError:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise
    return INTERRUPTED if ended_by == signal.SIGINT else 0


def serve(package: Path, host: str, port: int) -> int:
    """Serve until a signal ends it, and return that; others after it are never delivered."""
    from knn_metric.contract import Contract
    from knn_metric.platform.server import load_function, start_server

    name = Contract.read(package).name
    function = load_function(package)
    try:
        socket.getaddrinfo(host, port)
    except socket.gaierror as error:
        raise UserError(f"--host: {host} is no address: {error.strerror}") from error
    shown = f"[{host}]" if ":" in host else host
    server, port = start_server(function, f"{shown}:{port}")
    print(f"serving {name} on {shown}:{port}, stop with Ctrl-C", flush=True)
    ended_by = signal.sigwait(ENDS)
    server.stop(GRACE).wait()
    return ended_by
