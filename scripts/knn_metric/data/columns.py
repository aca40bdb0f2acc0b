"""The type that holds a column of several files without loss."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from knn_metric.cli import UserError


def find_type(name: str, kinds: Iterable[tuple[str, pa.DataType]]) -> pa.DataType:
    """Return the type that holds a column of all files.

    Parameters
    ----------
    name : str
    kinds : iterable of (str, pyarrow.DataType)
        A file's name, and the type that the column has in it.

    Raises
    ------
    UserError
        Names two files whose types have none.
    """
    kind, first = pa.null(), ""
    for file, found in kinds:
        here = _plain(found)
        wider = _widen(kind, here)
        if wider is None:
            raise UserError(f"{name} cannot be kept: it is {kind} in {first} and {here} in {file}")
        first = first if pa.types.is_null(here) else first or file
        kind = wider
    return kind


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    return kind


def _widen(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return a type that holds every value of both, None if there is none."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    both = (one, other)
    if all(map(pa.types.is_integer, both)) or all(map(pa.types.is_floating, both)):
        wider = pa.from_numpy_dtype(np.promote_types(*(kind.to_pandas_dtype() for kind in both)))
        return wider if pa.types.is_integer(one) == pa.types.is_integer(wider) else None
    if pa.types.is_string(one) or pa.types.is_string(other):
        is_spelled = all(pa.types.is_string(kind) or pa.types.is_integer(kind) for kind in both)
        return pa.string() if is_spelled else None
    return None
