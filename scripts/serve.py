"""Host the function on gRPC as Hydrosphere's 3.x Python runtime does, on this machine.

examples:
  serve.py                this package, on 127.0.0.1:9090
  serve.py --port 0       on a free port, which is printed
  serve.py --model PATH  another unpacked package
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lib import command
from lib.runtime import load_function, read_definition, start_server

GRACE = 5  # seconds that requests under way get to finish


@command.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = command.make_parser(__file__, __doc__)
    option = parser.add_argument
    port = os.environ.get("APP_PORT", "9090")
    parser.number("--port", int, 0, 65535, default=port, help="or $APP_PORT")
    option("--host", default="127.0.0.1", help="default: 127.0.0.1")
    option("--model", type=Path, default=command.ROOT, help="default: this package")
    arguments = parser.parse_args(argv)
    name = read_definition(arguments.model)["name"]
    function = load_function(arguments.model)
    with signal_socket(signal.SIGTERM, signal.SIGINT) as arrival:
        server, port = start_server(function, f"{arguments.host}:{arguments.port}")
        print(f"serving {name} on {arguments.host}:{port}, stop with Ctrl-C", flush=True)
        arrival.recv(1)
        server.stop(GRACE).wait()


@contextmanager
def signal_socket(*numbers: int) -> Iterator[socket.socket]:
    """Yield a socket that receives a byte for each signal.

    The interpreter writes it by itself. A handler in Python could wait for a lock that the code
    which it interrupts holds, and no second signal would end that.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    # Python would warn of a full buffer through a lock that the interrupted code may hold as well.
    signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    for which in numbers:
        signal.signal(which, lambda *_: None)
    try:
        yield receiver
    finally:
        signal.set_wakeup_fd(-1, warn_on_full_buffer=False)


if __name__ == "__main__":
    sys.exit(main())
