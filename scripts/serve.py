"""Host the function on gRPC as Hydrosphere's 3.x Python runtime does, on this machine.

examples:
  serve.py                     this package, on 127.0.0.1:9090
  serve.py --port 0            on a free port, which is printed
  serve.py --model PATH        another unpacked package
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from monitoring import cli, files

GRACE = 5  # seconds that requests under way get to finish
ENDS = (signal.SIGTERM, signal.SIGINT)


@cli.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.make_parser(__file__, __doc__)
    option = parser.add_argument
    default_port = os.environ.get("APP_PORT", "9090")
    parser.number("--port", int, 0, 65535, default=default_port, help="or $APP_PORT")
    option("--host", default="127.0.0.1", help="default: 127.0.0.1")
    option("--model", type=Path, default=files.ROOT, help="the package (default: this one)")
    arguments = parser.parse_args(argv)
    # Only this thread waits for them: all that libraries start from here on inherit the mask.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    try:
        serve(arguments.model, arguments.host, arguments.port)
    except cli.UserError:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise


def serve(model: Path, host: str, port: int) -> None:
    """Serve until a signal ends it; others that come meanwhile are never delivered."""
    from monitoring.contract import Contract
    from monitoring.hydrosphere.server import load_function, start_server

    name = Contract.read(model).name
    function = load_function(model)
    try:
        socket.getaddrinfo(host, port)
    except socket.gaierror as error:
        raise cli.UserError(f"--host: {host} is no address: {error.strerror}") from error
    shown = f"[{host}]" if ":" in host else host
    server, port = start_server(function, f"{shown}:{port}")
    print(f"serving {name} on {shown}:{port}, stop with Ctrl-C", flush=True)
    signal.sigwait(ENDS)
    server.stop(GRACE).wait()


if __name__ == "__main__":
    sys.exit(main())
