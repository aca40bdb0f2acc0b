"""The artifact: it travels, or is refused."""

import io
import os
import pickle
import pickletools
import shutil
import zlib

import joblib
import numpy as np
import pytest
from pyod.models.knn import KNN
from sklearn.base import clone

import portable_knn
from monitoring.hydrosphere.server import load_module
from portable_knn import PortableKNN, artifact

PARAMS = {"n_neighbors": 15, "p": 5, "contamination": 0.05}
NAMES = [f"field_{number}" for number in range(13)]
ORIGIN = {"source": "sample", "sha256": "ab", "test_size": 0.2, "seed": 0}


@pytest.fixture(scope="module")
def training(rows):
    return rows[:5600]


@pytest.fixture(scope="module")
def detector(training):
    return PortableKNN(**PARAMS).fit(training, feature_names=NAMES, origin=ORIGIN)


def reload(detector):
    return pickle.loads(pickle.dumps(detector, protocol=4))


def tamper(detector, **changes):
    """Return the detector's state with some content changed and the digest made right again."""
    content = {**detector.__getstate__()["content"], **changes}
    return {"content": content, "digest": artifact.digest(content)}


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
        assert list(again.feature_names_in_) == list(NAMES)
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
        packed = artifact.to_npy(np.array(values))
        assert np.load(io.BytesIO(packed)).dtype == dtype
        np.testing.assert_array_equal(artifact.from_npy(packed), values)

    @pytest.mark.parametrize("change", ["threshold", "score_mean", "origin"])
    def test_changed_content_is_refused(self, detector, change):
        state = detector.__getstate__()
        state["content"][change] = 1
        with pytest.raises(ValueError, match="does not match its digest"):
            PortableKNN.__new__(PortableKNN).__setstate__(state)

    def test_wrong_scores_are_refused(self, training, detector):
        shifted = artifact.to_npy(training + np.eye(13)[0])
        state = tamper(detector, training_rows=shifted)
        with pytest.raises(ValueError, match="where the detector was trained"):
            PortableKNN.__new__(PortableKNN).__setstate__(state)

    @pytest.mark.parametrize(("error", "accepted"), [(1e-12, True), (1e-8, False)])
    def test_scores_may_differ_by_a_relative_1e9th(self, detector, error, accepted):
        scores = (detector.self_test_scores_ * (1 + error)).tolist()
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

    def test_encodings_are_refused(self, detector):
        state = tamper(detector, measures=[1.0] * 13)
        with pytest.raises(
            ValueError, match=r"trained with encodings \(HVDM\) of an earlier version"
        ):
            PortableKNN.__new__(PortableKNN).__setstate__(state)

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


class TestRefusedFiles:
    """What an operator reads in the container's log when the artifact is not right."""

    def fail(self, tmp_path, content=None):
        path = tmp_path / "monitoring_model.joblib"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(RuntimeError) as caught:
            portable_knn.load(path)
        line = str(caught.value)
        assert len(line.splitlines()) == 1
        assert line.startswith(f"cannot load {path} (")
        assert line.endswith("): train it with `make train`, then upload again")
        return line

    def test_the_import_ends_with_that_line(self, package, tmp_path):
        """So that a 3.x container does not start, and a 2.x one answers with it."""
        shutil.copytree(package / "src", tmp_path / "src")
        with pytest.raises(RuntimeError) as caught:
            load_module(tmp_path)
        assert str(caught.value) == self.fail(tmp_path)

    def test_missing(self, tmp_path):
        assert "No such file" in self.fail(tmp_path)

    def test_a_directory(self, tmp_path):
        (tmp_path / "monitoring_model.joblib").mkdir()
        assert "Is a directory" in self.fail(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"not an artifact", b"x", b"\x80\x04."])
    def test_something_else(self, tmp_path, content):
        self.fail(tmp_path, content)

    def test_another_object(self, tmp_path):
        joblib.dump({"age": 38}, tmp_path / "monitoring_model.joblib")
        assert "expected a PortableKNN, got a dict" in self.fail(tmp_path)

    def test_a_plain_pyod_detector(self, tmp_path, rows):
        joblib.dump(KNN().fit(rows[:100]), tmp_path / "monitoring_model.joblib")
        assert "expected a PortableKNN, got a KNN" in self.fail(tmp_path)

    def test_a_detector_without_feature_names(self, tmp_path, rows):
        detector = portable_knn.PortableKNN().fit(rows[:100])
        detector.save(tmp_path / "monitoring_model.joblib")
        assert "feature_names_in_" in self.fail(tmp_path)

    def test_flipped_bytes_never_load(self, tmp_path, artifact):
        content = artifact.read_bytes()
        for position in np.linspace(0, len(content) - 1, 50).astype(int):
            flipped = bytearray(content)
            flipped[position] ^= 0x10
            self.fail(tmp_path, flipped)

    def test_truncated_files_never_load(self, tmp_path, artifact):
        content = artifact.read_bytes()
        for length in np.linspace(0, len(content) - 1, 50).astype(int):
            self.fail(tmp_path, content[:length])

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read any file")
    def test_unreadable(self, tmp_path):
        (tmp_path / "monitoring_model.joblib").touch(mode=0o000)
        assert "Permission denied" in self.fail(tmp_path)


class TestValuesOfTheRightDigest:
    @pytest.mark.parametrize("threshold", [np.nan, np.inf, -1.0, 0.0, 3.0])
    def test_a_threshold_that_the_scores_contradict(self, detector, threshold):
        state = tamper(detector, threshold=float(threshold))
        with pytest.raises(ValueError, match=r"expected .* of its scores"):
            PortableKNN().__setstate__(state)

    @pytest.mark.parametrize(
        "names", [NAMES[:12], [*NAMES[:12], NAMES[0]], [*NAMES[:12], 7], "abcdefghijklm", 13]
    )
    def test_names_that_are_none(self, detector, names):
        with pytest.raises(ValueError, match="expected 13 distinct feature names"):
            PortableKNN().__setstate__(tamper(detector, feature_names=names))
