"""PortableKNN: pyod's values, and an artifact that travels or refuses."""

import io
import os
import pickle
import pickletools
import zlib

from lib import census, origin

import joblib
import numpy as np
import pytest
from pyod.models.knn import KNN
from sklearn.base import clone

import persistence
import portable_knn
from portable_knn import PortableKNN

PARAMS = {"n_neighbors": 15, "p": 5, "contamination": 0.05}
ORIGIN = {"source": "sample", "sha256": "ab", "test_size": 0.2, "seed": 0}


@pytest.fixture(scope="module")
def parts(rows):
    return origin.split(rows, 0.2, 0)


@pytest.fixture(scope="module")
def pyod(parts):
    return KNN(**PARAMS).fit(parts[0])


@pytest.fixture(scope="module")
def detector(parts):
    names = census.FEATURES
    return PortableKNN(**PARAMS).fit(parts[0], feature_names=names, origin=ORIGIN)


def reload(detector):
    return pickle.loads(pickle.dumps(detector, protocol=4))


def tamper(detector, **changes):
    """Return the detector's state with some content changed and the digest made right again."""
    content = {**detector.__getstate__()["content"], **changes}
    return {"content": content, "digest": persistence.digest(content)}


# Where numpy takes roots with AVX-512, one in twenty is the neighboring float64 of the C library's.
NUMPY_ROOTS_ARE_CS = all(np.arange(1.0, 1001.0) ** 0.2 == [pow(n, 0.2) for n in range(1, 1001)])


def assert_pyods(scores, expected):
    if NUMPY_ROOTS_ARE_CS:
        np.testing.assert_array_equal(scores, expected)
    else:
        np.testing.assert_array_max_ulp(scores, expected, 1)


