"""Whole files and folders: written beside their place, and moved there once they are complete.

Their modes are the umask's; what is uploaded is made readable for everybody.
"""

from __future__ import annotations

import ctypes
import fcntl
import glob
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from datetime import datetime, timezone
from pathlib import Path
from uuid import uuid4

from knn_metric.cli import SAMPLE, UserError

_FOLDER = Path(__file__).resolve().parent
# The repository; of an installed wheel, what it has of that.
ROOT = _FOLDER / "repository" if (_FOLDER / "repository").exists() else _FOLDER.parents[1]
ARTIFACT = "monitoring_model.joblib"
KEPT = 5  # artifacts that were replaced


def artifact_path(folder: Path) -> Path:
    """Return where a package's artifact is."""
    return folder / ARTIFACT


def make_readable(path: Path) -> None:
    """Let everybody read a file or folder, where modes can be set.

    Windows drives and some network file systems refuse, and have one mode for all files.
    """
    with suppress(OSError):
        path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))


def read_text(path: Path) -> str:
    """Read a text; raise UserError if it cannot be, or never ends, as a pipe may not."""
    try:
        if not (path.is_file() or path.is_dir()) and path.exists():
            raise OSError(None, "it is no regular file")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} cannot be read: byte {error.start} is not UTF-8") from error


def copy_file(source: Path, copy: Path) -> None:
    """Copy a file into a folder that need not be there, its mode too where modes can be set."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, copy)
    with suppress(OSError):
        shutil.copymode(source, copy)


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield a new file's path; it takes the place of `path` once it is complete, or never.

    Where `path` is a link, the file that it leads to is replaced.
    """
    path = path.resolve()
    with temporary(path, Path.touch) as new:
        yield new
        new.replace(path)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder; it takes the place of `path` once it is complete, or never.

    A UserError says that another process is about to replace it.
    """
    old = path.with_name(f".old-{path.name}")
    with temporary(path, Path.mkdir, is_alone=True) as new:
        if old.exists() and not path.exists():  # a run was killed between two renames
            old.rename(path)
        _remove(old)
        yield new
        if not path.exists():
            new.rename(path)
        elif not _exchange(new, path):
            path.rename(old)
            try:
                new.rename(path)
            except OSError:
                old.rename(path)
                raise
            _remove(old)


@contextmanager
def temporary(path: Path, make: Callable[[Path], None], is_alone: bool = False) -> Iterator[Path]:
    """Yield what is made beside `path`, and remove it afterwards, if it is still there.

    What killed runs left is removed first: nobody has a lock on it. With `is_alone`, what another
    process has a lock on is a UserError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beginning = f".tmp-{path.name[:100]}-"
    new = path.with_name(f"{beginning}{uuid4().hex}{path.suffix}")
    with ExitStack() as stack:
        with _locked(path.parent) if is_alone else nullcontext():
            for left in path.parent.glob(f"{glob.escape(beginning)}{'[0-9a-f]' * 32}*"):
                gone = suppress(FileNotFoundError, PermissionError)  # or another user's
                with gone, _locked(left, fcntl.LOCK_NB) as is_ours:
                    if is_ours:
                        _remove(left)
                    elif is_alone:
                        raise UserError(f"{shorten(path)} is being written by another process")
            stack.callback(_remove, new)
            while not new.exists():  # another run takes what has no lock yet for a killed one's
                with suppress(FileNotFoundError):
                    make(new)
                    stack.enter_context(_locked(new))
        yield new


@contextmanager
def _locked(path: Path, flags: int = 0) -> Iterator[bool]:
    """Lock what is there until the block, or this process, ends; yield whether it is locked."""
    handle = os.open(path, os.O_RDONLY)
    try:
        is_ours = False
        with suppress(OSError):  # of another's lock, or a network file system without any
            fcntl.flock(handle, fcntl.LOCK_EX | flags)
            is_ours = True
        yield is_ours
    finally:
        os.close(handle)


def _exchange(new: Path, path: Path) -> bool:
    """Let two folders change places in one step, if the system and its disk can."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and not rename(here, bytes(new), here, bytes(path), exchange)


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)


@contextmanager
def keeping_previous(path: Path) -> Iterator[None]:
    """Keep the file that is replaced meanwhile beside it, its name with the time at which it was.

    The newest `KEPT` are kept. Nobody else replaces it meanwhile: the folder is locked.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
        if not path.exists():
            yield
            return
        now = datetime.now(timezone.utc)
        copy = path.with_name(f"{path.name}.{now:%Y-%m-%dT%H%M%S.%fZ}")
        with replacing_file(copy) as new:
            shutil.copyfile(path, new)
        try:
            yield
        finally:
            if copy.read_bytes() == path.read_bytes():  # it was not replaced, or by the same
                copy.unlink()
        dated = sorted(path.parent.glob(f"{glob.escape(path.name)}.[0-9]*T*Z"))
        for old in dated[:-KEPT]:
            old.unlink(missing_ok=True)


def require_replaceable(artifact: Path, old: str | None, new: str) -> None:
    """Raise UserError if an artifact of another source would be replaced by one of the sample."""
    if new == SAMPLE and old not in (None, SAMPLE):
        raise UserError(
            f"{shorten(artifact)} is trained on {old}, and the sample would replace it:"
            " --force does, and keeps it beside the new one"
        )


def require_writable(*paths: Path, inputs: Iterable[str | Path] = ()) -> None:
    """Raise UserError now if a file could not be written once the work is done.

    Nor may it be one that is read, the same as another, or anything but a file.
    """
    known = {Path(name).resolve(): f"{name} is read" for name in inputs}
    for path in paths:
        folder = next(folder for folder in path.absolute().parents if folder.exists())
        try:
            if path.resolve() in known:
                raise UserError(f"{path} cannot be written: {known[path.resolve()]}")
            if path.is_dir():
                raise IsADirectoryError(None, "Is a directory")
            if path.exists() and not path.is_file():
                raise OSError(None, "Is no regular file")
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from error
        known[path.resolve()] = f"{path} is written too"


def command(words: str, package: Path) -> str:
    """Return what to type for a package: its folder is named where it is not the current one."""
    own = "" if package.resolve() == Path.cwd() else f" --package {shlex.quote(shorten(package))}"
    return f"`knn-metric {words}{own}`"


def shorten(path: Path) -> str:
    """Return a path as seen from the current folder, if it lies below it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
