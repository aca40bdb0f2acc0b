"""Whole files and folders: written beside their place, and moved there once they are complete."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from knn_metric.cli import UserError

_FOLDER = Path(__file__).resolve().parent
# The repository; of an installed wheel, what it has of that.
ROOT = _FOLDER / "repository" if (_FOLDER / "repository").exists() else _FOLDER.parents[1]
ARTIFACT = "monitoring_model.joblib"


def artifact_path(folder: Path) -> Path:
    """Return where a package's artifact is."""
    return folder / ARTIFACT


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
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield a new file's path; it takes the place of `path` once it is complete, or never.

    Where `path` is a link, the file that it leads to is replaced.
    """
    path = path.resolve()
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
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder; it takes the place of `path` once it is complete, or never."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=path.parent, prefix=".tmp-"))
    old = new.with_name(f"{new.name}-old")
    try:
        yield new
        make_readable(new)
        if path.exists():
            path.rename(old)
        new.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for left in (old, new):
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def keeping_previous(path: Path) -> Iterator[None]:
    """Keep the file that is replaced meanwhile beside it, as the same name with ``.previous``."""
    if not path.exists():
        yield
        return
    with replacing_file(path.with_name(f"{path.name}.previous")) as copy:
        shutil.copyfile(path, copy)
        yield


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
