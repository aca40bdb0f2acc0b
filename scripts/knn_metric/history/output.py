"""The folder of scores: what may be replaced by it, and how blocks are scored into it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from joblib import cpu_count
from pyarrow import ArrowException
from pyarrow.parquet import read_schema
from tqdm import tqdm

from knn_metric.cli import UserError
from knn_metric.data.sources import LOCAL
from knn_metric.data.survey import SCORES
from knn_metric.data.validation import Block, Piece, Wanted
from knn_metric.detection.surprise import FieldSurprise
from knn_metric.files import shorten
from knn_metric.history.scoring import Scored, Tally, score_block

if TYPE_CHECKING:
    from portable_knn import PortableKNN

PART = re.compile(r"part-\d{5,}\.parquet")


def require_replaceable(out: Path, picture: Path, overwrite: bool) -> None:
    """Raise UserError if a folder or its picture is there and may not be replaced.

    A folder that holds more than scores never may.
    """
    if not out.name:
        raise UserError(f"--out: {out} cannot be replaced")
    for path in (out, picture):
        if path.exists() and not overwrite:
            raise UserError(f"{shorten(path)} is there: --overwrite replaces it")
    if out.exists() and not (out.is_dir() and all(map(_is_ours, out.iterdir()))):
        raise UserError(f"{shorten(out)} holds more than scores: not replaced")


def _is_ours(path: Path) -> bool:
    """Tell whether a file or folder in an output is one that an earlier run put there."""
    if path.name == "rejected":
        return path.is_dir() and all(PART.fullmatch(part.name) for part in path.iterdir())
    try:
        return bool(PART.fullmatch(path.name)) and read_schema(path).names[-4:] == SCORES
    except (OSError, ArrowException):
        return False


def require_no_input_in(out: Path, blocks: Sequence[Block]) -> None:
    """Raise UserError if a folder that would be replaced holds a file that is read."""
    pieces = (piece for block in blocks for piece in block if isinstance(piece, Piece))
    inputs = {Path(piece.url.removeprefix(LOCAL)).resolve() for piece in pieces}
    if any(path.is_relative_to(out) for path in inputs):
        raise UserError(f"{shorten(out)} holds an input: not replaced")


class Engine(Protocol):
    """Where blocks are scored: in threads here, or on a cluster."""

    @property
    def n_places(self) -> int: ...  # blocks that are scored at once

    def submit(self, block: Block) -> Any: ...

    def wait(self, futures: Collection[Any]) -> Iterable[tuple[Any, Scored]]: ...


class Threads(AbstractContextManager[Any]):
    """Threads of this process."""

    n_places = cpu_count()

    def __init__(self, detector: PortableKNN, wanted: Wanted, rows: int) -> None:
        self.settings = (detector, FieldSurprise.of(detector)), wanted, rows
        self.pool = ThreadPoolExecutor(self.n_places)

    def submit(self, block: Block) -> Future[Scored]:
        return self.pool.submit(score_block, *self.settings, block)

    def wait(self, futures: Collection[Future[Scored]]) -> Iterator[tuple[Future[Scored], Scored]]:
        for future in wait(futures, return_when=FIRST_COMPLETED).done:
            yield future, future.result()

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)


def _score_all(engine: Engine, blocks: Iterable[Block]) -> Iterator[tuple[int, Scored]]:
    """Score blocks; yield each one's number and what came of it, in the order of completion.

    Only as many blocks are under way as keep all places busy, so that memory stays bounded.
    """
    unsent = enumerate(blocks)
    waiting: dict[Any, int] = {}
    n_more = 2 * engine.n_places
    while True:
        waiting |= {engine.submit(block): number for number, block in islice(unsent, n_more)}
        if not waiting:
            return
        done = list(engine.wait(waiting))
        for future, scored in done:
            yield waiting.pop(future), scored
        n_more = len(done)


def write_scores(engine: Engine, blocks: Iterable[Block], folder: Path, n_blocks: int) -> Tally:
    """Score all blocks into a folder; return what became of their rows.

    `n_blocks` is how many there are, as far as is known.
    """
    total, n_added = Tally(), 0
    waiting: dict[int, Tally] = {}  # for blocks before theirs
    with tqdm(total=n_blocks, desc="scoring", unit="block", disable=None) as bar:
        for number, scored in _score_all(engine, blocks):
            _write(folder, f"part-{number:05}.parquet", scored.scores)
            _write(folder / "rejected", f"part-{number:05}.parquet", scored.rejects)
            waiting[number] = scored.tally
            while n_added in waiting:
                total.add(waiting.pop(n_added))
                n_added += 1
            bar.total = max(n_blocks, number + 1)
            bar.update()
    return total


def _write(folder: Path, name: str, content: bytes) -> None:
    if content:
        try:
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        except OSError as error:
            raise UserError(f"the scores cannot be written: {error.strerror}") from error
