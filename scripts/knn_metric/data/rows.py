"""Rows of numbers under the contract's names: what a name of data means, and how they are split."""

import hashlib
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.model_selection import train_test_split

from knn_metric.cli import MOST_REJECTED, SAMPLE, SEED, TEST_SIZE, UserError
from knn_metric.contract import Contract, Field
from knn_metric.data import census
from knn_metric.data.cells import NO_TIME, read_numbers
from knn_metric.data.sources import opening
from knn_metric.data.survey import BLOCK, plan
from knn_metric.data.validation import describe_problems, read_all, require_enough


@dataclass(frozen=True)
class Rows:
    """Rows, and what their source knows of them: n rows of m columns."""

    names: tuple[str, ...]  # in the contract's order
    values: np.ndarray  # (n, m), float64
    is_code: tuple[bool, ...]  # which columns hold codes of categories
    types: tuple[str, ...]  # numpy's name of each column's type in the contract
    source: str  # 'uci', 'sample' or the name of another file
    sha256: str  # of the source, in hexadecimal
    # By name, a way in which a pipeline of such rows breaks, as `corruptions` spells it, and what
    # it stands for in practice; only where the source knows.
    corruptions: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    # By column, the (n,) numbers that were encoded as its codes; only where the source has them.
    raw: Mapping[str, np.ndarray] = field(default_factory=dict)
    # By name, what a target takes beside the metric's inputs: (n,), in the type of its contract.
    others: Mapping[str, np.ndarray] = field(default_factory=dict)
    # Of each row, whether it lacks one of these, so that the target cannot be asked.
    lacking: np.ndarray | None = None
    # By reason, how many rows of the source cannot be used, and are not among these.
    rejected: Mapping[str, int] = field(default_factory=dict)
    # (n,), int64: epoch seconds, `NO_TIME` where a row has none; None if no row has one.
    times: np.ndarray | None = None
    # Whether each row is a person's, split as the published figures are: one by one. Equal rows of
    # others are copies of one, and stay together.
    is_published: bool = False

    def __len__(self) -> int:
        return len(self.values)

    def take(self, positions: np.ndarray) -> "Rows":
        """Return the rows at some positions, in their order."""
        raw = {name: column[positions] for name, column in self.raw.items()}
        others = {name: column[positions] for name, column in self.others.items()}
        taken = replace(self, values=self.values[positions], raw=raw, others=others)
        times = None if self.times is None else self.times[positions]
        lacking = None if self.lacking is None else self.lacking[positions]
        return replace(taken, times=times, lacking=lacking)

    def number_distinct(self) -> np.ndarray:
        """Number the distinct rows as they come; return the number of each row."""
        known: dict[bytes, int] = {}  # of one zero, not two
        return np.array([known.setdefault(row.tobytes(), len(known)) for row in self.values + 0.0])

    def column(self, name: str) -> np.ndarray:
        return self.values[:, self.names.index(name)]


def split(rows: Rows, test_size: float = TEST_SIZE, seed: int = SEED) -> tuple[Rows, Rows]:
    """Split rows at random into a training and a held-out part, whose size is rounded up.

    Equal rows come into the same, else held-out rows would be better known than new ones are. UCI's
    are split one by one, as Hydrosphere did.
    """
    numbers = np.arange(len(rows)) if rows.is_published else rows.number_distinct()
    n_distinct = int(numbers.max()) + 1 if len(rows) else 0
    try:
        parts = train_test_split(np.arange(n_distinct), test_size=test_size, random_state=seed)
    except ValueError as error:
        needed = f"expected some to train on and {test_size:.0%} to hold out"
        raise UserError(f"{n_distinct} different rows cannot be split: {needed}") from error
    ranks = np.empty(n_distinct, np.int64)
    ranks[np.concatenate(parts)] = np.arange(n_distinct)
    order = np.argsort(ranks[numbers], kind="stable")
    n_training = int(np.sum(ranks[numbers] < len(parts[0])))
    return rows.take(order[:n_training]), rows.take(order[n_training:])


def count_copies(rows: Rows) -> float:
    """Return how many times a row stands there, as the variance of a proportion counts them.

    Kish, L. (1965), Survey Sampling: the design effect of clusters of unequal size.
    """
    if rows.is_published:
        return 1.0
    counts = np.bincount(rows.number_distinct())
    return float(np.sum(counts.astype(float) ** 2) / len(rows))


def describe_origin(rows: Rows, test_size: float, seed: int) -> dict[str, Any]:
    """Describe the training part of a split, for an artifact to keep as `origin_`."""
    return {"source": rows.source, "sha256": rows.sha256, "test_size": test_size, "seed": seed}


def hold_out(rows: Rows, origin: dict[str, Any]) -> Rows:
    """Leave out the rows that a model of that origin was trained on, if they are of its source.

    Rows that lack what a target takes beside are left out after that, as training has them.
    """
    if rows.sha256 == origin.get("sha256"):
        rows = split(rows, origin["test_size"], origin["seed"])[1]
    return rows if rows.lacking is None else rows.take(np.flatnonzero(~rows.lacking))


