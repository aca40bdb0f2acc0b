"""Rows of numbers under the contract's names, wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
class Rows:
    """Rows, and what their source knows of them.

    Attributes
    ----------
    names : tuple of str, length m
        Of the columns, in the contract's order.
    values : ndarray, shape (n, m), dtype float64
    is_code : tuple of bool, length m
        Which columns hold codes of categories.
    types : tuple of str, length m
        numpy's name of each column's type in the contract.
    source : str
        ``'uci'``, ``'sample'`` or the name of another file.
    sha256 : str
        Of the source, in hexadecimal.
    labels : mapping of str to mapping of str to int
        By column, the code of each category; only where the source knows.
    raw : mapping of str to ndarray of shape (n,)
        By column, the numbers that were encoded as its codes; only where the source has them.
    rejected : mapping of str to int
        By reason, how many rows of the source cannot be used, and are not among these.
    times : ndarray of int64, shape (n,), or None
        Epoch seconds, `NO_TIME` where a row has none; None if no row has one.
    is_published : bool
        Whether each row is a person's, split as the published figures are: one by one. Equal rows
        of others are copies of one, and stay together.
    """

    names: tuple[str, ...]
    values: np.ndarray
    is_code: tuple[bool, ...]
    types: tuple[str, ...]
    source: str
    sha256: str
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    raw: Mapping[str, np.ndarray] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    times: np.ndarray | None = None
    is_published: bool = False

    def __len__(self) -> int:
        return len(self.values)

    def take(self, positions: np.ndarray) -> Rows:
        """Return the rows at some positions, in their order."""
        raw = {name: column[positions] for name, column in self.raw.items()}
        times = None if self.times is None else self.times[positions]
        return replace(self, values=self.values[positions], raw=raw, times=times)

    def number_distinct(self) -> np.ndarray:
        """Number the distinct rows as they come; return the number of each row."""
        _, firsts, numbers = np.unique(self.values, axis=0, return_index=True, return_inverse=True)
        order = np.empty(len(firsts), np.int64)
        order[np.argsort(firsts)] = np.arange(len(firsts))
        return order[numbers.ravel()]

    def column(self, name: str) -> np.ndarray:
        return self.values[:, self.names.index(name)]
