"""pyod's KNN detector, saved so that it loads everywhere and searched fast.

A plain dump of pyod's KNN holds scikit-learn's private tree objects and loads only where
scikit-learn, numpy and joblib match. What `PortableKNN` saves is plain Python values and ``.npy``
bytes; the index is built again on load, and a few rows are scored again to prove it.
"""

from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from pyod.models.knn import KNN

from portable_knn import artifact
from portable_knn.index import NeighborIndex, as_reals

Names = Optional[Sequence[str]]
Origin = Optional[Dict[str, Any]]
N_SELF_TEST_ROWS = 8
HIGHEST_P = 15  # above it the p-th power of a gap of 2**64, between int64s, overflows a float64


def load(path: artifact.AnyPath) -> "PortableKNN":
    """Load a detector that `PortableKNN.save` wrote, with names of its features; run nothing.

    Raises
    ------
    RuntimeError
        In one line: the file, what is wrong with it, and what to do.
    """
    try:
        detector: PortableKNN = artifact.read(path, PortableKNN)
        if not hasattr(detector, "feature_names_in_"):
            raise ValueError("it has no feature_names_in_")
        return detector
    except Exception as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise RuntimeError(
            f"cannot load {path} ({reason}): train it with `knn-metric train`, then upload again"
        ) from error


