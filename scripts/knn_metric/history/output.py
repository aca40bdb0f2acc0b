"""The folder of scores: what may be replaced by it, and how blocks are written into it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pyarrow import ArrowException
from pyarrow.parquet import read_schema
from tqdm import tqdm

from knn_metric.cli import UserError
from knn_metric.data.readers import Block, Wanted, shorten_url
from knn_metric.files import shorten
from knn_metric.history.executor import Engine, score_blocks
from knn_metric.history.scoring import Tally

PART = re.compile(r"part-\d{5,}\.parquet")
SCORES = ["value", "alarm", "p_value", "top_feature"]  # the last columns of each part


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
    inputs = {Path(shorten_url(piece.url)).resolve() for block in blocks for piece in block}
    if any(path.is_relative_to(out) for path in inputs):
        raise UserError(f"{shorten(out)} holds an input: not replaced")


def write_scores(
    engine: Engine, wanted: Wanted, blocks: Sequence[Block], rows: int, folder: Path
) -> Tally:
    """Score all blocks into a folder; return what became of their rows."""
    total, n_added = Tally(), 0
    waiting: dict[int, Tally] = {}  # for blocks before theirs
    with tqdm(total=len(blocks), desc="scoring", unit="block", disable=None) as bar:
        for number, scored in score_blocks(engine, wanted, blocks, rows):
            name = f"part-{number:05}.parquet"
            try:
                _write(folder / name, scored.scores)
                _write(folder / "rejected" / name, scored.rejects)
            except OSError as error:
                raise UserError(f"the scores cannot be written: {error.strerror}") from error
            waiting[number] = scored.tally
            while n_added in waiting:
                total.add(waiting.pop(n_added))
                n_added += 1
            bar.update()
    return total


def _write(path: Path, content: bytes) -> None:
    if content:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
