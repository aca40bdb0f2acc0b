"""Which files are meant by names of files, folders, globs and URLs, and how they are opened."""

import lzma
import os
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
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

from knn_metric.cli import UserError, hide_password, show

KINDS = {".parquet": "parquet", ".parq": "parquet", ".pq": "parquet", ".csv": "csv"}
KINDS |= dict.fromkeys((".json", ".jsonl", ".ndjson"), "json")
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
LOCAL = "file://"
NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"  # stands for null
HIDDEN = re.compile(r"(^|/)[._][^/=]*(/|$)")
LOGS = ("_delta_log", ".hoodie")  # of tables of Delta Lake and Hudi
# What reading and decompression raise.
DAMAGED = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, pa.ArrowException)
WEB = ("http://", "https://")
PATIENCE = 20  # seconds, for a web server to answer and between two parts of its answer


def kind_of(url: str) -> str | None:
    """Return the format that a file's name tells, compressed or not; None for any other."""
    name = PurePosixPath(url).name.lower()
    stem, dot, ending = name.rpartition(".")
    if f".{ending}" in COMPRESSED and infer_compression(name) in compr:
        _, dot, ending = stem.rpartition(".")
    return KINDS.get(f"{dot}{ending}")


def name_of(url: str) -> str:
    """Return a file's name to show and to keep beside its rows: text, and without a password."""
    path = url.removeprefix(LOCAL).encode("utf-8", "surrogateescape")
    return hide_password(path.decode("utf-8", "backslashreplace"))


def partitions_of(url: str) -> dict[str, str | None]:
    """Return the columns that a file's folders name, as in ``_hs_year=2020/_hs_month=5``."""
    parts = [part.split("=", 1) for part in url.split("/")[:-1] if "=" in part]
    return {name: None if value == NO_PARTITION else unquote(value) for name, value in parts}


@contextmanager
def opening(url: str) -> Iterator[BufferedIOBase]:
    """Open a file for reading; whatever is wrong with it ends as a UserError that names it."""
    compression = infer_compression(url) if url.lower().endswith(COMPRESSED) else None
    # Text is streamed, as a web server need not have parts of files; a size is not asked for then.
    is_streamed = url.startswith(WEB) and kind_of(url) != "parquet"
    settings = {"block_size": 0, "size": 1} if is_streamed else {}
    try:
        filesystem, path = _locate(url)
        packed = filesystem.open(path, "rb", **settings)
        with packed, compr[compression](packed, mode="rb") as file:
            yield file
    except Exception as error:
        # Workers of a cluster need not have what reads web servers, and its errors.
        if not (isinstance(error, DAMAGED) or type(error).__module__.startswith("aiohttp")):
            raise
        # Of whatever goes wrong with a web server, fsspec says that the file is not there.
        cause = (isinstance(error, OSError) and error.__cause__) or error
        problem = getattr(cause, "strerror", None) or f"{type(cause).__name__}: {cause}"
        raise UserError(f"{name_of(url)}: {' '.join(problem.split())}") from error


def _locate(name: str) -> tuple[Any, str]:
    """Return the file system and the path of a name; what lies on this machine comes first."""
    if name.startswith(LOCAL) or os.path.lexists(name):
        return LocalFileSystem(), os.path.abspath(name.removeprefix(LOCAL))
    if "::" in name:
        raise ValueError("a chain of file systems is not read: unpack it first")
    if name.startswith(WEB):
        from aiohttp import ClientTimeout

        timeout = ClientTimeout(None, sock_connect=PATIENCE, sock_read=PATIENCE)
        # A file's own compression is not the server's business, though some say that it is.
        client = {"timeout": timeout, "auto_decompress": False, "trust_env": True}
        return fsspec.filesystem("http", client_kwargs=client), name
    filesystem, path = fsspec.url_to_fs(name)
    return filesystem, path


def find_files(inputs: Iterable[str]) -> list[str]:
    """Return the URLs of the files that are meant, those of a folder or glob in order of name.

    What else lies in a folder and might hold rows is named on standard error. A file that several
    links lead to is meant once.
    """
    urls: dict[object, str] = {}
    for name in inputs:
        others: Counter[str] = Counter()
        try:
            filesystem, path = _locate(name)
            found = _find(filesystem, path, others)
            _require_no_table(filesystem, found)
        except Exception as error:  # a driver's own may be anything, a missing one an ImportError
            raise UserError(f"{name_of(name)}: {str(error) or type(error).__name__}") from error
        endings = ", ".join(f"{count:,} {show(ending)}" for ending, count in sorted(others.items()))
        if not found:
            also = f", but {endings}" if others else ""
            raise UserError(f"{name_of(name)}: no Parquet, CSV or JSON lines file{also}")
        if others:
            print(f"{name_of(name)}: files that are not read: {endings}", file=sys.stderr)
        for one in found:
            is_here = isinstance(filesystem, LocalFileSystem) and os.path.exists(one)
            url = filesystem.unstrip_protocol(one)
            urls.setdefault(os.stat(one)[1:3] if is_here else url, url)
    return list(urls.values())


def _find(filesystem: Any, path: str, others: Counter[str]) -> list[str]:
    """Return the data files at a path; count the others by their ending."""
    if (path.startswith(WEB) and kind_of(path)) or filesystem.isfile(path):
        if not kind_of(path):
            raise ValueError("expected a name that ends in .parquet, .csv, .json or .jsonl")
        return [path]
    is_glob = not filesystem.isdir(path)
    if is_glob and os.path.lexists(path):
        raise ValueError("expected a file or a folder, got a pipe, a device or a broken link")
    if is_glob and not fsspec.core.has_magic(path):
        raise FileNotFoundError("No such file or directory")
    names: list[str] = []
    for one in sorted(filesystem.glob(path)) if is_glob else [path]:
        if filesystem.isdir(one):
            is_here = isinstance(filesystem, LocalFileSystem)
            below = len(one.rstrip("/")) + 1
            inside = sorted(_walk(one) if is_here else filesystem.find(one))
            names += [name for name in inside if not HIDDEN.search(name[below:])]
        elif filesystem.isfile(one) or not filesystem.exists(one):
            names.append(one)
    others.update(PurePosixPath(name).suffix or "no ending" for name in names if not kind_of(name))
    return [name for name in names if kind_of(name)]


def _walk(path: str) -> Iterator[str]:
    """Yield the files below a folder of this machine, those behind links too, each folder once."""
    seen = set()
    for inside, folders, names in os.walk(path, onerror=_raise, followlinks=True):
        real = os.path.realpath(inside)
        folders.sort(key=lambda name: (os.path.islink(os.path.join(inside, name)), name))
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for one in (os.path.join(inside, name) for name in names):
            if os.path.isfile(one) or not os.path.exists(one):  # opening a pipe would wait
                yield one


def _raise(error: OSError) -> None:
    raise error


def _require_no_table(filesystem: Any, names: Iterable[str]) -> None:
    """Raise ValueError if files are of a table, some of which may hold rows that were deleted."""
    folders = {name.rpartition("/")[0] for name in names if not name.startswith(WEB)}
    tables = {re.sub("(/[^/]*=[^/]*)+$", "", folder) for folder in folders}
    for table in tables:
        for log in LOGS:
            if filesystem.exists(f"{table}/{log}"):
                raise ValueError(
                    f"a table, whose {log} says which files count: expected plain Parquet, as"
                    ' spark.read.format("delta").load(...).write.parquet(...) exports it'
                )
