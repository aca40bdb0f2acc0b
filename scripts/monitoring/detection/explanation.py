"""The explanation of one request's score, read from and written for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import TYPE_CHECKING

import numpy as np

from monitoring.cli import UserError
from monitoring.detection.attribution import Attribution
from monitoring.detection.detectors import describe_detector
from monitoring.tables import format_fields, format_table

if TYPE_CHECKING:
    from portable_knn import PortableKNN

Labels = Mapping[str, Mapping[str, int]]  # by field, the code of each category


def parse_row(texts: Sequence[str], features: Sequence[str], labels: Labels) -> list[float]:
    """Read the features of a request from texts of ``NAME=NUMBER``, a category by its name too.

    Raises
    ------
    UserError
        Names what is missing, unknown, given twice, or no number.
    """
    from portable_knn.messages import read

    pairs = [_parse_pair(pair, labels) for text in texts for pair in text.split()]
    names = [name for name, _ in pairs]
    unknown = [name for name in names if name not in features]
    if unknown:
        raise UserError(f"{', '.join(unknown)}: not one of {', '.join(features)}")
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        raise UserError(f"{twice} is given {names.count(twice)} times")
    try:
        return read(dict(pairs), features)
    except ValueError as error:
        raise UserError(str(error)) from error


def _parse_pair(text: str, labels: Labels) -> tuple[str, float]:
    name, _, value = text.partition("=")
    codes = labels.get(name, {})
    try:
        return name, float(codes.get(value, value))
    except ValueError:
        typed = [label for label in codes if " " not in label]
        expected = f"a number or one of {', '.join(typed)}" if typed else "NAME=NUMBER"
        raise UserError(f"expected {expected}, got {text!r}") from None


def format_explanation(detector: PortableKNN, row: Sequence[float], labels: Labels) -> str:
    """Return the score, then each feature: what the score would be without it, and its proportion.

    The features without which the score would be lowest come first.
    """
    attribution = Attribution(detector)
    rows = np.array([row], dtype=np.float64)
    score, threshold = float(detector.decision_function(rows)[0]), float(detector.threshold_)
    (without,) = attribution.scores_without(rows)
    (proportions,), (neighbor,) = attribution.proportions(rows)
    (p_value,) = detector.p_value([score])
    is_alarm = score > threshold
    head = {
        "detector": describe_detector(detector),
        "score": f"{score!r}, {'alarm' if is_alarm else 'no alarm'} at threshold {threshold!r}",
        "p-value": f"{p_value:.2g} of the training rows have such a score or a higher one",
    }
    table = [["feature", "score without", "", "proportion", "value", "value of neighbor"]]
    table[0][-1] += f" {detector.n_neighbors}"
    for place in np.lexsort((-proportions, without)):
        name = detector.feature_names_in_[place]
        values = (describe_value(one[place], labels.get(name)) for one in (row, neighbor))
        end = "no alarm" if is_alarm and without[place] <= threshold else ""
        cells = [name, f"{without[place]:.6g}", end, f"{proportions[place]:.1%}", *values]
        table.append(cells)
    return f"{format_fields(head)}\n\n{format_table(table, '<><><<')}"


def describe_value(value: float, codes: Mapping[str, int] | None) -> str:
    """Put a number into words: ``'4 Private'``; one that is no code stays as it is."""
    if codes is None:
        return f"{value:.15g}"
    labels = [label for label, code in codes.items() if code == value] or ["unknown"]
    return f"{value:.15g} {shorten(', '.join(labels), 32, placeholder=' ...')}"
