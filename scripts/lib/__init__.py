"""What the commands share; each module's first line says what."""

import sys


def _report(kind, error, trace):
    """Print no traceback for a Ctrl-C that comes while a command is still importing."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _report
