"""PortableKNN: pyod's values, and an artifact that travels or refuses."""

import io
import os
import pickle
import pickletools
import statistics
import zlib
from contextlib import nullcontext

from lib import census, origin

import joblib
import numpy as np
import pytest
from helpers import measure
from moved_power import power_moved
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
def detector(parts):
    names = census.FEATURES
    return PortableKNN(**PARAMS).fit(parts[0], feature_names=names, origin=ORIGIN)


def reload(detector):
    return pickle.loads(pickle.dumps(detector, protocol=4))


def tamper(detector, **changes):
    """Return the detector's state with some content changed and the digest made right again."""
    content = {**detector.__getstate__()["content"], **changes}
    return {"content": content, "digest": persistence.digest(content)}


class TestValues:
    @pytest.mark.parametrize("method", ["largest", "mean", "median"])
    @pytest.mark.parametrize("p", [1, 2, 2.5, 5, 16])
    @pytest.mark.parametrize("k", [4, 15])
    def test_they_are_those_of_python_floats(self, rows, method, p, k):
        """On every processor, to the last bit; after a reload, alone and in a batch too."""
        some = np.vstack([rows[:120], rows[:40] / 7])
        detector = reload(PortableKNN(p=p, n_neighbors=k, method=method).fit(some))
        queries = np.vstack([rows[200:220], np.random.default_rng(0).normal(0, 99, (20, 13))])
        expected = [score(detector, some.tolist(), query) for query in queries.tolist()]
        assert detector.decision_function(queries).tolist() == expected
        assert [detector.decision_function([q])[0] for q in queries.tolist()] == expected
        for number in (0, 119, 159):
            others = np.delete(some, number, axis=0).tolist()
            own = score(detector, others, some[number].tolist())
            assert detector.decision_scores_[number] == own


def score(detector, rows, query):
    """Score a row with Python floats, added up in the order of the search."""
    order = detector.index_._tree[1].tolist()
    nearest = sorted(measure(row, query, detector.p, order) for row in rows)[: detector.n_neighbors]
    if detector.method == "mean":
        total = 0.0
        for distance in nearest:
            total += distance
        return total / len(nearest)
    return statistics.median(nearest) if detector.method == "median" else nearest[-1]


@pytest.fixture(
    scope="class",
    params=[(0,), (-1, 1), None],
    ids=["roots of the C library", "roots moved", "roots of this processor"],
)
def roots(request):
    """Let pyod take roots as numpy does without AVX-512, as it may with it, and as it does here."""
    with power_moved(request.param) if request.param else nullcontext():
        yield request.param


@pytest.mark.usefixtures("roots")
class TestPyodsValues:
    """What the docstring promises, on every processor."""

    @pytest.fixture
    def assert_pyods(self, roots):
        def assert_pyods(detector, scores, expected):
            p, k = detector.p, detector.n_neighbors
            exact = np.array([pow(value, p) < 2**53 for value in expected.tolist()])
            rounding = (k + 1) * 2**-52 if detector.method == "mean" else 0.0
            np.testing.assert_allclose(scores, expected, rtol=1e-14 + rounding)
            if rounding:
                np.testing.assert_allclose(scores[exact], expected[exact], rtol=rounding)
            elif roots == (0,):
                np.testing.assert_array_equal(scores[exact], expected[exact])
            elif exact.any():
                units = 1 if detector.method == "largest" else 2
                np.testing.assert_array_max_ulp(scores[exact], expected[exact], units)

        return assert_pyods

    @pytest.mark.parametrize("method", ["largest", "mean", "median"])
    @pytest.mark.parametrize("k", [4, 15])
    def test_whole_numbers(self, rows, method, k, assert_pyods):
        params = {**PARAMS, "n_neighbors": k, "method": method}
        detector, pyod = PortableKNN(**params).fit(rows[:1000]), KNN(**params).fit(rows[:1000])
        wild = np.random.default_rng(0).integers(-200, 200, size=(300, 13))
        assert_pyods(detector, detector.decision_scores_, pyod.decision_scores_)
        for batch in (rows[900:1500], wild):
            found, expected = (one.decision_function(batch) for one in (detector, pyod))
            assert_pyods(detector, found, expected)
        assert detector.threshold_ == pytest.approx(pyod.threshold_, rel=1e-14)
        np.testing.assert_array_equal(
            detector.labels_, detector.decision_scores_ > detector.threshold_
        )

    @pytest.mark.parametrize("method", ["largest", "mean", "median"])
    def test_equal_rows_count_each(self, method, assert_pyods):
        """Fewer distinct rows than neighbors, and one of them many times."""
        rows = np.array([[0, 0]] * 30 + [[1, 1]] * 3 + [[9, 0]])
        params = {"n_neighbors": 15, "p": 5, "method": method}
        detector, pyod = PortableKNN(**params).fit(rows), KNN(**params).fit(rows)
        wild = np.array([[0, 0], [1, 1], [5, 5], [9, 0], [2, 1]])
        assert_pyods(detector, detector.decision_scores_, pyod.decision_scores_)
        assert_pyods(detector, detector.decision_function(wild), pyod.decision_function(wild))

    @pytest.mark.parametrize("p", [1, 2, 3, 7, 16])
    def test_every_p(self, rows, p, assert_pyods):
        detector, pyod = PortableKNN(p=p).fit(rows[:1000]), KNN(p=p).fit(rows[:1000])
        queries = rows[1000:1500]
        assert_pyods(detector, detector.decision_function(queries), pyod.decision_function(queries))

    @pytest.mark.parametrize("p", [1, 1.5, 5, 16])
    def test_fractions_and_huge_numbers(self, p, assert_pyods):
        random = np.random.default_rng(0)
        rows, wild = random.normal(size=(2, 500, 4))
        detector, pyod = PortableKNN(p=p).fit(rows), KNN(p=p).fit(rows)
        for queries in (wild, random.integers(-(2**62), 2**62, size=(300, 4)).astype(float)):
            found, expected = (one.decision_function(queries) for one in (detector, pyod))
            np.testing.assert_allclose(found, expected, rtol=1e-14)

    def test_published_parameters(self, parts, detector, assert_pyods):
        pyod = KNN(**PARAMS).fit(parts[0])
        assert_pyods(detector, detector.decision_scores_, pyod.decision_scores_)
        expected = pyod.decision_function(detector.check_rows_)
        assert_pyods(detector, detector.check_scores_, expected)
        assert len(set(expected)) >= 4


class TestRefusals:
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
            np.testing.assert_array_equal(alone[1], neighbor)
            np.testing.assert_allclose(alone[0], share, rtol=1e-12)

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
