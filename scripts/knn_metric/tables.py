"""Tables as text: columns aligned, numbers to the right."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest


def format_table(rows: Sequence[Sequence[str]], align: str = "<", gap: int = 2) -> str:
    """Align the cells of rows, the head first; a short row leaves its last columns empty.

    `align` has a letter for each column, ``'<'`` or ``'>'``; all others are numbers, on the right.
    """
    columns = list(zip_longest(*rows, fillvalue=""))
    aligned = (
        [f"{cell:{side}{max(map(len, column))}}" for cell in column]
        for column, side in zip(columns, align.ljust(len(columns), ">"))
    )
    return "\n".join((" " * gap).join(row).rstrip() for row in zip(*aligned))


def format_fields(fields: dict[str, str]) -> str:
    """Write names and values beneath each other."""
    return format_table([[name, value] for name, value in fields.items()], "<<")