class TestValues:
    def test_fit_is_pyods(self, pyod, detector):
        assert_pyods(detector.decision_scores_, pyod.decision_scores_)
        assert detector.threshold_ == pytest.approx(pyod.threshold_, rel=1e-15)
        np.testing.assert_array_equal(
            detector.labels_, detector.decision_scores_ > detector.threshold_
        )

    @pytest.mark.parametrize("method", ["largest", "mean", "median"])
    def test_scores_are_pyods(self, rows, method):
        detector = PortableKNN(method=method, **PARAMS).fit(rows[:2000])
        pyod = KNN(method=method, **PARAMS).fit(rows[:2000])
        wild = np.random.default_rng(0).integers(-200, 200, size=(1000, 13))
        for batch in (rows[1500:4000], wild):
            assert_pyods(detector.decision_function(batch), pyod.decision_function(batch))

    @pytest.mark.parametrize("method", ["largest", "mean", "median"])
    def test_equal_rows_count_each(self, method):
        """Fewer distinct rows than neighbors, and one of them many times."""
        rows = np.array([[0, 0]] * 30 + [[1, 1]] * 3 + [[9, 0]])
        params = {"n_neighbors": 15, "p": 5, "method": method}
        detector, pyod = PortableKNN(**params).fit(rows), KNN(**params).fit(rows)
        wild = np.array([[0, 0], [1, 1], [5, 5], [9, 0], [2, 1]])
        expected = pyod.decision_function(wild)
        assert_pyods(detector.decision_scores_, pyod.decision_scores_)
        assert_pyods(detector.decision_function(wild), expected)
        assert_pyods(np.array([detector.decision_function([row])[0] for row in wild]), expected)

    def test_one_row_scores_as_in_a_batch(self, rows, detector):
        batch = detector.decision_function(rows)
        single = [detector.decision_function([row])[0] for row in rows]
        np.testing.assert_array_equal(batch, single)

    @pytest.mark.parametrize("p", [1, 2, 3, 7, 16])
    def test_every_p_is_pyods(self, rows, p):
        detector, pyod = PortableKNN(p=p).fit(rows[:2000]), KNN(p=p).fit(rows[:2000])
        expected = pyod.decision_function(rows[2000:4000])
        assert_pyods(detector.decision_function(rows[2000:4000]), expected)

    @pytest.mark.parametrize("p", [1, 1.5, 5, 16])
    def test_fractional_data_scores_as_pyods(self, p):
        random = np.random.default_rng(0)
        rows, wild = random.normal(size=(2, 500, 4))
        detector = reload(PortableKNN(p=p).fit(rows))
        expected = KNN(p=p).fit(rows).decision_function(wild)
        np.testing.assert_allclose(detector.decision_function(wild), expected, rtol=1e-14)

    def test_huge_inputs_score_as_pyods(self, pyod, detector):
        wild = np.random.default_rng(0).integers(-(2**62), 2**62, size=(300, 13))
        expected = pyod.decision_function(wild)
        np.testing.assert_allclose(detector.decision_function(wild), expected, rtol=1e-14)

    @pytest.mark.parametrize(
        ("params", "words"),
        [
            ({"metric": "euclidean"}, "metric must be minkowski, got 'euclidean'"),
            ({"p": 0.5}, "p must be from 1 to 16, got 0.5"),
            ({"p": 17}, "p must be from 1 to 16, got 17"),
            ({"p": np.nan}, "p must be from 1 to 16, got nan"),
            ({"n_neighbors": 100}, "100 rows are too few for 100 neighbors"),
            ({"metric_params": {"w": [1]}}, "metric_params must be a plain value"),
        ],
    )
    def test_what_cannot_be_saved_or_searched_is_refused(self, rows, params, words):
        with pytest.raises(ValueError, match=words):
            PortableKNN(**params).fit(rows[:100])

    @pytest.mark.parametrize("rows", [[1.0, 2.0], [[1.0], [np.nan]], [[1.0], [np.inf]]])
    def test_training_rows_must_be_finite_and_a_table(self, rows):
        with pytest.raises(ValueError, match="expected a table of finite numbers"):
            PortableKNN(n_neighbors=1).fit(rows)

    @pytest.mark.parametrize(
        ("row", "words"),
        [
            ([[1.0] * 12], r"got \(1, 12\)"),
            ([1.0] * 13, r"got \(13,\)"),
            (np.empty((0, 13)), r"got \(0, 13\)"),
            ([[np.nan] * 13], "NaN or infinity"),
            ([[np.inf] * 13], "NaN or infinity"),
        ],
    )
    def test_bad_rows_are_refused(self, detector, row, words):
        with pytest.raises(ValueError, match=words):
            detector.decision_function(row)

    @pytest.mark.parametrize("method", ["decision_function", "explain", "p_value"])
    def test_unfitted_says_so(self, method):
        with pytest.raises(ValueError, match="not fitted"):
            getattr(PortableKNN(), method)([[1.0]])

    def test_feature_names_must_fit(self, rows):
        with pytest.raises(ValueError, match="2 feature names for 13 columns"):
            PortableKNN().fit(rows[:100], feature_names=["a", "b"])


class TestPValue:
    def test_it_counts_scores_at_least_as_large(self, detector):
        known = detector.decision_scores_
        for score in (0.0, known.min(), np.median(known), 5.1, known.max(), known.max() + 1):
            expected = (1 + np.sum(known >= score)) / (1 + len(known))
            assert detector.p_value([score]) == [expected]

    def test_nan_has_none(self, detector):
        np.testing.assert_array_equal(np.isnan(detector.p_value([np.nan, 1.0])), [True, False])

    def test_an_alarm_is_as_rare_as_was_asked_for(self, detector):
        just_above = np.nextafter(detector.threshold_, np.inf)
        assert detector.p_value([just_above])[0] == pytest.approx(0.05, abs=0.001)


