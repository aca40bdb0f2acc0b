"""pyod's KNN detector, saved so that it loads everywhere and searched fast.

A plain dump of pyod's KNN holds scikit-learn's private tree objects and loads only where
scikit-learn, numpy and joblib match. What `PortableKNN` saves is plain Python values and ``.npy``
bytes; the index is built again on load, and a few rows are scored again to prove it.
"""

import numpy as np
from pyod.models.knn import KNN

from portable_knn import artifact
from portable_knn.index import NeighborIndex

N_SELF_TEST_ROWS = 8
HIGHEST_P = 15  # above it the p-th power of a gap of 2**64, between int64s, overflows a float64


class PortableKNN(KNN):
    """pyod's KNN with a portable pickle, and a faster `fit` and `decision_function`.

    A score is the same float64 on every Python, alone or among others, and on every processor on
    which the C library takes roots alike (glibc rounds a few otherwise where there is no FMA).

    pyod's scores of the same rows are these to a relative 1e-14: numpy, with which pyod takes
    roots, rounds some in the last bit otherwise.

    A gap counts as none if its p-th power is below the smallest float64: below 1e-64 for p = 5.

    Parameters
    ----------
    contamination, n_neighbors, method, p, n_jobs, ...
        As in `pyod.models.knn.KNN`, all of them. They must be plain values: `contamination` a
        number, `metric` ``'minkowski'`` with `p` from 1 to 15, `metric_params` None. What only
        concerns scikit-learn's trees (`algorithm`, `leaf_size`, `radius`) has no effect.

    Attributes
    ----------
    decision_scores_, threshold_, labels_
        As in `pyod.models.knn.KNN`.
    feature_names_in_ : ndarray of str, shape (n_features,), dtype object
        Names of the columns of `X`, in order; absent when `fit` was given none.
    n_features_in_ : int
        Number of columns of `X`.
    origin_ : dict
        Where the training rows came from, as `fit` was given it; empty without.
    training_rows_ : ndarray, shape (n_samples, n_features)
        The rows that were fitted, in the smallest type that holds them exactly.
    index_ : index.NeighborIndex
        Those rows, laid out for the search.
    calibration_ : dict of plain values
        What is known of scores of healthy rows that were held out; empty until it is set.
    self_test_rows_ : ndarray, shape (8, n_features), dtype float64
        Training rows spread evenly over the ranking by score.
    self_test_scores_ : ndarray, shape (8,), dtype float64
        The scores that `decision_function` gave `self_test_rows_` after fitting.
    """

    __module__ = "portable_knn"  # by which every artifact names the class

    def fit(self, X, y=None, feature_names=None, origin=None):
        """Fit the detector: score each row by its neighbors besides itself, as pyod does.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)
            Training rows, finite numbers.
        y : Ignored
            As in pyod, which only warns that it is not used.
        feature_names : sequence of str, length n_features, optional
            Names of the columns of `X`.
        origin : dict of plain values, optional
            Where `X` came from, kept as `origin_`.

        Returns
        -------
        self : PortableKNN

        Raises
        ------
        ValueError
            If a parameter cannot be saved or searched, `X` and `feature_names` do not fit, or a
            distance is beyond float64.
        """
        self.portable_params()
        if np.iscomplexobj(X) or np.ma.is_masked(X):
            raise ValueError("expected real numbers, got complex or masked ones")
        rows = np.array(X, dtype=np.float64)
        self._require_fitting(rows, feature_names)
        self._set_n_classes(y)
        self.index(rows)
        # Each row is its own nearest neighbor, or an equal one is in its place.
        distances, _ = self.index_.nearest(rows, self.n_neighbors + 1, self.n_jobs)
        self.decision_scores_ = self._get_dist_by_method(distances[:, 1:]).copy()
        self._process_decision_scores()
        self.describe(feature_names, origin, {})
        ranking = np.argsort(self.decision_scores_, kind="mergesort")
        spread = np.linspace(0, len(ranking) - 1, N_SELF_TEST_ROWS).astype(int)
        self.self_test_rows_ = self.training_rows_[ranking[spread]].astype(np.float64)
        self.self_test_scores_ = self.decision_function(self.self_test_rows_)
        return self

    def decision_function(self, X):
        """Score rows by the distance to their nearest training rows.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)
            Finite numbers.

        Returns
        -------
        scores : ndarray, shape (n_samples,), dtype float64
            The higher, the more abnormal; from 0 up, in the units of the features.

        Raises
        ------
        ValueError
            If `X` has another shape or holds NaN or infinity, or a score is beyond float64.
        """
        self._require_fitted()
        distances, _ = self.index_.nearest(X, self.n_neighbors, self.n_jobs)
        return self._get_dist_by_method(distances)

    def p_value(self, scores):
        """Return how rare scores are among the training rows' own.

        Parameters
        ----------
        scores : array-like of float, shape (n,)

        Returns
        -------
        ndarray, shape (n,), dtype float64
            (1 + training scores at least as large) / (1 + training scores), up to 1; NaN of NaN.
        """
        self._require_fitted()
        known = np.sort(self.decision_scores_)
        at_least = len(known) - np.searchsorted(known, scores, side="left")
        return np.where(np.isnan(scores), np.nan, (1 + at_least) / (1 + len(known)))

    def save(self, path):
        """Write the detector to `path` as a file for `joblib.load`, complete or not at all.

        Parameters
        ----------
        path : str or path-like
            Replaced only once the new file is complete on disk.

        Raises
        ------
        OSError
            If the file cannot be written; what was at `path` is still there.
        """
        artifact.write(self, path)

    def __getstate__(self):
        return artifact.get_state(self)

    def __setstate__(self, state):
        artifact.set_state(self, state)

    def index(self, rows):
        """Lay out training rows for the search."""
        self.n_features_in_ = rows.shape[1]
        self.training_rows_ = artifact.shrink(rows)
        self.index_ = NeighborIndex(rows, self.p)

    def _get_dist_by_method(self, dist_arr):
        """Add distances up from the nearest on, as numpy's mean may not do everywhere."""
        if self.method == "mean":
            return np.cumsum(dist_arr, axis=1)[:, -1] / dist_arr.shape[1]
        return super()._get_dist_by_method(dist_arr)

    def describe(self, feature_names, origin, calibration):
        """Keep the names of the columns, where the rows came from, and the calibration."""
        if feature_names is not None:
            self.feature_names_in_ = np.array([str(name) for name in feature_names], dtype=object)
        elif hasattr(self, "feature_names_in_"):  # of an earlier fit
            del self.feature_names_in_
        self.origin_ = {name: artifact.to_plain(value) for name, value in (origin or {}).items()}
        self.calibration_ = calibration

    def _require_fitted(self):
        if not hasattr(self, "index_"):
            super().decision_function([])  # pyod's own error

    def portable_params(self):
        """Return the parameters; raise ValueError if one cannot be saved or searched."""
        params = {name: artifact.to_plain(value) for name, value in self.get_params().items()}
        for name, value in params.items():
            if not isinstance(value, (bool, int, float, str, type(None))):
                raise ValueError(f"{name} must be a plain value to be saved, got {value!r}")
        if self.metric != "minkowski":
            raise ValueError(f"metric must be minkowski, got {self.metric!r}")
        if not 1 <= self.p <= HIGHEST_P:
            raise ValueError(f"p must be from 1 to {HIGHEST_P}, got {self.p!r}")
        return params

    def _require_fitting(self, rows, feature_names):
        if rows.ndim != 2 or not np.isfinite(rows).all():
            raise ValueError(f"expected a table of finite numbers, got shape {rows.shape}")
        if not 1 <= self.n_neighbors < len(rows):
            raise ValueError(f"{len(rows)} rows are too few for {self.n_neighbors} neighbors")
        if feature_names is not None and len(feature_names) != rows.shape[1]:
            raise ValueError(f"got {len(feature_names)} feature names for {rows.shape[1]} columns")
