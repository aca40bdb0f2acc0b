"""pyod's KNN detector, saved so that it loads everywhere and searched fast.

A plain dump of pyod's KNN holds scikit-learn's private tree objects and loads only where
scikit-learn, numpy and joblib match. What `PortableKNN` saves is plain Python values and ``.npy``
bytes; the search tree is built again on load, and a few rows are scored again to prove it.
"""

import hashlib
import io
import os
import pickle
import tempfile
import zlib

import numpy as np
from pyod.models.knn import KNN
from scipy.spatial import cKDTree

FORMAT = 1
N_CHECK_ROWS = 8
# An integer below it comes back from its float64 root: the root's own rounding, that of 1 / p and
# that of the power add up to a relative error under 6e-15 for p up to 16.
LARGEST_POWER = 2.0**46
# False where numpy takes roots with AVX-512: one in twenty differs from the C library's.
NUMPY_ROOTS_ARE_CS = all(np.arange(1.0, 1001.0) ** 0.2 == [pow(n, 0.2) for n in range(1, 1001)])
# Splitting at the middle is quicker for one of UCI's rows; leaf sizes of 16 and 24 measured alike.
TREE_OPTIONS = {"leafsize": 20, "balanced_tree": False}
MINKOWSKI_P = {
    "cityblock": 1,
    "l1": 1,
    "manhattan": 1,
    "euclidean": 2,
    "l2": 2,
    "chebyshev": np.inf,
}


