"""The rows that a name means: UCI's file, the sample, or files of the user's under the contract."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from knn_metric.cli import MOST_REJECTED, UserError
from knn_metric.contract import Contract, Field
from knn_metric.data import census
from knn_metric.data.cells import NO_TIME, PROBLEMS, read_numbers
from knn_metric.data.rows import SAMPLE, Rows, split
from knn_metric.data.sources import opening
from knn_metric.data.survey import plan
from knn_metric.data.validation import Part, read_rows
from knn_metric.files import shorten

if TYPE_CHECKING:
    from portable_knn import PortableKNN

BLOCK = 100_000  # rows


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
    of_census = [one for one in data if census.is_census(one)]
    if not of_census:
        return _read_table(data, contract, most_rejected, time, others)
    one, *more = data
    if more:
        raise UserError(f"{of_census[0]} is of the census, which is read alone")
    if time:
        raise UserError(f"--time={time}: {one} is of the census, which has no times")
    if others:
        names = ", ".join(field.name for field in others)
        raise UserError(f"{one} is of the census, which has no {names} for the target")
    rows = census.load_census(one)
    if rows.names != contract.input_names:
        raise UserError(
            f"{one} is of the census, whose fields are {', '.join(rows.names)}; the contract has"
            f" {', '.join(contract.input_names)}: --data names rows with these"
        )
    return rows


def _read_table(
    data: Sequence[str],
    contract: Contract,
    most_rejected: float,
    time: str | None,
    others: Sequence[Field],
) -> Rows:
    fields = contract.inputs
    for one in fields:
        if not one.is_number:
            raise UserError(
                f"input {one.name} is {one.shape} {one.type}, and a metric takes scalar"
                " numbers: leave it out of serving.yaml"
            )
    kinds = {one.name: np.dtype(one.numpy_type).name for one in fields}
    wanted, blocks = plan(data, kinds, [one.name for one in others], BLOCK, time)
    parts = [part for block in blocks for part in read_rows(wanted, block, BLOCK)]
    if not parts:
        raise UserError(f"{', '.join(data)}: no rows")
    part = Part.join(parts)
    rejected = Counter(part.rejected["reason"].to_pylist())
    columns: dict[str, np.ndarray] = {}
    if others:
        columns, problems = read_others(part.kept, others)
        rejected.update(problems[problems != ""].tolist())
        usable = problems == ""
        numbers = part.values[usable], part.times[usable]
        part = Part(part.kept, *numbers, part.rejected, part.copies)
    n_rows = len(part.values) + rejected.total()
    if rejected.total() > most_rejected * n_rows or rejected.total() == n_rows:
        reasons = "; ".join(f"{reason} ({count:,})" for reason, count in rejected.most_common(3))
        advice = "; --most-rejected 1 allows as many" if len(part.values) else ""
        raise UserError(
            f"{rejected.total():,} of {n_rows:,} rows of {', '.join(data)} cannot be used:"
            f" {reasons}{advice}"
        )
    n_untimed = int(np.sum(part.times == NO_TIME))
    if time and n_untimed == len(part.times):
        raise UserError(f"--time {time}: no cell of that column is a time")
    if wanted.time and n_untimed:
        print(f"{n_untimed:,} rows have no time in {wanted.time}", file=sys.stderr)
    if part.copies:
        print(f"{part.copies:,} requests stand twice, and count once", file=sys.stderr)
    pa.default_memory_pool().release_unused()  # as much as the rows take, or more
    urls = sorted({one.url for block in blocks for one in block})
    digests = [_digest(url) for url in urls]
    several = hashlib.sha256("".join(digests).encode("ascii"))
    name = " ".join(census.name_path(Path(one)) or one for one in data)
    return Rows(
        names=contract.input_names,
        values=part.values,
        is_code=tuple(one.holds_codes for one in fields),
        types=tuple(kinds.values()),
        corruptions=census.CORRUPTIONS if contract.input_names == census.FEATURES else {},
        source=name if len(urls) == 1 else f"{name} ({len(urls)} files)",
        sha256=digests[0] if len(digests) == 1 else several.hexdigest(),
        others=columns,
        rejected=rejected,
        times=None if n_untimed == len(part.times) else part.times,
    )


def read_others(
    table: pa.Table, fields: Sequence[Field]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return columns of usable rows in a contract's types; and of all rows what is wrong, or ''."""
    reasons, numbers = np.full(len(table), "", object), {}
    for field in fields:
        column = table.column(field.name)
        problems = column.is_null().to_numpy().astype(int)
        if field.numpy_type is not np.str_:
            numbers[field.name], problems = read_numbers(column, np.dtype(field.numpy_type))
        said = np.array([f"{field.name}: {problem}" for problem in PROBLEMS], object)[problems]
        reasons = np.where((reasons == "") & (problems > 0), said, reasons)
    usable = reasons == ""

    def convert(field: Field) -> np.ndarray:
        column = table.column(field.name).filter(pa.array(usable))
        if field.numpy_type is np.str_:
            return np.array(column.cast(pa.string()).to_pylist(), np.str_)
        read: np.ndarray = numbers[field.name][usable].astype(field.numpy_type)
        with suppress(pa.ArrowException):  # integers beyond what a float64 holds exactly
            read = column.cast(pa.from_numpy_dtype(field.numpy_type)).to_numpy()
        return read

    return {field.name: convert(field) for field in fields}, reasons


def _digest(url: str) -> str:
    with opening(url) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def labels_of(names: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
    """Return what codes stand for by column, where the columns are those of a known source."""
    return census.LABELS if tuple(names) == census.FEATURES else {}


def require_replaceable(artifact: Path, old: str | None, new: str) -> None:
    """Raise UserError if an artifact of another source would be replaced by one of the sample."""
    if new == SAMPLE and old not in (None, SAMPLE):
        raise UserError(
            f"{shorten(artifact)} is trained on {old}, and the sample would replace it:"
            " --force does, and keeps it beside the new one"
        )


def hold_out(rows: Rows, origin: dict[str, Any]) -> Rows:
    """Leave out the rows that a model of that origin was trained on, if they are of its source."""
    is_known = rows.sha256 == origin.get("sha256")
    return split(rows, origin["test_size"], origin["seed"])[1] if is_known else rows


def describe_traffic(rows: Rows, detector: PortableKNN) -> str:
    """Say how many rows there are, and how many are equal to a training row."""
    training = set(map(tuple, detector.training_rows_.tolist()))
    known = sum(tuple(row) in training for row in rows.values.tolist())
    held_out = " held out by training" if rows.sha256 == detector.origin_.get("sha256") else ""
    count = f"{len(rows):,} rows"
    return f"{rows.source}, {count}{held_out}, {known:,} of them equal to a training row"
