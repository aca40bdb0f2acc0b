"""The days of a history, or its blocks where no row has a day: counts, and which are changed."""

import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from knn_metric.data.cells import DAY, NO_TIME
from knn_metric.detection.calibration import require_calibration
from knn_metric.detection.change import Bets, Evidence, find_alerts
from knn_metric.detection.surprise import FieldSurprise
from portable_knn import PortableKNN

SAMPLE = 1_000  # rows of a period that are tested, at most
NO_DAY = NO_TIME // DAY
# The first few multiples of it, modulo 1, are evenly spread however few they are: Knuth, D. E.
# (1998), The Art of Computer Programming 3, section 6.4.
GOLDEN = (5**0.5 - 1) / 2


class Period(NamedTuple):
    """The scored rows of a day or of a block."""

    scored: int
    alarms: int
    sample: np.ndarray  # (k, 2 + n_features): turn, score and fields of the rows that are tested

    def join(self, later: "Period") -> "Period":
        """Return the period of these and of later rows."""
        rows = np.concatenate([self.sample, later.sample])
        return Period(self.scored + later.scored, self.alarms + later.alarms, _take_sample(rows))


def _take_sample(rows: np.ndarray) -> np.ndarray:
    """Take the rows with the lowest turns, which stand in the first column."""
    return rows[np.sort(np.argsort(rows[:, 0], kind="stable")[:SAMPLE])]


def give_turns(files: pa.ChunkedArray, rows: pa.ChunkedArray) -> np.ndarray:
    """Return each row's turn to be in a sample, below 1; any lowest ones are evenly spread.

    Nothing but a row's place in its file counts, so that samples are the same however a history is
    divided. Files begin with different turns, since each may hold but one row.
    """
    encoded = files.combine_chunks().dictionary_encode()
    begins = [zlib.crc32(name.encode()) / 2**32 for name in encoded.dictionary.to_pylist()]
    turns: np.ndarray = (np.array(begins)[encoded.indices] + rows.to_numpy() * GOLDEN) % 1
    return turns


def part_by_day(times: np.ndarray, alarms: np.ndarray, rows: np.ndarray) -> dict[int, Period]:
    """Return the period of each day since 1970, that of rows without a time as `NO_DAY`."""
    days = times // DAY
    order = np.argsort(days, kind="stable")
    found, firsts = np.unique(days[order], return_index=True)
    parts = zip(found.tolist(), np.split(order, firsts[1:]), strict=True)
    return {
        day: Period(len(own), int(alarms[own].sum()), _take_sample(rows[own])) for day, own in parts
    }


def find_changes(detector: PortableKNN, periods: Mapping[str, Period]) -> dict[str, str]:
    """Test each period's sample on its own, all side by side.

    Of those that raise an alert return the field that has changed, '' where none has won its bets.
    """
    if not periods:
        return {}
    calibration = require_calibration(detector)
    bets = Bets.of(calibration)
    samples = [one.sample for one in periods.values()]
    values = np.concatenate(samples)[:, 1:]
    rows = values[:, 1:]
    surprises = FieldSurprise.of(detector).surprise(rows)
    exceeded = bets.exceeded(np.column_stack([values[:, 0], surprises]))
    keys = [row.tobytes() for row in rows + 0.0]  # one zero, not two
    sizes = np.array([len(one) for one in samples])
    steps, firsts = np.arange(sizes.max()), np.cumsum(sizes) - sizes
    turns = np.where(steps < sizes[:, None], firsts[:, None] + steps, -1).T
    evidence = Evidence(bets, calibration["window"], len(periods))
    alerts = find_alerts(evidence, exceeded, keys, turns, to_the_end=True)
    return {label: alerts[place][1] for place, label in enumerate(periods) if place in alerts}
