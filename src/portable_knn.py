"""pyod's KNN detector, saved so that it loads everywhere and searched fast.

A plain dump of pyod's KNN holds scikit-learn's private tree objects and loads only where
scikit-learn, numpy and joblib match. What `PortableKNN` saves is plain Python values and ``.npy``
bytes; the index is built again on load, and a few rows are scored again to prove it.
"""

import numpy as np
from pyod.models.knn import KNN

import persistence
from neighbors import NeighborIndex

FORMAT = 2
N_CHECK_ROWS = 8
HIGHEST_P = 16  # above it the p-th power of an int64 overflows a float64


class PortableKNN(KNN):
    """pyod's KNN with a portable pickle, and a faster `fit` and `decision_function`.

    A score is the same float64 on every Python, alone or among others, and on every processor on
    which the C library takes roots alike (glibc rounds a few otherwise where there is no FMA).

    pyod's own scores of the same rows may differ in their last bits, since pyod takes roots with
    numpy, which rounds one in twenty otherwise than the C library on processors with AVX-512 and
    none on others. Where the features are whole numbers and the p-th power of the score is below
    2**53 (for p = 5, a score below 1,552), the scores by `method` are

    - ``'largest'``: pyod's; with AVX-512, to one unit in the last place;
    - ``'median'``: pyod's; with AVX-512, to two units in the last place;
    - ``'mean'``: pyod's to a relative ``(n_neighbors + 1) * 2**-52``, which allows for every order
      in which `n_neighbors` distances can be added up, with AVX-512 or without.

    Elsewhere, as with fractions, they are pyod's to a relative ``1e-14 + n_neighbors * 2**-52``.

    Parameters
    ----------
    contamination, n_neighbors, method, p, n_jobs, ...
        As in `pyod.models.knn.KNN`, all of them. They must be plain values: `contamination` a
        number, `metric` ``'minkowski'`` with `p` from 1 to 16, `metric_params` None. What only
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
        Where the training rows came from, as `fit` was told; empty if it was not.
    measures_ : list or None
        By what `heterogeneous_distance` measures the columns, None if they count as they are.
    training_rows_ : ndarray, shape (n_samples, n_features)
        The rows that were fitted, in the smallest type that holds them exactly.
    index_ : neighbors.NeighborIndex
        The same rows, or their coordinates, laid out for the search.
    check_rows_ : ndarray, shape (n_check, n_features), dtype float64
        Training rows spread evenly over the ranking by score.
    check_scores_ : ndarray, shape (n_check,), dtype float64
        The scores that `decision_function` gave `check_rows_` after fitting.
    """

    def fit(self, X, y=None, feature_names=None, origin=None, measures=None):
        """Fit the detector: score each row by its neighbors besides itself, as pyod does.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)
            Training rows, finite numbers.
        y : Ignored
            Not used, present for API consistency by convention.
        feature_names : sequence of str, length n_features, optional
            Names of the columns of `X`.
        origin : dict of plain values, optional
            Where `X` came from, kept as `origin_`.
        measures : list, optional
            Of `heterogeneous_distance.learn_measures`, to search among the coordinates of `X`.

        Returns
        -------
        self : PortableKNN

        Raises
        ------
        ValueError
            If a parameter cannot be saved or searched, or `X` and `feature_names` do not fit.
        """
        self._require_portable_params()
        rows = np.array(X, dtype=np.float64)
        self._require_fitting(rows, feature_names, measures)
        self._set_n_classes(y)
        self._index(rows, measures)
        # Each row is its own nearest neighbor, or an equal one is in its place.
        distances, _ = self._search(rows, self.n_neighbors + 1)
        self.decision_scores_ = self._get_dist_by_method(distances[:, 1:]).copy()
        self._process_decision_scores()
        self._describe(feature_names, origin)
        ranking = np.argsort(self.decision_scores_, kind="mergesort")
        spread = np.linspace(0, len(ranking) - 1, N_CHECK_ROWS).astype(int)
        self.check_rows_ = self.training_rows_[ranking[spread]].astype(np.float64)
        self.check_scores_ = self.decision_function(self.check_rows_)
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
            The higher, the more abnormal; from 0 up, in the units of the features or coordinates.

        Raises
        ------
        ValueError
            If `X` has another shape or holds NaN or infinity.
        """
        self._require_fitted()
        distances, _ = self._search(X, self.n_neighbors)
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

    def explain(self, X):
        """Account for scores: of what features their p-th power is the sum.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features), or one row of shape (n_features,)
            Finite numbers.

        Returns
        -------
        shares : ndarray, same shape as `X`, dtype float64
            Of each feature in the p-th power of the score, adding up to 1; all 0 if the score is.
        neighbors : ndarray, same shape as `X`
            The training rows to which the scores are the distances; of equally far ones, one.

        Raises
        ------
        ValueError
            If `X` has another shape or holds NaN or infinity, or a score by `method` is not the
            distance to one row.
        """
        self._require_fitted()
        if self.method != "largest":
            raise ValueError(f"a score by method {self.method!r} is not the distance to one row")
        rows = np.atleast_2d(np.asarray(X, dtype=np.float64))
        _, positions = self._search(rows, self.n_neighbors)
        neighbors = self.training_rows_[positions[:, -1]]
        powers = np.abs(self._locate(rows) - self._locate(neighbors)) ** self.p
        sums = powers.sum(axis=1, keepdims=True)
        shares = np.divide(powers, sums, out=np.zeros_like(powers), where=sums > 0)
        return shares.reshape(np.shape(X)), neighbors.reshape(np.shape(X))

    def save(self, path):
        """Write the detector to `path` as a file for `joblib.load`, whole or not at all.

        Parameters
        ----------
        path : str or path-like
            Replaced only once the new file is complete on disk.

        Raises
        ------
        OSError
            If the file cannot be written; what was at `path` is still there.
        """
        persistence.write(self, path)

    def __getstate__(self):
        """Return plain Python values and ``.npy`` bytes only."""
        content = {"format": FORMAT, "params": self._require_portable_params()}
        if hasattr(self, "index_"):
            scores, codes = np.unique(self.decision_scores_, return_inverse=True)
            names = getattr(self, "feature_names_in_", None)
            content.update(
                training_rows=persistence.to_npy(self.training_rows_),
                scores=scores.tolist(),
                score_codes=persistence.to_npy(codes),
                threshold=float(self.threshold_),
                score_mean=float(self._mu),
                score_deviation=float(self._sigma),
                n_classes=int(self._classes),
                feature_names=None if names is None else names.tolist(),
                origin=self.origin_,
                check_rows=persistence.to_npy(self.check_rows_),
                check_scores=self.check_scores_.tolist(),
            )
            if self.measures_ is not None:
                content["measures"] = self.measures_
        return {"content": content, "digest": persistence.digest(content)}

    def __setstate__(self, state):
        """Rebuild the detector, and refuse a state that is damaged or scores differently here."""
        content = state.get("content")
        if not isinstance(content, dict) or state.get("digest") != persistence.digest(content):
            raise ValueError("the content is damaged: it does not match its digest")
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']} found, format {FORMAT} expected")
        self.__init__(**content["params"])
        if "training_rows" in content:
            self._restore(content)
            self._require_check_scores()

    def _restore(self, content):
        rows = persistence.from_npy(content["training_rows"]).astype(np.float64)
        self._index(rows, content.get("measures"))
        self.decision_scores_ = np.array(content["scores"])[
            persistence.from_npy(content["score_codes"])
        ]
        self.threshold_ = np.float64(content["threshold"])
        self.labels_ = (self.decision_scores_ > self.threshold_).astype("int")
        self._mu = content["score_mean"]
        self._sigma = content["score_deviation"]
        self._classes = content["n_classes"]
        self._describe(content["feature_names"], content["origin"])
        self.check_rows_ = persistence.from_npy(content["check_rows"]).astype(np.float64)
        self.check_scores_ = np.array(content["check_scores"])

    def _index(self, rows, measures):
        self.n_features_in_ = rows.shape[1]
        self.training_rows_ = persistence.shrink(rows)
        self.measures_ = measures
        self._locate = _as_they_are
        if measures is not None:
            from heterogeneous_distance import HeterogeneousDistance  # compiled on import

            self._locate = HeterogeneousDistance(measures).transform
        self.index_ = NeighborIndex(self._locate(rows), self.p)

    def _search(self, rows, k):
        return self.index_.nearest(self._locate(rows), k, self.n_jobs)

    def _get_dist_by_method(self, dist_arr):
        """Add distances up from the nearest on, as numpy's mean may not do everywhere."""
        if self.method == "mean":
            return np.cumsum(dist_arr, axis=1)[:, -1] / dist_arr.shape[1]
        return super()._get_dist_by_method(dist_arr)

    def _describe(self, feature_names, origin):
        if feature_names is not None:
            self.feature_names_in_ = np.array([str(name) for name in feature_names], dtype=object)
        elif hasattr(self, "feature_names_in_"):  # of an earlier fit
            del self.feature_names_in_
        self.origin_ = {name: persistence.to_plain(value) for name, value in (origin or {}).items()}

    def _require_fitted(self):
        if not hasattr(self, "index_"):
            super().decision_function([])  # pyod's own error

    def _require_portable_params(self):
        params = {name: persistence.to_plain(value) for name, value in self.get_params().items()}
        for name, value in params.items():
            if not isinstance(value, (bool, int, float, str, type(None))):
                raise ValueError(f"{name} must be a plain value to be saved, got {value!r}")
        if self.metric != "minkowski":
            raise ValueError(f"metric must be minkowski, got {self.metric!r}")
        if not 1 <= self.p <= HIGHEST_P:
            raise ValueError(f"p must be from 1 to {HIGHEST_P}, got {self.p!r}")
        return params

    def _require_fitting(self, rows, feature_names, measures):
        if rows.ndim != 2 or not np.isfinite(rows).all():
            raise ValueError(f"expected a table of finite numbers, got shape {rows.shape}")
        if not 1 <= self.n_neighbors < len(rows):
            raise ValueError(f"{len(rows)} rows are too few for {self.n_neighbors} neighbors")
        if feature_names is not None and len(feature_names) != rows.shape[1]:
            raise ValueError(f"got {len(feature_names)} feature names for {rows.shape[1]} columns")
        if measures is not None and len(measures) != rows.shape[1]:
            raise ValueError(f"got {len(measures)} measures for {rows.shape[1]} columns")
        if measures is not None and self.p != 2:
            raise ValueError(f"HVDM is Euclid's distance, p = 2, got p = {self.p!r}")

    def _require_check_scores(self):
        scores = self.decision_function(self.check_rows_)
        wrong = ~np.isclose(scores, self.check_scores_, rtol=1e-9, atol=0)
        if wrong.any():
            first = int(np.argmax(wrong))
            raise ValueError(
                f"row {self.check_rows_[first].tolist()} scores {scores[first]!r} here, "
                f"{self.check_scores_[first]!r} where the detector was trained"
            )


def load(path):
    """Load a detector that `PortableKNN.save` wrote; nothing in the file is run.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    PortableKNN
        With `feature_names_in_`, by which a request names its numbers.

    Raises
    ------
    RuntimeError
        In one line: the file, what is wrong with it, and what to do.
    """
    try:
        detector = persistence.read(path, PortableKNN)
        if not hasattr(detector, "feature_names_in_"):
            raise ValueError("it has no feature_names_in_")
        return detector
    except Exception as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise RuntimeError(
            f"cannot load {path} ({reason}): train it with `make train`, then upload again"
        ) from error


def _as_they_are(rows):
    return rows
