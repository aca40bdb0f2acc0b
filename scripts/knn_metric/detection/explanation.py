"""The explanation of one request's score, read from and written for a terminal."""

from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Any

import numpy as np

from knn_metric.cli import UserError
from knn_metric.detection.calibration import MEASURED, RARITIES, rank_fields, require_calibration
from knn_metric.detection.detectors import describe_detector
from knn_metric.detection.surprise import Expected, FieldSurprise
from knn_metric.tables import format_fields, format_table
from portable_knn import PortableKNN
from portable_knn.messages import read

Labels = Mapping[str, Mapping[str, int]]  # by field, the code of each category


def parse_row(texts: Sequence[str], features: Sequence[str], labels: Labels) -> list[float]:
    """Read the features of a request from texts of ``NAME=NUMBER``, a category by its name too."""
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
    """Return the score, then what each field should be by the others, the rarest first."""
    calibration = require_calibration(detector)
    (score,), threshold = detector.decision_function([row]).tolist(), float(detector.threshold_)
    (p_value,) = detector.p_value([score])
    is_alarm = score > threshold
    head = {
        "detector": describe_detector(detector),
        "score": f"{score!r}, {'alarm' if is_alarm else 'no alarm'} at threshold {threshold!r}",
        "p-value": f"{p_value:.2g} of the training rows have such a score or a higher one",
    }
    fields = FieldSurprise.of(detector)
    (ranks,) = rank_fields(calibration, fields.surprise(np.array([row])))
    expected = fields.expect(row)
    table = [["field", "value", "expected, by similar training rows", "how rare"]]
    for place in np.argsort(-ranks, kind="stable"):
        name, value = detector.feature_names_in_[place], row[place]
        codes = labels.get(name)
        if name in calibration["codes"]:
            should = _expect_code(expected[place], value, codes)
        else:
            should = _expect_number(expected[place])
        rare = _describe_rarity(int(ranks[place]), name, calibration)
        table.append([name, describe_value(value, codes), should, rare])
    return f"{format_fields(head)}\n\n{format_table(table, '<<<<')}"


def _expect_code(expected: Expected, value: float, codes: Mapping[str, int] | None) -> str:
    """Say what share of the nearest rows has a code, and which codes most of them have."""
    known, places = np.unique(expected.values, return_inverse=True)
    shares = np.bincount(places, expected.counts) / expected.counts.sum()
    own = shares[known == value].sum()
    frequent = np.argsort(-shares, kind="stable")[:2]
    names = [f"{describe_value(known[one], codes)} ({shares[one]:.0%})" for one in frequent]
    return f"{own:.0%} have it; most: {', '.join(names)}"


def _expect_number(expected: Expected) -> str:
    low, high = expected.values.min(), expected.values.max()
    mean = np.average(expected.values, weights=expected.counts)
    return f"{mean:.6g} on average, {low:.6g} to {high:.6g}"


def _describe_rarity(exceeded: int, name: str, calibration: Mapping[str, Any]) -> str:
    """Say how rare a surprise is that exceeds so many of the field's `rarities`."""
    if not exceeded:
        return "usual"
    if exceeded < len(calibration["rarities"][name]):
        return f"rarer than {100 * (1 - RARITIES[exceeded - 1]):.6g}%"
    step = -(-calibration["rows"] // MEASURED)
    return f"rarer than all {-(-calibration['rows'] // step):,}"


def describe_value(value: float, codes: Mapping[str, int] | None) -> str:
    """Put a number into words: ``'4 Private'``; one that is no code stays as it is."""
    if codes is None:
        return f"{value:.15g}"
    labels = [label for label, code in codes.items() if code == value] or ["unknown"]
    return f"{value:.15g} {shorten(', '.join(labels), 32, placeholder=' ...')}"