class TestExplain:
    @pytest.mark.parametrize("p", [1, 1.5, 2, 5])
    def test_the_shares_make_the_score(self, rows, p):
        detector = PortableKNN(n_neighbors=15, p=p).fit(rows[:2000])
        wild = np.vstack([rows[2000:2500], np.random.default_rng(0).integers(-9, 99, (99, 13))])
        shares, neighbors = detector.explain(wild)
        powers = np.abs(wild - neighbors.astype(float)) ** p
        scores = detector.decision_function(wild)
        np.testing.assert_allclose(powers.sum(axis=1), scores**p, rtol=1e-12)
        np.testing.assert_allclose(shares * scores[:, None] ** p, powers, rtol=1e-12)
        assert (scores > 0).any()
        np.testing.assert_allclose(shares[scores > 0].sum(axis=1), 1, rtol=1e-12)

    def test_one_row_as_in_a_batch(self, rows, detector):
        shares, neighbors = detector.explain(rows[:50])
        for row, share, neighbor in zip(rows, shares, neighbors, strict=False):
            alone = detector.explain(row)
            np.testing.assert_array_equal(alone, (share, neighbor))

    def test_a_row_like_many_has_no_shares(self, detector):
        row = detector.training_rows_[detector.decision_scores_.argmin()]
        same = PortableKNN(n_neighbors=3).fit([row.tolist()] * 9)
        assert same.explain(row)[0].tolist() == [0.0] * 13

    def test_a_mean_of_distances_has_no_one_neighbor(self, rows):
        detector = PortableKNN(method="mean").fit(rows[:100])
        with pytest.raises(ValueError, match="'mean' is not the distance to one row"):
            detector.explain(rows[0])

    @pytest.mark.parametrize("row", [[1.0] * 12, [[np.nan] * 13]])
    def test_bad_rows_are_refused(self, detector, row):
        with pytest.raises(ValueError, match=r"NaN|got \(1, 12\)"):
            detector.explain(row)


class TestArtifact:
    def test_a_reloaded_detector_works(self, rows, detector):
        again = reload(detector)
        np.testing.assert_array_equal(again.decision_scores_, detector.decision_scores_)
        np.testing.assert_array_equal(again.labels_, detector.labels_)
        for method in ("decision_function", "predict", "predict_proba", "predict_confidence"):
            np.testing.assert_array_equal(
                getattr(again, method)(rows[:1000]), getattr(detector, method)(rows[:1000])
            )
        unify = {"method": "unify"}
        np.testing.assert_array_equal(
            again.predict_proba(rows, **unify), detector.predict_proba(rows, **unify)
        )
        assert again.get_params() == detector.get_params()
        assert again.threshold_ == detector.threshold_
        assert list(again.feature_names_in_) == list(census.FEATURES)
        assert again.origin_ == ORIGIN

    def test_a_reloaded_detector_fits_and_saves_again(self, rows, detector):
        again = reload(detector)
        assert hasattr(again, "feature_names_in_")
        assert pickle.dumps(reload(again), protocol=4) == pickle.dumps(again, protocol=4)
        assert again.fit(rows[:200]).n_features_in_ == 13
        assert not hasattr(again, "feature_names_in_")

    def test_unfitted_travels_too(self):
        assert reload(PortableKNN(p=5)).p == 5
        assert clone(PortableKNN(p=5)).p == 5

    def test_it_holds_plain_values_only(self, detector):
        content = pickle.dumps(detector, protocol=4)
        operations = [(code.name, value) for code, value, _ in pickletools.genops(content)]
        strings = [value for _, value in operations if isinstance(value, str)]
        assert sum(name == "STACK_GLOBAL" for name, _ in operations) == 1
        assert strings[:2] == ["portable_knn", "PortableKNN"]
        assert not {"GLOBAL", "REDUCE", "INST", "OBJ"} & {name for name, _ in operations}
        assert operations[0] == ("PROTO", 4)

    @pytest.mark.parametrize(
        ("values", "dtype"),
        [
            ([0.0, 255.0], "u1"),
            ([-1.0, 127.0], "i1"),
            ([0, 256], "u2"),
            ([-1, 40_000], "i4"),
            ([0, 2**40], "i8"),
            ([0.5, 1.0], "f8"),
            ([0.0, 1e300], "f8"),
        ],
    )
    def test_arrays_take_the_smallest_exact_type(self, values, dtype):
        packed = persistence.to_npy(np.array(values))
        assert np.load(io.BytesIO(packed)).dtype == dtype
        np.testing.assert_array_equal(persistence.from_npy(packed), values)

    def test_check_rows_carry_pyods_scores(self, pyod, detector):
        expected = pyod.decision_function(detector.check_rows_)
        assert_pyods(detector.check_scores_, expected)
        assert len(set(expected)) >= 4

    @pytest.mark.parametrize("change", ["threshold", "score_mean", "origin"])
    def test_changed_content_is_refused(self, detector, change):
        state = detector.__getstate__()
        state["content"][change] = 1
        with pytest.raises(ValueError, match="does not match its digest"):
            PortableKNN.__new__(PortableKNN).__setstate__(state)

    def test_wrong_scores_are_refused(self, parts, detector):
        shifted = persistence.to_npy(parts[0] + np.eye(13)[0])
        state = tamper(detector, training_rows=shifted)
        with pytest.raises(ValueError, match="where the detector was trained"):
            PortableKNN.__new__(PortableKNN).__setstate__(state)

    @pytest.mark.parametrize(("error", "accepted"), [(1e-12, True), (1e-8, False)])
    def test_scores_may_differ_by_a_relative_1e9th(self, detector, error, accepted):
        scores = (detector.check_scores_ * (1 + error)).tolist()
        state = tamper(detector, check_scores=scores)
        again = PortableKNN.__new__(PortableKNN)
        if accepted:
            again.__setstate__(state)
        else:
            with pytest.raises(ValueError, match="where the detector was trained"):
                again.__setstate__(state)

    def test_the_published_one_holds_what_it_held(self, detector):
        content = detector.__getstate__()["content"]
        assert set(content) == {
            *("format", "params", "training_rows", "scores", "score_codes", "threshold"),
            *("score_mean", "score_deviation", "n_classes", "feature_names", "origin"),
            *("check_rows", "check_scores"),
        }
        assert content["format"] == 2

    def test_an_earlier_format_is_refused(self, detector):
        state = tamper(detector, format=1)
        with pytest.raises(ValueError, match="format 1 found, format 2 expected"):
            PortableKNN.__new__(PortableKNN).__setstate__(state)


