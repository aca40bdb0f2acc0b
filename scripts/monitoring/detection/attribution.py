"""Which feature a score comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from monitoring.cli import UserError

if TYPE_CHECKING:
    from portable_knn import PortableKNN
    from portable_knn.index import NeighborIndex


class Attribution:
    """Attributes a detector's scores to features.

    The top feature of a score is the one without which it would be lowest: without it, the request
    would be most like the training rows.

    Parameters
    ----------
    detector : PortableKNN

    Raises
    ------
    UserError
        If a score is not the distance to one training row, as the mean of distances.
    """

    def __init__(self, detector: PortableKNN) -> None:
        if detector.method != "largest":
            raise UserError(
                f"scores by method {detector.method!r} cannot be attributed to features"
            )
        self.names: list[str] = detector.feature_names_in_.tolist()
        self._detector = detector
        self._indexes: list[NeighborIndex] = []

    def proportions(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return of which features the p-th power of each score is the sum.

        Parameters
        ----------
        rows : array-like, shape (n, n_features)

        Returns
        -------
        proportions : ndarray, shape (n, n_features), dtype float64
            Adding up to 1; all 0 of a score of 0.
        neighbors : ndarray, shape (n, n_features)
            The training rows to which the scores are the distances; of equally far ones, one.
        """
        detector = self._detector
        _, positions = detector.index_.nearest(rows, detector.n_neighbors, detector.n_jobs)
        neighbors = detector.training_rows_[positions[:, -1]]
        powers = np.abs(np.subtract(rows, neighbors, dtype=np.float64)) ** detector.p
        sums = powers.sum(axis=1, keepdims=True)
        return np.divide(powers, sums, out=np.zeros_like(powers), where=sums > 0), neighbors

    def scores_without(self, rows: np.ndarray) -> np.ndarray:
        """Score rows as if each feature in turn were not there.

        The score is then the distance to the k-th neighbor among the same training rows by all
        other features; it is never higher than with the feature. The first call lays out an index
        for each feature, which takes a second or so for each 10,000 training rows.

        Parameters
        ----------
        rows : array-like, shape (n, n_features)

        Returns
        -------
        ndarray, shape (n, n_features), dtype float64
            By the feature that is left out; all 0 if there is no other.
        """
        scores = np.zeros((len(rows), len(self.names)))
        if len(self.names) == 1:
            return scores
        k, n_jobs = self._detector.n_neighbors, self._detector.n_jobs
        for feature, index in enumerate(self._lay_out()):
            others = np.delete(rows, feature, axis=1)
            scores[:, feature] = index.nearest(others, k, n_jobs)[0][:, -1]
        return scores

    def _lay_out(self) -> list[NeighborIndex]:
        from portable_knn.index import NeighborIndex

        if not self._indexes:
            known = self._detector.training_rows_.astype(np.float64)
            self._indexes = [
                NeighborIndex(np.delete(known, feature, axis=1), self._detector.p)
                for feature in range(len(self.names))
            ]
        return self._indexes

    def top_features(self, rows: np.ndarray) -> list[str]:
        """Name the top feature of each score; of several equally good ones, the first."""
        return [self.names[place] for place in self.scores_without(rows).argmin(axis=1)]


class Excess(NamedTuple):
    """A feature that alarms come from more often than is usual.

    Attributes
    ----------
    feature : str
    requests : int
        Whose alarm comes from the feature.
    usual : float
        How many of as many healthy requests would.
    of : int
        Requests in all.
    """

    feature: str
    requests: int
    usual: float
    of: int

    def __str__(self) -> str:
        return f"{self.feature}: {self.requests:,} of {self.of:,} requests, {self.usual:,.0f} usual"


def find_excess(
    top_features: Iterable[str], requests: int, calibration: Mapping[str, object]
) -> Excess | None:
    """Find the feature that alarms come from most unusually often.

    Parameters
    ----------
    top_features : iterable of str
        Of each alarm.
    requests : int
        Requests in all, alarms among them.
    calibration : mapping
        Of the artifact: `rows` that were held out, and `top_features`, how many of them raise an
        alarm that comes from each feature.

    Returns
    -------
    Excess or None
        None if there is no alarm, or no feature exceeds what is usual.
    """
    counts = Counter(top_features)
    usual_counts: Mapping[str, int] = calibration["top_features"]  # type: ignore[assignment]
    rows: int = calibration["rows"]  # type: ignore[assignment]
    excesses = {}
    for feature, count in counts.items():
        usual = requests * (usual_counts.get(feature, 0) + 1) / (rows + 1)
        if count > usual:
            # How improbable so many are, if the usual proportion held (relative entropy).
            excess = Excess(feature, count, usual, requests)
            excesses[excess] = count * np.log(count / usual) - (count - usual)
    return max(excesses, key=excesses.__getitem__, default=None)
