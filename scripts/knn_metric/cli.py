"""What every command shares: its parser, its errors in one line, its exit status."""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any, Callable, NoReturn, Sequence

# Exit statuses: what was looked for was found; it could not be told; as shells have signals.
FOUND, FAILED, INTERRUPTED, NO_READER = 1, 2, 130, 141
# Only files are drawn, whatever backend and cache of matplotlib's this machine is set up for.
os.environ["MPLBACKEND"] = "agg"
logging.getLogger("matplotlib").setLevel(logging.ERROR)
# Defaults of options: the split and the detector are those of the published figures.
PARAMS: dict[str, float] = {"n_neighbors": 15, "p": 5, "contamination": 0.05}
TEST_SIZE, SEED = 0.2, 0
SAMPLE = "sample"  # what --data calls the synthetic people
MOST_REJECTED = 0.05  # the proportion of unusable rows in data
PICTURES = (".png", ".pdf", ".svg")
REPORTS = Path("reports")


Arguments = argparse.Namespace


class UserError(Exception):
    """What the user can do something about, in one line; the command ends with status 2."""


class Parser(argparse.ArgumentParser):
    """Shows a docstring on --help, its examples last, and says in one line what is wrong.

    Options that several subcommands have are methods, so that each has one name and one meaning.
    """

    running = "knn-metric"

    def __init__(self, doc: str | None = None, **settings: Any) -> None:
        summary, _, rest = (doc or "").partition("\n\n")  # python -OO drops it
        settings = {"description": summary, "epilog": rest, **settings}
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(formatter_class=layout, allow_abbrev=False, **settings)
        self.examples: dict[str, str] = {}

    def required(self, name: str, example: str, **settings: Any) -> None:
        """Add an argument that must be there, and what can be typed after the subcommand."""
        if name.startswith("-"):
            settings["required"] = True
        else:
            settings.setdefault("metavar", name.upper())
        self.examples[name if name.startswith("-") else settings["metavar"]] = example
        self.add_argument(name, **settings)

    def target(self) -> None:
        what = "the model to watch, NAME:VERSION"
        self.required("target", "adult:1", type=reference, help=what)

    def package(self, **settings: Any) -> None:
        what = "where serving.yaml, src/ and the artifact are (default: the current folder)"
        settings = {"default": Path(), **settings}
        self.add_argument("--package", type=Path, metavar="FOLDER", help=what, **settings)

    def cluster(self) -> None:
        what = "of the platform (default: the one that hs has selected)"
        self.add_argument("--cluster", metavar="ADDRESS", help=what)

    def image(self) -> None:
        what = "of the runtime (default: serving.yaml's)"
        self.add_argument("--image", help=what)
        what = "accept a model trained on the sample or on few rows, for a trial"
        self.add_argument("--allow-sample", action="store_true", help=what)

    def data(self) -> None:
        what = "rows under the contract's names: files, folders, globs or URLs; or uci, or sample"
        self.add_argument(
            "--data", nargs="+", default=["uci"], metavar="PATH", help=f"{what} (default: uci)"
        )
        what = "proportion of rows that may be unusable"
        self.number("--most-rejected", float, 0, 1, default=MOST_REJECTED, help=what)

    def split(self) -> None:
        self.number("--seed", int, 0, 2**32 - 1, default=SEED, help="of the split")
        what = "proportion of held-out rows"
        self.number("--test-size", float, 0.0001, 0.9999, default=TEST_SIZE, help=what)
        what = "let the sample replace what is no sample"
        self.add_argument("--force", action="store_true", help=what)

    def time(self) -> None:
        what = "of the times (default: _hs_timestamp, else the only one that holds times)"
        self.add_argument("--time", metavar="COLUMN", help=what)

    def out(self, default: Path = REPORTS) -> None:
        what = f"where results go (default: {default})"
        self.add_argument("--out", type=Path, default=default, metavar="FOLDER", help=what)

    def report(self) -> None:
        what = "write the results as one HTML page, with its pictures, too"
        self.file("--report", (".html",), action="append", default=[], help=what)

    def file(self, option: str, endings: Sequence[str] = PICTURES, **settings: Any) -> None:
        """Add an option that takes the path of a file of some kind, usually a picture."""
        pattern = f"(?is).*[^/]({'|'.join(map(re.escape, endings))})"
        parse = matching(pattern, f"a name in {', '.join(endings)}", Path)
        self.add_argument(option, type=parse, metavar="FILE", **settings)

    def number(
        self, option: str, kind: type[float], low: float, high: float, **settings: Any
    ) -> None:
        """Add an option that takes a number from `low` to `high`, its default in the help."""

        def parse(text: str) -> float:
            value = kind(text)
            if not low <= value <= high:
                raise argparse.ArgumentTypeError(f"must be from {low:,} to {high:,}, got {text}")
            return value

        parse.__name__ = "number"
        settings.setdefault("metavar", "N")
        if "default" in settings:
            settings["help"] += " (default: %(default)s)"
        self.add_argument(option, type=parse, **settings)

    def parse_known_args(self, *arguments: Any, **settings: Any) -> Any:
        Parser.running = self.prog  # the subcommand's parser comes last
        return super().parse_known_args(*arguments, **settings)

    def error(self, message: str) -> NoReturn:
        missing = message.partition("arguments are required: ")[2].split(", ")[0]
        if missing in self.examples:
            message = f"{missing} is missing, as in `{self.prog} {self.examples[missing]}`"
        complain(message)
        sys.exit(FAILED)


