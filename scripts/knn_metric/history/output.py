"""The folder of scores: what may be replaced by it, and how blocks are scored into it."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from threading import Event

from joblib import cpu_count
from pyarrow import ArrowException
from pyarrow.parquet import read_schema
from tqdm import tqdm

from knn_metric.cli import UserError
from knn_metric.data.sources import LOCAL
from knn_metric.data.survey import SCORES
from knn_metric.data.validation import Block, Part, Wanted, read_rows, require_enough
from knn_metric.files import shorten
from knn_metric.history.scoring import AT_ONCE, Scored, Tally, prepare, score_block
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


def list_files(out: Path, blocks: Sequence[Block]) -> set[str]:
    """Return the files that are read; raise UserError if the folder to replace holds one."""
    files = {piece.url.removeprefix(LOCAL) for block in blocks for piece in block}
    if any(Path(name).resolve().is_relative_to(out) for name in files):
        raise UserError(f"{shorten(out)} holds an input: not replaced")
    return files


@contextmanager
def scoring_here(
    detector: PortableKNN, wanted: Wanted, blocks: Sequence[Block], rows: int
) -> Iterator[Iterator[tuple[int, Scored]]]:
    """Yield the number of each block and what came of it, scored in threads.

    Text whose rows are not counted is read by one thread, for others to score so many rows of it.
    """

    def divide() -> Iterator[Iterable[Part]]:
        for block in blocks:
            if block[0].last:
                yield read_rows(wanted, block, min(rows, AT_ONCE))
            else:
                yield from ([part] for part in read_rows(wanted, block, rows))

    loaded, is_over = prepare(detector), Event()
    pool = ThreadPoolExecutor(cpu_count())
    try:
        futures = (pool.submit(score_block, loaded, parts, is_over.is_set) for parts in divide())
        yield complete(futures, cpu_count())
    finally:
        is_over.set()
        pool.shutdown(cancel_futures=True)


def complete(
    futures: Iterator[Future[Scored]],
    n_places: int,
    patience: float | None = None,
    look: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, Scored]]:
    """Yield the number of each block and what came of it, in the order of completion.

    `futures` begin when they are taken, only as many as keep all places busy, so that memory stays
    bounded. If none is done for `patience` seconds, `look` raises the reason as a UserError.
    """
    unsent = enumerate(futures)
    waiting: dict[Future[Scored], int] = {}
    n_more = 2 * n_places
    while True:
        waiting |= {future: number for number, future in islice(unsent, n_more)}
        if not waiting:
            return
        done = wait(waiting, patience, FIRST_COMPLETED).done
        if not done:
            look()
        for future in done:
            yield waiting.pop(future), future.result()
        n_more = len(done)


def write_scores(scored: Iterable[tuple[int, Scored]], folder: Path, n_blocks: int) -> Tally:
    """Write what all blocks came to into a folder; return what became of their rows.

    `n_blocks` is how many there are, as far as is known.
    """
    total, n_added = Tally(), 0
    waiting: dict[int, Tally] = {}  # for blocks before theirs
    with tqdm(total=n_blocks, desc="scoring", unit="block", disable=None) as bar:
        for number, (tally, scores, rejects) in scored:
            try:
                for place, content in ((folder, scores), (folder / "rejected", rejects)):
                    if content:
                        place.mkdir(exist_ok=True)
                        (place / f"part-{number:05}.parquet").write_bytes(content)
            except OSError as error:
                raise UserError(f"the scores cannot be written: {error.strerror}") from error
            waiting[number] = tally
            while n_added in waiting:
                total.add(waiting.pop(n_added))
                n_added += 1
            bar.total = max(n_blocks, number + 1)
            bar.update()
    return total


def require_usable(total: Tally, data: Iterable[str], read: Collection[str], most: float) -> None:
    """Raise UserError if more than a proportion of the files or rows cannot be used, or no file."""
    refused = [*total.refused.values()]
    if refused and (len(refused) > most * len(read) or len(refused) == len(read)):
        more = f" (of {len(read):,} files {len(refused):,} cannot be read)" if refused[1:] else ""
        raise UserError(f"{refused[0]}{more}")
    require_enough(data, total.rejected, total.scored + total.copies, most)
