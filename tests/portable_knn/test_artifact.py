"""The artifact: it travels, or is refused."""

import hashlib
import io
import os
import pickle
import shutil
import sys
import time
import tracemalloc
import zlib
from functools import partial

import joblib
import numpy as np
import pytest
from helpers import reload
from pyod.models.knn import KNN
from sklearn.base import clone

import portable_knn
from knn_metric.detection.surprise import FieldSurprise
from knn_metric.platform.server import load_module
from portable_knn import PortableKNN, artifact

NEW = b"\x8c\x0cportable_knn\x8c\x0bPortableKNN\x93)\x81"
HASHES_OF_0 = (number * sys.hash_info.modulus for number in range(1, 30_000))
EQUAL_KEYS = b"".join(pickle.dumps(key, protocol=2)[2:-1] + b"N" for key in HASHES_OF_0)
NAMES = [f"field_{number}" for number in range(13)]


@pytest.fixture(scope="module")
def detector(rows):
    """A detector of the sample's rows, which was never saved."""
    origin = {"source": "sample", "sha256": "ab", "test_size": 0.2, "seed": 0}
    detector = PortableKNN(n_neighbors=15, contamination=0.05, p=5)
    return detector.fit(rows[:2800], None, NAMES, origin)


def tamper(detector, **changes):
    """Restore a detector of which some content is changed and the digest made right again."""
    content = {**detector.__getstate__()["content"], **changes}
    PortableKNN().__setstate__({"content": content, "digest": artifact.digest(content)})


class TestArtifact:
    def test_a_reloaded_detector_works(self, rows, detector):
        again = reload(detector)
        for name in ("decision_scores_", "labels_", "feature_names_in_", "threshold_", "origin_"):
            np.testing.assert_array_equal(getattr(again, name), getattr(detector, name))
        assert again.get_params() == detector.get_params()
        unify = partial(PortableKNN.predict_proba, method="unify")
        for method in (PortableKNN.predict, PortableKNN.predict_confidence, unify):
            np.testing.assert_array_equal(method(again, rows[:500]), method(detector, rows[:500]))
        assert pickle.dumps(reload(again), protocol=4) == pickle.dumps(again, protocol=4)

    def test_it_fits_again_and_travels_unfitted(self, rows, detector):
        again = reload(detector).fit(rows[:200])
        assert again.n_features_in_ == 13
        assert not hasattr(again, "feature_names_in_")
        assert reload(PortableKNN(p=5)).p == clone(PortableKNN(p=5)).p == 5

    def test_arrays_take_the_smallest_exact_type(self):
        small = ("u1", 0.0, 255.0), ("i1", -1.0, 127.0), ("u2", 0, 256), ("i4", -1, 40_000)
        for dtype, *values in (*small, ("i8", 0, 2**40), ("f8", 0.5, 1.0), ("f8", 0.0, 1e300)):
            packed = artifact.to_npy(np.array(values))
            assert np.load(io.BytesIO(packed)).dtype == dtype
            np.testing.assert_array_equal(artifact.from_npy(packed), values)

    @pytest.mark.parametrize("content", [b"'", b"\"'", b'"', b"", bytes(range(256)) * 999])
    def test_the_digest_is_that_of_the_whole_text(self, content):
        values = {"a": {"b'": [content, 1e300, True], "c": content, "d": {}}, "é": content}
        whole = hashlib.sha256(ascii(values).encode("ascii")).hexdigest()
        assert artifact.digest(values) == whole

    def test_many_fields_take_a_few_times_their_rows(self, tmp_path):
        rows = np.random.default_rng(0).normal(size=(700, 160))
        fitted = PortableKNN().fit(rows, feature_names=[f"f{place}" for place in range(160)])
        fitted.calibration_ = {"codes": []}
        tracemalloc.start()
        fitted.save(tmp_path / "a")
        saving = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        FieldSurprise.of(portable_knn.load(tmp_path / "a"))
        loading = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (saving < 5 * rows.nbytes, loading < 10 * rows.nbytes) == (True, True)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"measures": [1.0] * 13}, r"trained with encodings \(HVDM\) of an earlier version"),
            ({"format": 1}, "format 1 found, format 2 expected"),
            *(
                ({"threshold": threshold}, r"expected .* of its scores")
                for threshold in (np.nan, np.inf, -1.0, 0.0, 3.0)
            ),
            *(
                ({"feature_names": names}, "expected 13 distinct feature names")
                for names in (
                    NAMES[1:],
                    [*NAMES[1:], NAMES[1]],
                    [*NAMES[1:], 7],
                    "abcdefghijklm",
                    13,
                )
            ),
        ],
    )
    def test_content_of_the_right_digest_that_cannot_be(self, detector, changes, words):
        with pytest.raises(ValueError, match=words):
            tamper(detector, **changes)

    def test_the_digest_and_rows_and_scores_must_agree(self, rows, detector):
        """Scores to a relative 1e-9."""
        state, scores = detector.__getstate__(), detector.self_test_scores_
        state["content"]["score_mean"] = 1
        with pytest.raises(ValueError, match="does not match its digest"):
            PortableKNN().__setstate__(state)
        tamper(detector, check_scores=(scores * (1 + 1e-12)).tolist())
        for changes in (
            {"check_scores": (scores * (1 + 1e-8)).tolist()},
            {"training_rows": artifact.to_npy(rows[:2800] + np.eye(13)[0])},
        ):
            with pytest.raises(ValueError, match="where the detector was trained"):
                tamper(detector, **changes)

    def test_the_format_holds_what_it_held(self, detector):
        names = """format params training_rows scores score_codes threshold score_mean
            score_deviation n_classes feature_names origin check_rows check_scores"""
        assert set(detector.__getstate__()["content"]) == set(names.split())


