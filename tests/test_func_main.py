"""predict: the values, both message generations, every bad input, threads, and a bad artifact."""

import math
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from conftest import import_function
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor, TensorShape
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyod.models.knn import KNN

import census
import portable_knn

NORMAL = dict(zip(census.FEATURES, (38, 4, 4, 0, 2, 0, 4, 1, 2, 2, 45, 9, 0), strict=True))
# Codes in contract order and the score, as published for the detector trained on UCI's data.
PUBLISHED = (
    ((27, 4, 4, 2, 1, 4, 4, 0, 2, 2, 44, 9, 0), 3.0073710962592606),
    ((27, 4, 1, 1, 5, 1, 4, 0, 2, 2, 40, 9, 0), 1.0),
    ((90, 4, 4, 3, 2, 4, 4, 1, 2, 2, 99, 9, 0), 27.003418892782708),
)


def message(value, dtype=9, field="int64_val", dims=()):
    values = value if isinstance(value, list) else [value]
    return Tensor(dtype=dtype, tensor_shape=TensorShape(dims=dims), **{field: values})


class Hostile:
    """An object whose every conversion fails in a way of its own."""

    def __array__(self, *_, **__):
        raise KeyError("age")

    def __float__(self):
        raise SystemError("no")

    def __getattr__(self, name):
        raise AttributeError(name)


class TestScalars:
    def test_published_rows(self, uci_package):
        predict = import_function(uci_package[0]).predict
        for codes, value in PUBLISHED:
            assert predict(**dict(zip(census.FEATURES, codes, strict=True))) == {"value": value}
            tensors = dict(zip(census.FEATURES, map(message, codes), strict=True))
            assert list(predict(**tensors).outputs["value"].double_val) == [value]

    def test_values_are_the_detectors(self, func_main, rows):
        expected = func_main.detector.decision_function(rows[:300])
        for row, value in zip(rows[:300], expected, strict=True):
            result = func_main.predict(**dict(zip(census.FEATURES, row, strict=True)))
            assert result == {"value": value}
            assert type(result["value"]) is float

    @pytest.mark.parametrize(
        "convert",
        [
            int,
            float,
            np.int8,
            np.int32,
            np.int64,
            np.uint64,
            np.float16,
            np.float32,
            np.float64,
            np.longdouble,
            np.array,
            lambda value: np.array([value]),
            lambda value: np.array([[[value]]], dtype=np.int16),
        ],
    )
    def test_every_kind_of_number_scores_alike(self, func_main, convert):
        expected = func_main.predict(**NORMAL)
        assert func_main.predict(**{k: convert(v) for k, v in NORMAL.items()}) == expected

    def test_other_fields_are_ignored(self, func_main):
        extra = {"fnlwgt": "many", "confidence": message(0.5, 2, "double_val"), "value": None}
        assert func_main.predict(**NORMAL, **extra) == func_main.predict(**NORMAL)

    def test_order_of_fields_does_not_matter(self, func_main):
        backwards = dict(reversed(NORMAL.items()))
        assert func_main.predict(**backwards) == func_main.predict(**NORMAL)


