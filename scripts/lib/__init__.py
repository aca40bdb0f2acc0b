"""What the commands share; each module's first line says what."""

import sys

INTERRUPTED = 130  # as shells have it: 128 and the signal's number


def _report(kind, error, trace):
    """End as a Ctrl-C does, without a traceback, if it comes while a command still imports."""
    causes = (error, error.__cause__, error.__context__)  # some modules make an ImportError of it
    if any(isinstance(cause, KeyboardInterrupt) for cause in causes):
        sys.exit(INTERRUPTED)
    sys.__excepthook__(kind, error, trace)


sys.excepthook = _report
