"""The folder of scores: what may be replaced by it, and how blocks are scored into it."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Event
from typing import NamedTuple

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


def list_files(out: Path, blocks: Sequence[tuple[Piece, ...]]) -> set[str]:
    """Return the files that are read; raise UserError if the folder to replace holds one."""
    files = {piece.url.removeprefix(LOCAL) for block in blocks for piece in block}
    if any(Path(name).resolve().is_relative_to(out) for name in files):
        raise UserError(f"{shorten(out)} holds an input: not replaced")
    return files


class Engine(NamedTuple):
    """Where blocks are scored: in threads here, or on a cluster."""

    submit: Callable[[Block], Future[Scored]]
    n_places: int  # blocks that are scored at once
    patience: float | None = None  # seconds without a block that is done, to look for the reason
    look: Callable[[], None] = lambda: None  # raises it as a UserError


@contextmanager
def starting(
    scheduler: str | None, detector: PortableKNN, wanted: Wanted, rows: int
) -> Iterator[Engine]:
    """Start threads, or prepare the workers of a scheduler."""
    if scheduler:
        from knn_metric.history.cluster import connecting

        with connecting(scheduler, detector, wanted, rows) as engine:
            yield engine
        return
    loaded = detector, FieldSurprise.of(detector)
    is_over = Event()
    pool = ThreadPoolExecutor(cpu_count())
    score = partial(score_block, loaded, wanted, rows, is_over=is_over.is_set)
    try:
        yield Engine(partial(pool.submit, score), cpu_count())
    finally:
        is_over.set()
        pool.shutdown(cancel_futures=True)


def _score_all(engine: Engine, blocks: Iterable[Block]) -> Iterator[tuple[int, Scored]]:
    """Score blocks; yield each one's number and what came of it, in the order of completion.

    Only as many blocks are under way as keep all places busy, so that memory stays bounded.
    """
    unsent = enumerate(blocks)
    waiting: dict[Future[Scored], int] = {}
    n_more = 2 * engine.n_places
    while True:
        waiting |= {engine.submit(block): number for number, block in islice(unsent, n_more)}
        if not waiting:
            return
        done = wait(waiting, engine.patience, FIRST_COMPLETED).done
        if not done:
            engine.look()
        for future in done:
            yield waiting.pop(future), future.result()
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


def require_enough(total: Tally, read: Collection[str], most: float) -> None:
    """Raise UserError if more than a proportion of the files or rows is bad."""
    refused, n_rejected = [*total.refused.values()], total.rejected.total()
    if refused and (len(refused) > most * len(read) or len(refused) == len(read)):
        more = f" (of {len(read):,} files {len(refused):,} cannot be read)" if refused[1:] else ""
        raise UserError(f"{refused[0]}{more}")
    if n_rejected > most * total.rows:
        reason = total.rejected.most_common(1)[0][0]
        raise UserError(
            f"{n_rejected:,} of {total.rows:,} rows cannot be scored, most of them for {reason}:"
            f" --most-rejected {most:g} allows fewer"
        )


def _write(folder: Path, name: str, content: bytes) -> None:
    if content:
        try:
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        except OSError as error:
            raise UserError(f"the scores cannot be written: {error.strerror}") from error
