"""Which files are meant by names of files, folders, globs and URLs, and how they are opened."""

from __future__ import annotations

import lzma
import os
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

import fsspec
import pyarrow as pa
from fsspec.compression import compr
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import infer_compression

from knn_metric.cli import UserError, show

KINDS = {".parquet": "parquet", ".parq": "parquet", ".pq": "parquet", ".csv": "csv"}
KINDS |= dict.fromkeys((".json", ".jsonl", ".ndjson"), "json")
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
LOCAL = "file://"
NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"  # stands for null
DELTA = "_delta_log"
DAMAGED = (zlib.error, lzma.LZMAError)  # what decompression raises beside OSError and EOFError


def kind_of(url: str) -> str | None:
    """Return the format that a file's name tells, compressed or not; None for any other."""
    name = PurePosixPath(url).name.lower()
    stem, dot, ending = name.rpartition(".")
    if f".{ending}" in COMPRESSED and infer_compression(name) in compr:
        _, dot, ending = stem.rpartition(".")
    return KINDS.get(f"{dot}{ending}")


def shorten_url(url: str) -> str:
    return url.removeprefix(LOCAL)


def partitions_of(url: str) -> dict[str, str | None]:
    """Return the columns that a file's folders name, as in ``_hs_year=2020/_hs_month=5``."""
    parts = [part.split("=", 1) for part in url.split("/")[:-1] if "=" in part]
    return {name: None if value == NO_PARTITION else unquote(value) for name, value in parts}


@contextmanager
def opening(url: str) -> Iterator[BufferedIOBase]:
    """Open a file for reading; whatever is wrong with it ends as a UserError that names it."""
    compression = infer_compression(url) if url.lower().endswith(COMPRESSED) else None
    try:
        opened = fsspec.core.OpenFile(LocalFileSystem(), shorten_url(url), compression=compression)
        if not url.startswith(LOCAL):  # where `::` parts one of fsspec's chains
            opened = fsspec.open(url, "rb", compression=compression)
        with opened as file:
            yield file
    except UserError:
        raise
    except (*DAMAGED, OSError, EOFError, ValueError, pa.ArrowException) as error:
        problem = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise UserError(f"{shorten_url(url)}: {' '.join(problem.split())}") from error


def find_files(inputs: Iterable[str]) -> list[str]:
    """Return the URLs of the files that are meant, those of a folder or glob in order of name.

    What else lies in a folder and might hold rows is named on standard error. A file that links
    lead to as well is meant once.
    """
    urls: dict[str, str] = {}
    for name in inputs:
        others: Counter[str] = Counter()
        try:
            if os.path.lexists(name):  # what lies on this machine comes first
                filesystem, path = LocalFileSystem(), os.path.abspath(name)
            elif "::" in name:
                raise ValueError("a chain of file systems is not read: unpack it first")
            else:
                filesystem, path = fsspec.url_to_fs(name)
            found = _find(filesystem, path, others)
        except Exception as error:  # a driver's own may be anything, a missing one an ImportError
            raise UserError(f"{name}: {error}") from error
        endings = ", ".join(f"{count:,} {show(ending)}" for ending, count in sorted(others.items()))
        if not found:
            also = f", but {endings}" if others else ""
            raise UserError(f"{name}: no Parquet, CSV or JSON lines file{also}")
        if others:
            print(f"{name}: files that are not read: {endings}", file=sys.stderr)
        is_local = isinstance(filesystem, LocalFileSystem)
        for one in found:
            url = filesystem.unstrip_protocol(one)
            urls.setdefault(os.path.realpath(one) if is_local else url, url)
    return list(urls.values())


def _find(filesystem: Any, path: str, others: Counter[str]) -> list[str]:
    """Return the data files at a path; count the others by their ending."""
    if filesystem.isfile(path):
        if not kind_of(path):
            raise ValueError("expected a name that ends in .parquet, .csv, .json or .jsonl")
        return [path]
    if filesystem.isdir(path):
        is_local = isinstance(filesystem, LocalFileSystem)
        below = len(path.rstrip("/")) + 1
        shown = []
        for name in sorted(_walk(path) if is_local else filesystem.find(path)):
            parts = name[below:].split("/")
            if DELTA in parts[:-1]:
                raise ValueError(
                    "a Delta table, whose log says which files count: expected plain Parquet, as"
                    ' spark.read.format("delta").load(...).write.parquet(...) exports it'
                )
            if not any(part[0] in "._" and "=" not in part for part in parts):
                shown.append(name)
        return _take(shown, others)
    if os.path.lexists(path):
        raise ValueError("expected a file or a folder, got a pipe, a device or a broken link")
    if not fsspec.core.has_magic(path):
        raise FileNotFoundError("No such file or directory")
    found = []
    for one in sorted(filesystem.glob(path)):
        is_file = filesystem.isfile(one)
        found += _take([one], others) if is_file else _find(filesystem, one, others)
    return found


def _take(names: Sequence[str], others: Counter[str]) -> list[str]:
    """Return which are data files; count the others by their ending."""
    others.update(PurePosixPath(name).suffix or "no ending" for name in names if not kind_of(name))
    return [name for name in names if kind_of(name)]


def _walk(path: str) -> Iterator[str]:
    """Yield the files below a folder of this machine, those behind links too, each folder once."""
    seen = {os.path.realpath(path)}
    for inside, folders, names in os.walk(path, onerror=_raise, followlinks=True):
        folders.sort(key=lambda name: (os.path.islink(os.path.join(inside, name)), name))
        real = {name: os.path.realpath(os.path.join(inside, name)) for name in folders}
        folders[:] = [name for name in folders if real[name] not in seen]
        seen.update(real.values())
        for one in (os.path.join(inside, name) for name in names):
            if os.path.isfile(one) or not os.path.exists(one):  # opening a pipe would wait
                yield one


def _raise(error: OSError) -> None:
    raise error