class TestSave:
    def test_joblib_loads_it_and_anyone_may_read_it(self, detector, tmp_path):
        path = tmp_path / "model.joblib"
        detector.save(path)
        assert joblib.load(path).threshold_ == detector.threshold_
        assert path.stat().st_mode & 0o777 == 0o644
        assert pickle.loads(zlib.decompress(path.read_bytes())).threshold_ == detector.threshold_

    def test_a_failed_save_leaves_the_old_file_whole(self, detector, tmp_path, monkeypatch):
        path = tmp_path / "model.joblib"
        path.write_bytes(b"the old artifact")

        def fail(*_):
            raise OSError("disk full")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="disk full"):
            detector.save(path)
        assert path.read_bytes() == b"the old artifact"
        assert os.listdir(tmp_path) == ["model.joblib"]


class Hostile:
    """An object whose pickle creates a file wherever it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


class TestLoad:
    def test_it_is_what_was_saved(self, detector, rows, tmp_path):
        detector.save(tmp_path / "model.joblib")
        again = portable_knn.load(tmp_path / "model.joblib")
        expected = detector.decision_function(rows[:100])
        np.testing.assert_array_equal(again.decision_function(rows[:100]), expected)

    @pytest.mark.parametrize("compress", [zlib.compress, bytes])
    def test_it_runs_nothing(self, compress, tmp_path):
        path, created = tmp_path / "model.joblib", tmp_path / "created"
        content = pickle.dumps([PortableKNN(), Hostile(created)], protocol=4)
        path.write_bytes(compress(content))
        with pytest.raises(RuntimeError, match="expected a PortableKNN, got a open"):
            portable_knn.load(path)
        assert not created.exists()
        joblib.load(path)  # which does run it
        assert created.exists()

    def test_numpys_scalars_are_saved_as_plain_values(self, rows, tmp_path):
        names = np.array(["a", "b"])
        detector = PortableKNN().fit(rows[:50, :2], None, list(names), {"seed": np.int64(3)})
        detector.save(tmp_path / "model.joblib")
        again = portable_knn.load(tmp_path / "model.joblib")
        assert again.feature_names_in_.tolist() == ["a", "b"]
        assert again.origin_ == {"seed": 3}

    def test_a_refusal_is_one_line(self, tmp_path, detector):
        path = tmp_path / "model.joblib"
        path.write_bytes(zlib.compress(pickle.dumps({"age": 38})))
        with pytest.raises(RuntimeError) as caught:
            portable_knn.load(path)
        assert str(caught.value) == (
            f"cannot load {path} (TypeError: expected a PortableKNN, got a dict):"
            " train it with `make train`, then upload again"
        )
