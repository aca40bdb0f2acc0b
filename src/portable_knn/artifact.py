"""A detector as a file that loads everywhere: plain Python values and ``.npy`` bytes, no code."""

import contextlib
import hashlib
import io
import os
import pickle
import tempfile
import zlib
from pathlib import Path

import numpy as np

FORMAT = 2


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
    from portable_knn.detector import PortableKNN  # which uses this module

    try:
        detector = read(path, PortableKNN)
        if not hasattr(detector, "feature_names_in_"):
            raise ValueError("it has no feature_names_in_")
        return detector
    except Exception as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise RuntimeError(
            f"cannot load {path} ({reason}): train it with `knn-metric train`, then upload again"
        ) from error


def write(value, path):
    """Write an object to `path` as a file for `joblib.load`, whole or not at all."""
    path = os.path.abspath(path)
    # The bytes that joblib.dump(compress="zlib") gives an object that holds no arrays.
    content = zlib.compress(pickle.dumps(value, protocol=4), 9)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".tmp-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp's 0600 would lock out the unprivileged user that 3.x images run as. Windows
        # drives and some network file systems refuse every mode, and have one for all files.
        with contextlib.suppress(OSError):
            os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read(path, kind):
    """Read an object of one kind that `write` wrote; nothing in the file is run."""
    content = Path(path).read_bytes()
    if content.startswith(b"x"):  # zlib's first byte, and no pickle's
        content = zlib.decompress(content)
    value = _Unpickler(io.BytesIO(content), kind).load()
    if not isinstance(value, kind):
        raise TypeError(f"expected a {kind.__name__}, got a {type(value).__name__}")
    return value


class _Unpickler(pickle.Unpickler):
    def __init__(self, file, kind):
        super().__init__(file)
        self.kind = kind

    def find_class(self, module, name):
        if (module, name) != (self.kind.__module__, self.kind.__name__):
            raise TypeError(f"expected a {self.kind.__name__}, got a {name}")
        return self.kind


def get_state(detector):
    """Return a detector as plain Python values and ``.npy`` bytes, with their digest."""
    content = {"format": FORMAT, "params": detector.portable_params()}
    if hasattr(detector, "index_"):
        scores, codes = np.unique(detector.decision_scores_, return_inverse=True)
        names = getattr(detector, "feature_names_in_", None)
        content.update(
            training_rows=to_npy(detector.training_rows_),
            scores=scores.tolist(),
            score_codes=to_npy(codes),
            threshold=float(detector.threshold_),
            score_mean=float(detector._mu),
            score_deviation=float(detector._sigma),
            n_classes=int(detector._classes),
            feature_names=None if names is None else names.tolist(),
            origin=detector.origin_,
            check_rows=to_npy(detector.self_test_rows_),
            check_scores=detector.self_test_scores_.tolist(),
        )
        if detector.calibration_:
            content["calibration"] = detector.calibration_
    return {"content": content, "digest": digest(content)}


def set_state(detector, state):
    """Rebuild a detector; raise ValueError if a state is damaged or scores differently here."""
    content = state.get("content")
    if not isinstance(content, dict) or state.get("digest") != digest(content):
        raise ValueError("the content is damaged: it does not match its digest")
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']} found, format {FORMAT} expected")
    if "measures" in content:
        raise ValueError("it was trained with encodings (HVDM) of an earlier version")
    detector.__init__(**content["params"])
    if "training_rows" not in content:
        return
    rows = from_npy(content["training_rows"]).astype(np.float64)
    detector.index(rows)
    detector.decision_scores_ = np.array(content["scores"])[from_npy(content["score_codes"])]
    detector.threshold_ = np.float64(content["threshold"])
    detector.labels_ = (detector.decision_scores_ > detector.threshold_).astype("int")
    detector._mu = content["score_mean"]
    detector._sigma = content["score_deviation"]
    detector._classes = content["n_classes"]
    calibration = content.get("calibration", {})
    _require_names(content["feature_names"], detector.n_features_in_)
    detector.describe(content["feature_names"], content["origin"], calibration)
    detector.self_test_rows_ = from_npy(content["check_rows"]).astype(np.float64)
    detector.self_test_scores_ = np.array(content["check_scores"])
    _require_threshold(detector)
    _require_same_scores(detector)


def _require_names(names, n_features):
    if names is None:
        return
    is_text = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not is_text or len(set(names)) != len(names) or len(names) != n_features:
        raise ValueError(f"expected {n_features} distinct feature names, got {names!r}")


def _require_threshold(detector):
    """Hold the threshold to the quantile of the scores that the contamination says."""
    expected = np.percentile(detector.decision_scores_, 100 * (1 - detector.contamination))
    if not np.isclose(detector.threshold_, expected, rtol=1e-9, atol=0):
        raise ValueError(f"threshold {detector.threshold_!r}, expected {expected!r} of its scores")


def _require_same_scores(detector):
    scores = detector.decision_function(detector.self_test_rows_)
    wrong = ~np.isclose(scores, detector.self_test_scores_, rtol=1e-9, atol=0)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(
            f"row {detector.self_test_rows_[first].tolist()} scores {scores[first]!r} here, "
            f"{detector.self_test_scores_[first]!r} where the detector was trained"
        )


def digest(content):
    """Return the SHA-256 of plain values; their ASCII text is the same on every Python."""
    return hashlib.sha256(ascii(content).encode("ascii")).hexdigest()


def to_plain(value):
    return value.item() if isinstance(value, np.generic) else value


def shrink(array):
    """Return integers in the smallest type that holds them all, and other numbers as they are."""
    array = np.asarray(array)
    if (np.rint(array) == array).all() and np.abs(array).max() < 2**53:
        return array.astype(_smallest_integer_type(array.min(), array.max()))
    return array


def to_npy(array):
    """Pack an array as ``.npy`` bytes, columns kept together: they compress better than rows."""
    buffer = io.BytesIO()
    np.save(buffer, np.asfortranarray(shrink(array)), allow_pickle=False)
    return buffer.getvalue()


def _smallest_integer_type(low, high):
    for name in ("u1", "i1", "u2", "i2", "u4", "i4", "i8"):
        if np.iinfo(name).min <= low and high <= np.iinfo(name).max:
            return name


def from_npy(content):
    return np.load(io.BytesIO(content), allow_pickle=False)