def test_a_saved_one_loads_and_anyone_may_read_it(detector, rows, tmp_path):
    path = tmp_path / "model.joblib"
    detector.save(path)
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["model.joblib"]
    expected = detector.decision_function(rows[:100])
    plain = pickle.loads(zlib.decompress(path.read_bytes()))
    for again in (joblib.load(path), portable_knn.load(path), plain):
        np.testing.assert_array_equal(again.decision_function(rows[:100]), expected)
    names, origin = list(np.array(["a", "b"])), {"seed": np.int64(3)}  # numpy's scalars
    PortableKNN().fit(rows[:50, :2], None, names, origin).save(path)
    again = portable_knn.load(path)
    assert (again.feature_names_in_.tolist(), again.origin_) == (["a", "b"], {"seed": 3})


@pytest.mark.parametrize("compress", [zlib.compress, bytes])
def test_loading_runs_nothing(compress, tmp_path):
    path, created = tmp_path / "model.joblib", tmp_path / "created"
    hostile = type("Hostile", (), {"__reduce__": lambda _: (open, (str(created), "w"))})()
    path.write_bytes(compress(pickle.dumps([PortableKNN(), hostile], protocol=4)))
    with pytest.raises(RuntimeError, match="expected a PortableKNN, got a open"):
        portable_knn.load(path)
    assert not created.exists()
    joblib.load(path)  # which does run it
    assert created.exists()


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
        assert line.endswith("): train it with `knn-metric train`, then upload again")
        return line

    def test_the_import_ends_with_that_line(self, package, tmp_path):
        """So that a 3.x container does not start, and a 2.x one answers with it."""
        shutil.copytree(package / "src", tmp_path / "src")
        with pytest.raises(RuntimeError) as caught:
            load_module(tmp_path)
        assert str(caught.value) == self.fail(tmp_path)

    def test_what_is_no_file_and_something_else(self, tmp_path, rows):
        path = tmp_path / "monitoring_model.joblib"
        assert "No such file" in self.fail(tmp_path)
        for make, words in ((os.mkfifo, "it is no regular file"), (os.mkdir, "Is a directory")):
            make(path)
            assert words in self.fail(tmp_path)
            path.rmdir() if path.is_dir() else path.unlink()
        for content in (b"", b"not an artifact", b"x", b"\x80\x04."):
            self.fail(tmp_path, content)
        for value, words in (
            ({"age": 38}, "expected a PortableKNN, got a dict"),
            (KNN().fit(rows[:100]), "expected a PortableKNN, got a KNN"),
            (PortableKNN().fit(rows[:100]), "feature_names_in_"),
        ):
            joblib.dump(value, path)
            assert words in self.fail(tmp_path)

    def test_flipped_and_truncated_files_never_load(self, tmp_path, artifact):
        content = artifact.read_bytes()
        for position in np.linspace(0, len(content) - 1, 50).astype(int):
            flipped = bytearray(content)
            flipped[position] ^= 0x10
            self.fail(tmp_path, flipped)
            self.fail(tmp_path, content[:position])

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            # Lists that hold the one before twice; as many tuples, whose hash a key needs.
            (b"]\x94" + b"".join(b"](h%ch%ce\x94" % (n, n) for n in range(40)), "two places"),
            (b")\x94" + b"".join(b"h%ch%c\x86\x94" % (n, n) for n in range(40)), "two places"),
            (b")" + b"\x85" * 10**5, "TUPLE1"),
            (b"]" * 50_000 + b"a" * 49_999, "its values are nested too deep"),
            (b"](" + 2 * NEW + b"e", "expected plain values, got a pickle with STACK_GLOBAL"),
            (b"}(" + EQUAL_KEYS + b"u", "it holds an integer beyond 64 bits"),
            (b"]" * 10**6 + b"a" * (10**6 - 1), "more than 100000 lists and dictionaries"),
            (b"](X\x40\x42\x0f\0" + b"a" * 10**6 + b"\x94" + b"h\0" * 10**6 + b"e", "two places"),
        ],
        ids="lists tuples tuple deep objects keys deeper text".split(),
    )
    def test_what_has_no_end_once_it_is_read(self, tmp_path, values, words):
        """Each is refused within a second."""
        state = b"}(\x8c\x07content}(\x8c\x06format" + values + b"u\x8c\x06digestNu"
        start = time.process_time()
        assert words in self.fail(tmp_path, b"\x80\x04" + NEW + state + b"b.")
        assert time.process_time() - start < 1
