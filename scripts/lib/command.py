"""What every command shares: its parser, its one way out, whole files, and the path to src/."""

from __future__ import annotations

import argparse
import functools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from lib import INTERRUPTED

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
ARTIFACT = ROOT / "monitoring_model.joblib"
REPORTS = ROOT / "reports"
# The settings of options that more than one command has.
DATA = {"default": "uci", "help": "uci, sample or a file (default: uci)"}
ARTIFACT_OPTION = {"type": Path, "default": ARTIFACT, "help": "the trained detector"}
NO_READER = 141  # as shells have it: 128 and SIGPIPE's number


class UserError(Exception):
    """What the user can do something about, in one line; the command ends with status 2."""


class Parser(argparse.ArgumentParser):
    """Takes options, or the variables of make; says what is wrong with one in one line.

    Each option is a variable of the make target too, by its name in capitals: ``--out folder`` is
    ``OUT=folder``, and a flag as ``--force`` is ``FORCE=1``. The Makefile names the target in
    MAKE_TARGET and what was typed after it in MAKE_GIVEN; the values are in the environment.
    """

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self.examples: dict[str, str] = {}
        self.target = os.environ.pop("MAKE_TARGET", None)  # which is not for child processes
        _started.clear()

    def required(self, name: str, example: str, **settings: object) -> None:
        """Add an argument that must be there, without an option, and an example of it."""
        self.add_argument(name, metavar=name.upper(), **settings)
        self.examples[name.upper()] = example

    def number(self, option: str, kind: type, low: float, high: float, **settings: object) -> None:
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

    def parse_args(self, args: Sequence[str] | None = None, *others: object) -> argparse.Namespace:
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
        options, others = [], []
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

    def error(self, message: str) -> None:
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


def make_parser(file: str, doc: str) -> Parser:
    """Return a parser that shows a command's docstring on --help, its examples last."""
    summary, _, examples = doc.partition("\n\n")
    return Parser(
        prog=Path(file).name,
        description=summary,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def entry(main: Callable[[Sequence[str] | None], int | None]) -> Callable[..., int]:
    """Let a command return its exit status, whatever ends it: at most one line of error."""
    name = Path(main.__code__.co_filename).name

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
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


def make_readable(path: Path) -> None:
    """Let everybody read a file or folder, where modes can be set.

    Windows drives and some network file systems refuse, and have one mode for all files.
    """
    with suppress(OSError):
        path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))


def copy_file(source: Path, copy: Path) -> None:
    """Copy a file into a folder that need not be there, its mode too where modes can be set."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, copy)
    with suppress(OSError):
        shutil.copymode(source, copy)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a new file's path; it takes the place of `path` once it is whole, or never."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-", suffix=path.suffix)
    os.close(handle)
    new = Path(name)
    try:
        yield new
        make_readable(new)
        new.replace(path)
    finally:
        if new.exists():
            new.unlink()


@contextmanager
def keeping_previous(path: Path, is_sample: bool) -> Iterator[None]:
    """Keep what is replaced meanwhile beside it, under the same name and ``.previous``.

    What is of the sample can be trained again at any time, and displaces nothing that is kept.
    """
    previous = path.with_name(f"{path.name}.previous")
    if path.exists() and not (is_sample and previous.exists()):
        with replacing(previous) as copy:
            shutil.copyfile(path, copy)
            yield
    else:
        yield


def require_writable(*paths: Path) -> None:
    """Raise UserError or OSError now if a file could not be written once the work is done."""
    for path in paths:
        folder = next(folder for folder in path.absolute().parents if folder.exists())
        try:
            if path.is_dir():
                raise IsADirectoryError(None, "Is a directory")
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from error


@contextmanager
def importing_compiled() -> Iterator[None]:
    """Hold a Ctrl-C back while src/ compiles on import: the compiler would swallow it.

    It takes two seconds, for which --help and bad options need not wait.
    """
    arrived = []
    before = signal.signal(signal.SIGINT, lambda *_: arrived.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if arrived:
        raise KeyboardInterrupt


def advise(error: Exception) -> str:
    """Return an artifact's line of error without the advice that only a cluster's log needs."""
    return str(error).replace(", then upload again", "")


def last_line(result: subprocess.CompletedProcess[str]) -> str:
    """Return what a failed process said last, which is mostly why."""
    lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
    return lines[-1]


def shorten(path: Path) -> str:
    """Return a path as seen from the current folder, if it lies below it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
