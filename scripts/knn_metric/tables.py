"""Tables as text: columns aligned, numbers to the right."""

from __future__ import annotations

from collections.abc import Sequence


def format_table(rows: Sequence[Sequence[str]], align: str = "<", gap: int = 2) -> str:
    """Align the cells of rows, the head first.

    Parameters
    ----------
    rows : sequence of sequence of str
        A short row leaves its last columns empty.
    align : str
        ``'<'`` or ``'>'`` for each column; all others are numbers, which stand to the right.
    gap : int
        Spaces between two columns.
    """
    n_columns = max(map(len, rows))
    cells = [[*row, *[""] * (n_columns - len(row))] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(n_columns)]
    sides = list(zip(align.ljust(n_columns, ">"), widths))
    lines = (
        (" " * gap).join(f"{cell:{side}{width}}" for cell, (side, width) in zip(row, sides))
        for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)


def format_fields(fields: dict[str, str]) -> str:
    """Write names and values beneath each other."""
    return format_table([[name, value] for name, value in fields.items()], "<<")
