"""Find the files that names mean: files, folders, globs and URLs."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from knn_metric.cli import UserError, show
from knn_metric.data.readers import kind_of


def find_files(inputs: Iterable[str]) -> list[str]:
    """Return the URLs of the files that are meant, those of a folder or glob in order of name.

    What else lies in a folder and might hold rows is named on standard error.
    """
    urls: list[str] = []
    for name in inputs:
        others: Counter[str] = Counter()
        try:
            filesystem, path = _resolve(name)
            found = _find(filesystem, path, others)
        except Exception as error:  # a driver's own may be anything, a missing one an ImportError
            raise UserError(f"{name}: {error}") from error
        endings = ", ".join(f"{count:,} {show(ending)}" for ending, count in sorted(others.items()))
        if not found:
            also = f", but {endings}" if others else ""
            raise UserError(f"{name}: no Parquet, CSV or JSON lines file{also}")
        if others:
            print(f"{name}: files that are not read: {endings}", file=sys.stderr)
        urls += map(filesystem.unstrip_protocol, found)
    return list(dict.fromkeys(urls))


def _resolve(name: str) -> tuple[Any, str]:
    """Return the file system of a name, and its path there; one of this machine comes first."""
    if os.path.lexists(name):
        return LocalFileSystem(), os.path.abspath(name)
    if "::" in name:
        raise ValueError("a chain of file systems is not read: unpack it first")
    return fsspec.url_to_fs(name)


def _find(filesystem: Any, path: str, others: Counter[str]) -> list[str]:
    """Return the data files at a path; count the others by their ending."""
    if filesystem.isfile(path):
        if not kind_of(path):
            raise ValueError("expected a name that ends in .parquet, .csv, .json or .jsonl")
        return [path]
    if filesystem.isdir(path):
        is_local = isinstance(filesystem, LocalFileSystem)
        names = _walk(path) if is_local else filesystem.find(path)
        below = len(path.rstrip("/")) + 1
        shown = [name for name in sorted(names) if not _is_hidden(name[below:])]
        others.update(map(_name_ending, (name for name in shown if not kind_of(name))))
        return [name for name in shown if kind_of(name)]
    if not fsspec.core.has_magic(path):
        raise FileNotFoundError("No such file or directory")
    found = []
    for one in sorted(filesystem.glob(path)):
        if filesystem.isfile(one) and not kind_of(one):
            others[_name_ending(one)] += 1
        else:
            found += _find(filesystem, one, others)
    return found


def _name_ending(path: str) -> str:
    return PurePosixPath(path).suffix or "no ending"


def _walk(path: str) -> Iterator[str]:
    """Yield the files below a folder of this machine, those behind links too."""
    for inside, folders, names in os.walk(path, onerror=_raise, followlinks=True):
        for name in folders:
            folder = Path(inside, name)
            if folder.is_symlink() and Path(inside).resolve().is_relative_to(folder.resolve()):
                raise ValueError(f"{folder} is a link to a folder that it lies in")
        yield from (str(Path(inside, name)) for name in names)


def _raise(error: OSError) -> None:
    raise error


def _is_hidden(path: str) -> bool:
    """Tell whether a file in a folder is none of the data: `_SUCCESS`, but not `_hs_year=2020`."""
    return any(part[0] in "._" and "=" not in part for part in path.split("/"))