class TestMessages:
    def test_3x_tensors_are_answered_in_kind(self, func_main):
        response = func_main.predict(**{name: message(value) for name, value in NORMAL.items()})
        value = response.outputs["value"]
        assert type(response) is PredictResponse
        assert list(response.outputs) == ["value"]
        assert value.dtype == 2
        assert value.HasField("tensor_shape")
        assert list(value.tensor_shape.dims) == []
        assert list(value.double_val) == [func_main.predict(**NORMAL)["value"]]

    @pytest.mark.parametrize(
        ("dtype", "field", "dims"),
        [
            (1, "float_val", ()),
            (2, "double_val", ()),
            (3, "int_val", ()),
            (9, "int64_val", (1, 1)),
            (22, "uint32_val", ()),
            (23, "uint64_val", (1,)),
        ],
    )
    def test_every_numeric_type_scores_alike(self, func_main, dtype, field, dims):
        tensors = {k: message(v, dtype, field, dims) for k, v in NORMAL.items()}
        value = func_main.predict(**tensors).outputs["value"].double_val[0]
        assert value == func_main.predict(**NORMAL)["value"]

    def test_one_tensor_among_scalars_is_enough(self, func_main):
        mixed = {**NORMAL, "classes": message(NORMAL["classes"])}
        assert type(func_main.predict(**mixed)) is PredictResponse

    def test_2x_tensors_are_answered_in_kind(self, package, func_main, tmp_path):
        """With the real package of release 2.4.3's image, which 3.x cannot share a process with."""
        install = ["pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path)]
        command = [sys.executable, "-m", *install, "hydro-serving-grpc==2.2.1"]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("hydro-serving-grpc 2.2.1 cannot be had from the package registry")
        program = f"""
import sys
sys.path[:0] = [{str(tmp_path)!r}, {str(package / "src")!r}]
import func_main
assert "hydro_serving_grpc" not in sys.modules
import hydro_serving_grpc as hs
shape = hs.TensorShapeProto(dim=[hs.TensorShapeProto.Dim(size=1)])
tensors = {{
    name: hs.TensorProto(dtype=hs.DT_INT64, tensor_shape=shape, int64_val=[value])
    for name, value in {NORMAL!r}.items()
}}
response = func_main.predict(**tensors)
assert type(response) is hs.PredictResponse, type(response)
value = response.outputs["value"]
assert value.dtype == hs.DT_DOUBLE and value.HasField("tensor_shape"), value
assert not value.tensor_shape.dim, value
print(value.double_val[0])
"""
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert result.stderr == ""
        assert float(result.stdout) == func_main.predict(**NORMAL)["value"]

    def test_scalars_need_no_hydro_serving_grpc(self, package):
        program = f"""
import sys
sys.modules["hydro_serving_grpc"] = None
sys.path.insert(0, {str(package / "src")!r})
import func_main
print(func_main.predict(**{NORMAL!r}))
"""
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert "value" in result.stdout, result.stderr


BAD = [
    (None, "not numeric, got NoneType"),
    ("38", "not numeric, got str"),
    (b"38", "not numeric, got bytes"),
    ("", "not numeric"),
    (38j, "not numeric, got complex"),
    (np.complex64(38), "not numeric"),
    (np.str_("38"), "not numeric"),
    (np.array(["38"]), "not numeric"),
    (np.array([38], dtype=object), "not numeric"),
    (np.datetime64("2020-01-01"), "not numeric"),
    (np.timedelta64(38, "D"), "not numeric"),
    ({}, "not numeric, got dict"),
    ({38}, "not numeric, got set"),
    (Hostile(), "not numeric, got Hostile"),
    (math.nan, "got NaN"),
    (np.float32("nan"), "got NaN"),
    (np.array([np.nan]), "got NaN"),
    (math.inf, "infinity"),
    (-np.inf, "infinity"),
    (1e200, "beyond int64"),
    (10**5000, "beyond int64"),
    (-(2**64), "beyond int64"),
    (np.array([1, 2]), "expected one element, got 2"),
    (np.ones((3, 4)), "expected one element, got 12"),
    ([1, 2], "expected one element, got 2"),
    (np.array([]), "expected one element, got an empty array"),
    ([], "expected one element"),
    (Tensor(dtype=9), "an empty tensor"),
    (message([1, 2], dims=(2,)), "expected one element, got 2"),
    (message([1, 2]), "expected one element, got 2"),
    (message(1, dims=(2,)), "cannot reshape"),
    (message(b"38", 7, "string_val"), "not numeric, got a tensor of DataType 7"),
    (message(math.nan, 2, "double_val"), "got NaN"),
    (message(math.inf, 1, "float_val"), "infinity"),
    (message(1, 0), "not numeric, got a tensor of DataType 0"),
]


class TestBadInput:
    @pytest.mark.parametrize(("value", "words"), BAD, ids=lambda part: type(part).__name__)
    def test_it_is_named_and_described(self, func_main, value, words):
        with pytest.raises(ValueError, match=f"^hours_per_week: .*{words}") as caught:
            func_main.predict(**{**NORMAL, "hours_per_week": value})
        assert ";" not in str(caught.value)

    def test_every_offending_field_is_named(self, func_main):
        inputs = {**NORMAL, "race": math.nan, "age": "x"}
        del inputs["country"]
        with pytest.raises(ValueError) as caught:
            func_main.predict(**inputs)
        assert str(caught.value) == (
            "age: not numeric, got str; race: expected a finite number, got NaN; country: missing"
        )

    def test_nothing_at_all(self, func_main):
        with pytest.raises(ValueError) as caught:
            func_main.predict()
        assert str(caught.value) == "; ".join(f"{name}: missing" for name in census.FEATURES)

    good = st.one_of(
        st.integers(-(2**63), 2**63 - 1),
        st.integers(-(2**63), 2**63 - 1).map(np.int64),
        st.floats(-(2.0**63), 2.0**63),
        st.floats(-1e4, 1e4, width=16).map(np.float16).map(lambda number: np.array([number])),
        st.booleans().map(np.bool_),
        st.integers(-(2**63), 2**63 - 1).map(message),
    )
    bad = st.one_of(
        st.sampled_from([value for value, _ in BAD]),
        st.text("0123456789.eE+-naif_ "),
        st.integers(min_value=2**64),
        st.lists(st.integers(), min_size=2),
        st.complex_numbers(),
    )

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.data())
    def test_a_finite_score_or_the_offending_fields(self, func_main, data):
        offending = data.draw(st.sets(st.sampled_from(census.FEATURES)))
        inputs = {k: data.draw(self.bad if k in offending else self.good) for k in census.FEATURES}
        if offending:
            with pytest.raises(ValueError) as caught:
                func_main.predict(**inputs)
            named = {problem.split(":")[0] for problem in str(caught.value).split("; ")}
            assert named == offending
        else:
            result = func_main.predict(**inputs)
            value = (
                result["value"]
                if isinstance(result, dict)
                else (result.outputs["value"].double_val[0])
            )
            assert math.isfinite(value)
            assert value >= 0


