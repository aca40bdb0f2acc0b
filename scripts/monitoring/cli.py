"""What every command shares: its parser, its errors in one line, its exit status."""

from __future__ import annotations

import argparse
import functools
import io
import logging
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

# Exit statuses as shells have them: 128 and the signal's number.
INTERRUPTED = 130
NO_READER = 141
# Only files are drawn, whatever backend and cache of matplotlib's this machine is set up for.
os.environ["MPLBACKEND"] = "agg"
logging.getLogger("matplotlib").setLevel(logging.ERROR)
MOST_REJECTED = 0.05  # the proportion of unusable rows in data
PICTURES = (".png", ".pdf", ".svg")


class UserError(Exception):
    """What the user can do something about, in one line; the command ends with status 2."""


class Parser(argparse.ArgumentParser):
    """Takes options, or the variables of make; says what is wrong with one in one line.

    Each option is a variable of the make target too, by its name in capitals: ``--out folder`` is
    ``OUT=folder``, and a flag as ``--force`` is ``FORCE=1``. The Makefile names the target in
    MAKE_TARGET and what was typed after it in MAKE_GIVEN; the values are in the environment.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.examples: dict[str, str] = {}
        self.target = os.environ.pop("MAKE_TARGET", None)  # which is not for child processes
        _started.clear()

    def required(self, name: str, example: str, **settings: Any) -> None:
        """Add an argument that must be there, without an option, and an example of it."""
        self.add_argument(name, metavar=name.upper(), **settings)
        self.examples[name.upper()] = example

    def data(self) -> None:
        what = "uci, sample, or rows under the contract's names: a file, folder, glob or URL"
        self.add_argument("--data", default="uci", help=f"{what} (default: uci)")
        what = "proportion of rows that may be unusable"
        self.number("--most-rejected", float, 0, 1, default=MOST_REJECTED, help=what)

    def time(self) -> None:
        what = "column of the times (default: _hs_timestamp, else the only one that holds times)"
        self.add_argument("--time", metavar="COLUMN", help=what)

    def picture(self, option: str, **settings: Any) -> None:
        """Add an option that takes the path of a picture."""

        def parse(text: str) -> Path:
            if Path(text).suffix.lower() not in PICTURES:
                endings = ", ".join(PICTURES)
                raise argparse.ArgumentTypeError(f"expected a name in {endings}, got {text!r}")
            return Path(text)

        self.add_argument(option, type=parse, **settings)

    def number(self, option: str, kind: type, low: float, high: float, **settings: Any) -> None:
        """Add an option that takes a number from `low` to `high`, its default in the help."""

        def parse(text: str) -> float:
            value = kind(text)
            if not low <= value <= high:
                raise argparse.ArgumentTypeError(f"must be from {low:,} to {high:,}, got {text}")
            return value

        parse.__name__ = "number"
        if "default" in settings:
            settings["help"] += " (default: %(default)s)"
        self.add_argument(option, type=parse, **settings)

    def parse_args(self, args: Sequence[str] | None = None, *others: Any) -> Any:  # type: ignore[override]
        if self.target:
            args = self._read_variables()
        return super().parse_args(args, *others)

    def _read_variables(self) -> list[str]:
        """Return what was typed after a make target as arguments."""
        self.prog = _started["as"] = f"make {self.target}"
        variables = {_variable_of(action): action for action in self._actions[1:]}  # not --help
        for name, action in variables.items():
            flag = "=1" if action.nargs == 0 else ""
            _started.update(dict.fromkeys(action.option_strings, f"{name}{flag}"))
        options: list[str] = []
        others: list[str] = []
        for name in os.environ["MAKE_GIVEN"].split():
            if name not in variables:
                self.error(f"{name} is no variable of this target, there is {', '.join(variables)}")
            action, value = variables[name], os.environ[name]
            if action.nargs == 0:
                options += [] if value in ("", "0") else action.option_strings
            elif not value:
                self.error(f"{name} is empty")
            elif action.option_strings:
                options.append(f"{action.option_strings[0]}={value}")
            else:
                others.append(value)
        return [*options, *(["--"] if others else []), *others]

    def error(self, message: str) -> NoReturn:
        missing = message.partition("arguments are required: ")[2]
        if missing in self.examples:
            variable = f"{missing}=" if self.target else ""
            line = f"{self.prog} {variable}{shlex.quote(self.examples[missing])}"
            message = f"{missing} is missing, as in `{line}`"
        complain(self.prog, message)
        sys.exit(2)


def _variable_of(action: argparse.Action) -> str:
    name = action.option_strings[0] if action.option_strings else action.dest
    return name.lstrip("-").replace("-", "_").upper()


# Where make started the command: how each option is typed there, and the target.
_started: dict[str, str] = {}


def spell(text: str) -> str:
    """Write options as the user types them: ``--force``, or after a make target ``FORCE=1``.

    Command lines in backquotes stay as they are.
    """
    parts = r"`[^`]*`|--[a-z][a-z-]*"
    return re.sub(parts, lambda part: _started.get(part[0], part[0]), text)


def complain(name: str, problem: str) -> None:
    """Say in one line on standard error what is wrong, in the words of who started the command."""
    print(f"{_started.get('as', name)}: {spell(problem)}", file=sys.stderr)


def show(text: str) -> str:
    """Return a text from elsewhere as the terminal can show it."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return ascii(text)
    return text if text.isprintable() else ascii(text)


def last_line(result: subprocess.CompletedProcess[str]) -> str:
    """Return what a failed process said last, which is mostly why."""
    lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
    return lines[-1]


def make_parser(file: str, doc: str | None) -> Parser:
    """Return a parser that shows a command's docstring on --help, its examples last."""
    summary, _, examples = (doc or "").partition("\n\n")  # python -OO drops it
    return Parser(
        prog=Path(file).name,
        description=summary,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _prepare_streams() -> None:
    """Let every text be printed: escaped where the terminal cannot show it, lost where closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, io.StringIO())
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def entry(main: Callable[[Sequence[str] | None], int | None]) -> Callable[..., int]:
    """Let a command return its exit status, whatever ends it: at most one line of error."""
    name = Path(main.__code__.co_filename).name

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        _prepare_streams()
        try:
            status = main(argv) or 0
            sys.stdout.flush()
            return status
        except KeyboardInterrupt:
            return INTERRUPTED
        except BrokenPipeError:
            # Python would try to write the rest once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return NO_READER
        except UserError as error:
            problem = str(error)
        except OSError as error:
            problem = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        complain(name, problem)
        return 2

    return run