class PortableKNN(KNN):  # type: ignore[misc]  # pyod has no type hints
    """pyod's KNN with a portable pickle, and a faster `fit` and `decision_function`.

    A score is the same float64 on every Python, alone or among others, and on every processor on
    which the C library takes roots alike (glibc rounds a few otherwise where there is no FMA).
    pyod's scores are these to a relative 1e-14, since numpy rounds some roots otherwise. A gap
    counts as none if its p-th power is below the smallest float64: below 1e-64 for p = 5.

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

    def fit(
        self, X: Any, y: Any = None, feature_names: Names = None, origin: Origin = None
    ) -> "PortableKNN":
        """Fit the detector: score each row by its neighbors besides itself, as pyod does.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)
            Training rows, finite numbers.
        feature_names : sequence of str, length n_features, optional
            Names of the columns of `X`.
        origin : dict of plain values, optional
            Where `X` came from, kept as `origin_`.

        Raises
        ------
        ValueError
            If a parameter cannot be saved or searched, `X` and `feature_names` do not fit, or a
            distance is beyond float64.
        """
        self.portable_params()
        rows = as_reals(X).copy()
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

    def decision_function(self, X: Any) -> np.ndarray:
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
        return np.asarray(self._get_dist_by_method(distances))

    def p_value(self, scores: Any) -> np.ndarray:
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

    def save(self, path: artifact.AnyPath) -> None:
        """Write the detector to `path` as a file for `joblib.load`, complete or not at all."""
        artifact.write(path, self)

    def __getstate__(self) -> Dict[str, Any]:
        content: Dict[str, Any] = {"params": self.portable_params()}
        if hasattr(self, "index_"):
            scores, codes = np.unique(self.decision_scores_, return_inverse=True)
            names = getattr(self, "feature_names_in_", None)
            content.update(
                training_rows=artifact.to_npy(self.training_rows_),
                scores=scores.tolist(),
                score_codes=artifact.to_npy(codes),
                threshold=float(self.threshold_),
                score_mean=float(self._mu),
                score_deviation=float(self._sigma),
                n_classes=int(self._classes),
                feature_names=None if names is None else names.tolist(),
                origin=self.origin_,
                check_rows=artifact.to_npy(self.self_test_rows_),
                check_scores=self.self_test_scores_.tolist(),
            )
            if self.calibration_:
                content["calibration"] = self.calibration_
        return artifact.seal(content)

    def __setstate__(self, state: Dict[str, Any]) -> None:
        """Raise ValueError if a state is damaged or scores differently here."""
        content = artifact.unseal(state)
        if "measures" in content:
            raise ValueError("it was trained with encodings (HVDM) of an earlier version")
        super().__init__(**content["params"])
        if "training_rows" not in content:
            return
        self.index(artifact.from_npy(content["training_rows"]).astype(np.float64))
        scores = np.array(content["scores"])
        self.decision_scores_ = scores[artifact.from_npy(content["score_codes"])]
        self.threshold_ = np.float64(content["threshold"])
        self.labels_ = (self.decision_scores_ > self.threshold_).astype("int")
        self._mu = content["score_mean"]
        self._sigma = content["score_deviation"]
        self._classes = content["n_classes"]
        _require_names(content["feature_names"], self.n_features_in_)
        self.describe(content["feature_names"], content["origin"], content.get("calibration", {}))
        self.self_test_rows_ = artifact.from_npy(content["check_rows"]).astype(np.float64)
        self.self_test_scores_ = np.array(content["check_scores"])
        self._require_threshold()
        self._require_same_scores()

    def index(self, rows: np.ndarray) -> None:
        """Lay out training rows for the search."""
        self.n_features_in_ = rows.shape[1]
        self.training_rows_ = artifact.shrink(rows)
        self.index_ = NeighborIndex(rows, self.p)

    def _get_dist_by_method(self, dist_arr: np.ndarray) -> Any:
        """Add distances up from the nearest on, as numpy's mean may not do everywhere."""
        if self.method == "mean":
            return np.cumsum(dist_arr, axis=1)[:, -1] / dist_arr.shape[1]
        return super()._get_dist_by_method(dist_arr)

    def describe(self, feature_names: Names, origin: Origin, calibration: Dict[str, Any]) -> None:
        if feature_names is not None:
            self.feature_names_in_ = np.array([str(name) for name in feature_names], dtype=object)
        elif hasattr(self, "feature_names_in_"):  # of an earlier fit
            del self.feature_names_in_
        self.origin_ = {name: artifact.to_plain(value) for name, value in (origin or {}).items()}
        self.calibration_ = calibration

    def _require_fitted(self) -> None:
        if not hasattr(self, "index_"):
            super().decision_function([])  # pyod's own error

    def portable_params(self) -> Dict[str, Any]:
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

    def _require_fitting(self, rows: np.ndarray, feature_names: Names) -> None:
        if rows.ndim != 2 or not np.isfinite(rows).all():
            raise ValueError(f"expected a table of finite numbers, got shape {rows.shape}")
        if not 1 <= self.n_neighbors < len(rows):
            raise ValueError(f"{len(rows)} rows are too few for {self.n_neighbors} neighbors")
        if feature_names is not None and len(feature_names) != rows.shape[1]:
            raise ValueError(f"got {len(feature_names)} feature names for {rows.shape[1]} columns")

    def _require_threshold(self) -> None:
        """Hold the threshold to the quantile of the scores that the contamination says."""
        expected = np.percentile(self.decision_scores_, 100 * (1 - self.contamination))
        if not np.isclose(self.threshold_, expected, rtol=1e-9, atol=0):
            raise ValueError(f"threshold {self.threshold_!r}, expected {expected!r} of its scores")

    def _require_same_scores(self) -> None:
        scores = self.decision_function(self.self_test_rows_)
        wrong = ~np.isclose(scores, self.self_test_scores_, rtol=1e-9, atol=0)
        if wrong.any():
            first = int(np.argmax(wrong))
            raise ValueError(
                f"row {self.self_test_rows_[first].tolist()} scores {scores[first]!r} here, "
                f"{self.self_test_scores_[first]!r} where the detector was trained"
            )


def _require_names(names: Optional[List[str]], n_features: int) -> None:
    if names is None:
        return
    is_text = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not is_text or len(set(names)) != len(names) or len(names) != n_features:
        raise ValueError(f"expected {n_features} distinct feature names, got {names!r}")