class TestService:
    def test_ten_threads_get_the_values_of_one(self, func_main, rows):
        requests = [dict(zip(census.FEATURES, row, strict=True)) for row in rows[:2000]]
        expected = [func_main.predict(**request) for request in requests]
        with ThreadPoolExecutor(10) as pool:
            results = list(pool.map(lambda request: func_main.predict(**request), requests))
        assert results == expected

    def test_nothing_is_printed_or_logged(self, func_main, capfd, caplog):
        caplog.set_level(0)
        func_main.predict(**NORMAL)
        with pytest.raises(ValueError):
            func_main.predict(age="x")
        assert capfd.readouterr() == ("", "")
        assert caplog.records == []


class TestImport:
    """What an operator reads in the container's log when the artifact is not right."""

    def fail(self, package, tmp_path, artifact):
        shutil.copytree(package / "src", tmp_path / "src")
        path = tmp_path / "monitoring_model.joblib"
        if callable(artifact):
            artifact(path)
        elif artifact is not None:
            path.write_bytes(artifact)
        command = [sys.executable, "-c", "import func_main"]
        result = subprocess.run(command, cwd=tmp_path / "src", capture_output=True, text=True)
        assert result.returncode == 1
        last = result.stderr.splitlines()[-1]
        assert last.startswith(f"RuntimeError: cannot load {path} (")
        assert last.endswith("): train it with `make train`, then upload again")
        return last

    def test_missing(self, package, tmp_path):
        assert "No such file" in self.fail(package, tmp_path, None)

    def test_empty(self, package, tmp_path):
        self.fail(package, tmp_path, b"")

    def test_a_directory(self, package, tmp_path):
        assert "Is a directory" in self.fail(package, tmp_path, lambda path: path.mkdir())

    def test_text(self, package, tmp_path):
        self.fail(package, tmp_path, b"not an artifact")

    @pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
    def test_cut_short(self, package, tmp_path, share):
        content = (package / "monitoring_model.joblib").read_bytes()
        self.fail(package, tmp_path, content[: int(share * len(content))])

    def test_another_object(self, package, tmp_path):
        line = self.fail(package, tmp_path, lambda path: joblib.dump({"age": 38}, path))
        assert "expected a PortableKNN, got a dict" in line

    def test_a_plain_pyod_detector(self, package, tmp_path, rows):
        line = self.fail(package, tmp_path, lambda path: joblib.dump(KNN().fit(rows[:100]), path))
        assert "expected a PortableKNN, got a KNN" in line

    def test_a_detector_without_feature_names(self, package, tmp_path, func_main, rows):
        detector = type(func_main.detector)().fit(rows[:100])
        assert "feature_names_in_" in self.fail(package, tmp_path, detector.save)

    def test_flipped_bytes_never_load(self, package, tmp_path):
        content = (package / "monitoring_model.joblib").read_bytes()
        path = tmp_path / "flipped.joblib"
        for position in np.linspace(0, len(content) - 1, 100).astype(int):
            flipped = bytearray(content)
            flipped[position] ^= 0x10
            path.write_bytes(flipped)
            with pytest.raises(RuntimeError, match="cannot load"):
                portable_knn.load(path)

    def test_truncated_files_never_load(self, package, tmp_path):
        content = (package / "monitoring_model.joblib").read_bytes()
        path = tmp_path / "truncated.joblib"
        for length in np.linspace(0, len(content) - 1, 100).astype(int):
            path.write_bytes(content[:length])
            with pytest.raises(RuntimeError, match="cannot load"):
                portable_knn.load(path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read any file")
    def test_unreadable(self, package, tmp_path):
        def write_unreadable(path):
            path.touch(mode=0o000)

        assert "Permission denied" in self.fail(package, tmp_path, write_unreadable)