def matching(pattern: str, expected: str, kind: Callable[[str], Any] = str) -> Callable[[str], Any]:
    """Return what takes an argument of some form for an option."""

    def parse(text: str) -> Any:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
        return kind(text)

    return parse


reference = matching(r"[^:=]+:\d+", "NAME:VERSION")


def complain(problem: str) -> None:
    """Say in one line on standard error what is wrong."""
    print(f"{Parser.running}: {show(problem)}", file=sys.stderr)


def show(text: str) -> str:
    """Return a text from elsewhere as one line to print, without passwords of addresses.

    What is not printable is escaped here, and what the terminal's encoding lacks by its stream.
    """
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in hide_password(text))


def hide_password(text: str) -> str:
    # One that is not encoded may hold a slash; what is a port before a path is none.
    return re.sub(
        r"(?<=://)(?:[^/?#\s\"',]*|[^/?#\s:\[]+:(?!\d+(?:[/?#\"',]|$))\S{0,200})@", "***@", text
    )


def last_line(result: subprocess.CompletedProcess[str]) -> str:
    """Return what a failed process said last, which is mostly why."""
    lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
    return lines[-1]


def _prepare_streams() -> None:
    """Let every text be printed: escaped where the terminal cannot show it, lost where closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, io.StringIO())
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


_interrupts: list[int] = []


def _interrupt(number: int, _: object) -> None:
    _interrupts.append(number)
    raise KeyboardInterrupt


def _note_interrupts() -> None:
    """Let Ctrl-C end the command as usual, and be known where a library makes an error of it."""
    _interrupts.clear()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        with contextlib.suppress(ValueError):  # of another thread than the main one
            signal.signal(signal.SIGINT, _interrupt)


def entry(main: Callable[[Sequence[str] | None], int | None]) -> Callable[..., int]:
    """Let a command return its exit status, whatever ends it: at most one line of error."""

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        _prepare_streams()
        _note_interrupts()
        try:
            status = main(argv) or 0
            sys.stdout.flush()
            return status
        except KeyboardInterrupt:
            complain("interrupted")
            return INTERRUPTED
        except BrokenPipeError:
            # Python would try to write the rest once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return NO_READER
        except UserError as error:
            problem = str(error)
        except OSError as error:
            problem = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        except Exception as error:
            if _interrupts:
                complain("interrupted")
                return INTERRUPTED
            problem = _keep_traceback(error)
        complain(problem)
        return FAILED

    return run


def _keep_traceback(error: Exception) -> str:
    """Write what nobody foresaw to a file, and return a line that names it."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="knn-metric-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(traceback.format_exc())
    line = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return f"a fault of this program, {line}; please report {file.name}"