def load_census(data: str) -> Rows:
    """Read UCI's file, the sample, or another file in UCI's format."""
    content, path = census.read_content(data)
    sha256 = hashlib.sha256(content).hexdigest()
    is_sample = census.SAMPLE_PATH.exists() and content == census.SAMPLE_PATH.read_bytes()
    usual = SAMPLE if is_sample else census.name_path(path)
    source = "uci" if sha256 == census.UCI_SHA256 else usual
    values, raw = census.encode(census.read(content, path), source)
    return Rows(
        names=census.FEATURES,
        values=values,
        is_code=census.IS_CODE,
        types=("int64",) * len(census.FEATURES),
        source=source,
        sha256=sha256,
        corruptions=census.CORRUPTIONS,
        raw=raw,
        is_published=True,
    )


def load_rows(
    data: Sequence[str],
    contract: Contract,
    most_rejected: float = MOST_REJECTED,
    time: str | None = None,
    others: Sequence[Field] = (),
) -> Rows:
    """Read rows, downloading UCI's file if it is asked for and not there.

    `data` is ``'uci'``, ``'sample'`` or a file in UCI's format; or files, folders, globs and URLs,
    whose columns are the contract's inputs. `most_rejected` is the proportion of rows that may be
    left out, `time` the column of times (default: the platform's, else the only one that has them),
    `others` what a target takes beside the contract's inputs.
    """
    names, needed = contract.input_names, ", ".join(field.name for field in others)
    unless = f"whose fields are {', '.join(census.FEATURES)}; the contract has {', '.join(names)}"
    refusals = {
        "which is read alone": len(data) > 1,
        f"which has no times for --time={time}": time,
        f"which has no {needed} for the target": others,
        f"{unless}: --data names rows with these": names != census.FEATURES,
    }
    for one in filter(census.is_census, data):
        for problem in (problem for problem, is_so in refusals.items() if is_so):
            raise UserError(f"{one} is of the census, {problem}")
        return load_census(one)
    contract.require_numbers()
    kinds = {one.name: np.dtype(one.numpy_type).name for one in contract.inputs}
    wanted, blocks = plan(data, kinds, [one.name for one in others], BLOCK, time)
    part = read_all(wanted, blocks, BLOCK)
    rejected, n_rows = Counter(part.rejected["reason"].to_pylist()), len(part.values)
    columns = [part.kept.column(wanted.kept.names.index(one.name)) for one in others]
    taken = [_take(column, one) for column, one in zip(columns, others, strict=True)]
    problems = np.column_stack([np.zeros(n_rows, np.int8), *(problem for _, problem in taken)])
    lacking = np.asarray(problems.any(axis=1))
    if lacking.any():
        rejected.update(describe_problems(["", *(one.name for one in others)], problems[lacking]))
    n_usable = int(np.sum(~lacking))
    require_enough(data, rejected, n_usable, most_rejected if n_usable else 0)
    n_untimed = int(np.sum(part.times == NO_TIME))
    wanted.require_times(n_rows - n_untimed, time)
    if wanted.time and 0 < n_untimed < n_rows:
        print(f"{n_untimed:,} rows have no time in {wanted.time}", file=sys.stderr)
    if part.copies:
        print(f"{part.copies:,} requests stand twice, and count once", file=sys.stderr)
    pa.default_memory_pool().release_unused()  # as much as the rows take, or more
    digests = []
    for url in sorted({one.url for block in blocks for one in block}):
        with opening(url) as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    several = hashlib.sha256("".join(digests).encode("ascii"))
    name = " ".join(census.name_path(Path(one)) or one for one in data)
    return Rows(
        names=names,
        values=part.values,
        is_code=tuple(one.holds_codes for one in contract.inputs),
        types=tuple(kinds.values()),
        corruptions=census.CORRUPTIONS if names == census.FEATURES else {},
        source=name if len(digests) == 1 else f"{name} ({len(digests)} files)",
        sha256=digests[0] if len(digests) == 1 else several.hexdigest(),
        others={one.name: column for one, (column, _) in zip(others, taken, strict=True)},
        lacking=lacking if lacking.any() else None,
        rejected=rejected,
        times=None if n_untimed == n_rows else part.times,
    )


def _take(column: pa.ChunkedArray, one: Field) -> tuple[np.ndarray, np.ndarray]:
    """Return a column as the type of its field has it, and what is wrong with each cell.

    No text is an empty text.
    """
    if one.numpy_type is np.str_:
        texts = column.cast(pa.string()).fill_null("").to_pylist()
        return np.array(texts, np.str_), np.zeros(len(texts), np.int8)
    numbers, problems = read_numbers(column, np.dtype(one.numpy_type))
    read: np.ndarray = np.where(problems > 0, 0, numbers).astype(one.numpy_type)
    with suppress(pa.ArrowException):  # integers beyond what a float64 holds exactly
        good = column.filter(pa.array(problems == 0))
        read[problems == 0] = good.cast(pa.from_numpy_dtype(one.numpy_type)).to_numpy()
    return read, problems
