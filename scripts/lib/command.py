"""What every command shares: its parser, its one way out, whole files, and the path to src/."""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
    """Says what is wrong with an option in one line, as all other errors are said."""

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: {message}\n")

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
        print(f"{name}: {problem}", file=sys.stderr)
        return 2

    return run


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a new file's path; it takes the place of `path` once it is whole, or never."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-", suffix=path.suffix)
    os.close(handle)
    new = Path(name)
    try:
        yield new
        new.chmod(0o644)
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
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if path.is_dir():
                raise IsADirectoryError(None, "Is a directory")
            tempfile.TemporaryFile(dir=path.parent).close()
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


def last_line(result: subprocess.CompletedProcess[str]) -> str:
    """Return what a failed process said last, which is mostly why."""
    lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
    return lines[-1]


def shorten(path: Path) -> str:
    """Return a path as seen from the current folder, if it lies below it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
