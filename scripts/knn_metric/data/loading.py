"""The rows that a name means: UCI's file, the sample, or files of the user's under the contract."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from knn_metric.cli import MOST_REJECTED, UserError
from knn_metric.contract import Contract
from knn_metric.data import census
from knn_metric.data.rows import Rows
from knn_metric.data.sources import opening
from knn_metric.data.survey import plan
from knn_metric.data.times import NO_TIME
from knn_metric.data.validation import read_rows

BLOCK = 100_000  # rows


def load_rows(
    data: Sequence[str],
    contract: Contract,
    most_rejected: float = MOST_REJECTED,
    time: str | None = None,
) -> Rows:
    """Read rows, downloading UCI's file if it is asked for and not there.

    `data` is ``'uci'`` for data/adult.data, ``'sample'`` for data/census_sample.csv, a file in
    UCI's format; or files, folders, globs and URLs of Parquet, CSV with a header, or JSON lines,
    whose columns are the contract's inputs. `most_rejected` is the proportion of rows that may be
    left out, `time` the column of times (default: the platform's, else the only one that has them).
    """
    of_census = [one for one in data if census.is_census(one)]
    if not of_census:
        return _read_table(data, contract, most_rejected, time)
    one, *others = data
    if others:
        raise UserError(f"{of_census[0]} is of the census, which is read alone")
    if time:
        raise UserError(f"--time={time}: {one} is of the census, which has no times")
    rows = census.load_census(one)
    if rows.names != contract.input_names:
        raise UserError(
            f"{one} is of the census, whose fields are {', '.join(rows.names)}; the contract has"
            f" {', '.join(contract.input_names)}: --data names rows with these"
        )
    return rows


def _read_table(
    data: Sequence[str], contract: Contract, most_rejected: float, time: str | None
) -> Rows:
    fields = contract.inputs
    for field in fields:
        if not field.is_number:
            raise UserError(
                f"input {field.name} is {field.shape} {field.type}, and a metric takes scalar"
                " numbers: leave it out of serving.yaml"
            )
    kinds = {field.name: np.dtype(field.numpy_type).name for field in fields}
    wanted, blocks = plan(data, kinds, [], BLOCK, time)
    parts = [part for block in blocks for part in read_rows(wanted, block, BLOCK)]
    values = np.concatenate([np.empty((0, len(fields))), *(part.values for part in parts)])
    times = np.concatenate([np.empty(0, np.int64), *(part.times for part in parts)])
    rejected = Counter(one for part in parts for one in part.rejected["reason"].to_pylist())
    n_rows = len(values) + rejected.total()
    if rejected.total() > most_rejected * n_rows:
        reasons = "; ".join(f"{reason} ({count:,})" for reason, count in rejected.most_common(3))
        raise UserError(
            f"{rejected.total():,} of {n_rows:,} rows of {', '.join(data)} cannot be used:"
            f" {reasons}; --most-rejected 1 allows as many"
        )
    if not len(values):
        raise UserError(f"{', '.join(data)}: no rows")
    urls = sorted({one.url for block in blocks for one in block})
    name = " ".join(census.name_path(Path(one)) or one for one in data)
    return Rows(
        names=contract.input_names,
        values=values,
        is_code=tuple(field.holds_codes for field in fields),
        types=tuple(kinds.values()),
        corruptions=census.CORRUPTIONS if contract.input_names == census.FEATURES else {},
        source=name if len(urls) == 1 else f"{name} ({len(urls)} files)",
        sha256=digest(urls),
        rejected=rejected,
        times=None if (times == NO_TIME).all() else times,
    )


def digest(urls: Sequence[str]) -> str:
    """Return the SHA-256 of a file; of several files, that of all of theirs one after the other."""
    digests = []
    for url in urls:
        with opening(url) as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    several = hashlib.sha256("".join(digests).encode("ascii"))
    return digests[0] if len(digests) == 1 else several.hexdigest()


def labels_of(names: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
    """Return what codes stand for by column, where the columns are those of a known source."""
    return census.LABELS if tuple(names) == census.FEATURES else {}