class PortableKNN(KNN):
    """pyod's KNN with a portable pickle and a faster `decision_function`.

    Fitting is pyod's own, to the last bit. On integer-coded rows `decision_function` returns what
    pyod's does in the same environment, bit for bit as long as the p-th power of the score stays
    below 2**46 (for p = 5, a score below 588), and to a relative 1e-14 elsewhere.

    Parameters
    ----------
    contamination, n_neighbors, method, metric, p, n_jobs, ...
        As in `pyod.models.knn.KNN`, all of them. They must be plain values: `contamination` a
        number, `metric` ``'minkowski'`` with ``p >= 1`` or a name in `MINKOWSKI_P`, `metric_params`
        None.

    Attributes
    ----------
    decision_scores_, threshold_, labels_
        As in `pyod.models.knn.KNN`.
    feature_names_in_ : ndarray of str, shape (n_features,), dtype object
        Names of the columns of `X`, in order; absent when `fit` was given none.
    n_features_in_ : int
        Number of columns of `X`.
    training_source_ : str or None
        Where the training rows came from: ``'uci'``, ``'sample'`` or a file name.
    training_sha256_ : str or None
        SHA-256 of the file that the training rows came from, in hexadecimal.
    training_rows_ : ndarray, shape (n_samples, n_features)
        The rows that were fitted, in the smallest type that holds them exactly.
    search_tree_ : scipy.spatial.cKDTree
        The same rows, each once, in another order, and their columns too.
    check_rows_ : ndarray, shape (n_check, n_features), dtype float64
        Training rows spread evenly over the ranking by score.
    check_scores_ : ndarray, shape (n_check,), dtype float64
        The scores that pyod's own `decision_function` gave `check_rows_` after fitting.
    """

    def fit(self, X, y=None, feature_names=None, source=None, sha256=None):
        """Fit the detector as pyod does.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)
            Training rows, finite numbers.
        y : Ignored
            Not used, present for API consistency by convention.
        feature_names : sequence of str, length n_features, optional
            Names of the columns of `X`.
        source, sha256 : str, optional
            Origin of `X`, kept as `training_source_` and `training_sha256_`.

        Returns
        -------
        self : PortableKNN

        Raises
        ------
        ValueError
            If a parameter cannot be saved or searched, or `X` and `feature_names` do not fit.
        """
        self._require_portable_params()
        if feature_names is not None and len(feature_names) != np.shape(X)[1]:
            raise ValueError(f"got {len(feature_names)} feature names for {np.shape(X)[1]} columns")
        super().fit(X, y)
        self._index(np.asarray(X, dtype=np.float64))
        self._describe(feature_names, source, sha256)
        ranking = np.argsort(self.decision_scores_, kind="mergesort")
        spread = np.linspace(0, len(ranking) - 1, N_CHECK_ROWS).astype(int)
        self.check_rows_ = self.training_rows_[ranking[spread]].astype(np.float64)
        self.check_scores_ = super().decision_function(self.check_rows_)
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
            If `X` has another shape or holds NaN or infinity.
        """
        if not hasattr(self, "search_tree_"):
            return super().decision_function(X)  # pyod's own "not fitted" error
        rows = self._require_rows(X).take(self._column_order, axis=1)
        ranks = list(range(1, min(self.n_neighbors, len(self._copies)) + 1))
        # By position: the last argument is n_jobs before scipy 1.6 and workers from then on.
        distances, points = self.search_tree_.query(
            rows, ranks, 0, self._minkowski_p(), np.inf, self.n_jobs or 1
        )
        distances = self._repeat_copies(self._round_as_numpy(distances), points)
        return self._get_dist_by_method(distances).ravel()

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
        path = os.path.abspath(path)
        # The bytes that joblib.dump(compress="zlib") gives an object that holds no arrays.
        content = zlib.compress(pickle.dumps(self, protocol=4), 9)
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp's 0600 would lock out the unprivileged user that 3.x images run as.
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise

    def __getstate__(self):
        """Return plain Python values and ``.npy`` bytes only."""
        content = {"format": FORMAT, "params": self._require_portable_params()}
        if hasattr(self, "search_tree_"):
            scores, codes = np.unique(self.decision_scores_, return_inverse=True)
            names = getattr(self, "feature_names_in_", None)
            content.update(
                training_rows=_to_npy(self.training_rows_),
                scores=scores.tolist(),
                score_codes=_to_npy(codes),
                threshold=float(self.threshold_),
                score_mean=float(self._mu),
                score_deviation=float(self._sigma),
                n_classes=int(self._classes),
                feature_names=None if names is None else names.tolist(),
                source=self.training_source_,
                sha256=self.training_sha256_,
                check_rows=_to_npy(self.check_rows_),
                check_scores=self.check_scores_.tolist(),
            )
        return {"content": content, "digest": _digest(content)}

    def __setstate__(self, state):
        """Rebuild the detector, and refuse a state that is damaged or scores differently here."""
        content = state.get("content")
        if not isinstance(content, dict) or state.get("digest") != _digest(content):
            raise ValueError("the content is damaged: it does not match its digest")
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']} found, format {FORMAT} expected")
        self.__init__(**content["params"])
        if "training_rows" in content:
            self._restore(content)
            self._require_check_scores()

    def _restore(self, content):
        self._index(_from_npy(content["training_rows"]).astype(np.float64))
        self.decision_scores_ = np.array(content["scores"])[_from_npy(content["score_codes"])]
        self.threshold_ = np.float64(content["threshold"])
        self.labels_ = (self.decision_scores_ > self.threshold_).astype("int")
        self._mu = content["score_mean"]
        self._sigma = content["score_deviation"]
        self._classes = content["n_classes"]
        self._describe(content["feature_names"], content["source"], content["sha256"])
        self.check_rows_ = _from_npy(content["check_rows"]).astype(np.float64)
        self.check_scores_ = np.array(content["check_scores"])

    def _index(self, rows):
        """Build the search tree so that one query is quick; the distances are the same.

        Columns that vary most come first, since a row is given up as soon as its distance is too
        large. Equal rows are one point. Points lie in the order of the leaves, so that a leaf's
        are neighbours in memory.
        """
        self.n_features_in_ = rows.shape[1]
        self.training_rows_ = _shrink(rows)
        self._column_order = np.argsort(-rows.var(axis=0), kind="mergesort")
        points, copies = np.unique(rows[:, self._column_order], axis=0, return_counts=True)
        order = cKDTree(points, **TREE_OPTIONS).indices
        self._copies = copies[order]
        self.search_tree_ = cKDTree(points[order], **TREE_OPTIONS)

    def _repeat_copies(self, distances, points):
        """Count each point as often as its row was there, up to `n_neighbors` in all."""
        copies = self._copies.take(points)
        if len(points) == 1:  # one request is worth a shorter way
            return distances.repeat(copies[0], axis=1)[:, : self.n_neighbors]
        copies = copies.cumsum(axis=1)
        np.minimum(copies, self.n_neighbors, out=copies)
        copies[:, 1:] -= copies[:, :-1].copy()
        return distances.repeat(copies.ravel()).reshape(-1, self.n_neighbors)

    def _describe(self, feature_names, source, sha256):
        if feature_names is not None:
            self.feature_names_in_ = np.array(feature_names, dtype=object)
        elif hasattr(self, "feature_names_in_"):  # of an earlier fit
            del self.feature_names_in_
        self.training_source_ = source
        self.training_sha256_ = sha256

    def _minkowski_p(self):
        return self.p if self.metric == "minkowski" else MINKOWSKI_P[self.metric]

    def _round_as_numpy(self, distances):
        """Take the p-th root as scikit-learn does, with numpy, where the p-th power is an integer.

        cKDTree takes it with the C library. On processors with AVX-512, numpy 1.22 and later
        rounds about one root in twenty to the neighbouring float64. Elsewhere they agree.
        """
        p = self._minkowski_p()
        if p in (1, 2, np.inf) or NUMPY_ROOTS_ARE_CS:
            return distances
        powers = np.rint(distances**p)
        roots = powers ** (1.0 / p)
        recovered = np.abs(roots - distances) <= 2 * np.spacing(distances)
        return np.where(recovered & (powers < LARGEST_POWER), roots, distances)

    def _require_rows(self, X):
        rows = np.asarray(X, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.n_features_in_ or not len(rows):
            raise ValueError(
                f"expected rows of shape (n, {self.n_features_in_}), n > 0, got {rows.shape}"
            )
        if not np.isfinite(rows).all():
            raise ValueError("expected finite numbers, got NaN or infinity")
        return rows

    def _require_portable_params(self):
        params = {name: _to_plain(value) for name, value in self.get_params().items()}
        for name, value in params.items():
            if not isinstance(value, (bool, int, float, str, type(None))):
                raise ValueError(f"{name} must be a plain value to be saved, got {value!r}")
        if self.metric != "minkowski" and self.metric not in MINKOWSKI_P:
            names = ", ".join(["minkowski", *MINKOWSKI_P])
            raise ValueError(f"metric must be one of {names}, got {self.metric!r}")
        if self._minkowski_p() < 1:
            raise ValueError(f"p must be at least 1, got {self.p!r}")
        return params

    def _require_check_scores(self):
        scores = self.decision_function(self.check_rows_)
        wrong = ~np.isclose(scores, self.check_scores_, rtol=1e-9, atol=0)
        if wrong.any():
            first = int(np.argmax(wrong))
            raise ValueError(
                f"row {self.check_rows_[first].tolist()} scores {scores[first]!r} here, "
                f"{self.check_scores_[first]!r} where the detector was trained"
            )


def _digest(content):
    """Return the SHA-256 of plain values; their ASCII text is the same on every Python."""
    return hashlib.sha256(ascii(content).encode("ascii")).hexdigest()


def _to_plain(value):
    return value.item() if isinstance(value, np.generic) else value


def _shrink(array):
    """Return integers in the smallest type that holds them all, and other numbers as they are."""
    array = np.asarray(array)
    if (np.rint(array) == array).all() and np.abs(array).max() < 2**53:
        return array.astype(_smallest_integer_type(array.min(), array.max()))
    return array


def _to_npy(array):
    """Pack an array as ``.npy`` bytes, columns kept together: they compress better than rows."""
    buffer = io.BytesIO()
    np.save(buffer, np.asfortranarray(_shrink(array)), allow_pickle=False)
    return buffer.getvalue()


def _smallest_integer_type(low, high):
    for name in ("u1", "i1", "u2", "i2", "u4", "i4", "i8"):
        if np.iinfo(name).min <= low and high <= np.iinfo(name).max:
            return name


def _from_npy(content):
    return np.load(io.BytesIO(content), allow_pickle=False)
