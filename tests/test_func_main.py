"""predict: the values, both message generations, every bad input, and threads."""

import math
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import NORMAL, PUBLISHED, UNIT, copy_package, message
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor
from hydro_serving_grpc.serving.runtime.api_pb2 import PredictResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knn_metric.data.census import FEATURES
from knn_metric.platform import server
from knn_metric.platform.server import load_module
from portable_knn import messages


class Hostile:
    """An object whose conversion fails in a way of its own."""

    def __array__(self, *_, **__):
        raise KeyError("age")


# Values that are not one finite number within int64, and what is said of them.
BAD = [
    (None, "not numeric, got NoneType"),
    ("38", "not numeric, got str"),
    (38j, "not numeric, got complex"),
    (np.array([38], dtype=object), "not numeric"),
    (np.datetime64("2020-01-01"), "not numeric"),
    (Hostile(), "not numeric, got Hostile"),
    (math.nan, "got NaN"),
    (np.ma.masked, "missing, got a masked value"),
    (np.ma.array([38], mask=[True]), "missing, got a masked value"),
    (math.inf, "infinity"),
    (1e200, "beyond int64"),
    (10**5000, "beyond int64"),
    (-(2**64), "beyond int64"),
    ([1, 2], "expected one element, got 2"),
    (np.array([]), "expected one element, got an empty array"),
    (Tensor(dtype=9), "an empty tensor"),
    (message([1, 2]), "expected one element, got 2"),
    (message(1, dims=(2,)), "cannot reshape"),
    (message(b"38", 7, "string_val"), "not numeric, got a tensor of DataType 7"),
    (message(math.nan, 2, "double_val"), "got NaN"),
]


def read_answer(answer):
    """Return the value of an answer: of a message, which holds one scalar of type double, too."""
    if isinstance(answer, dict):
        return answer["value"]
    assert type(answer) is PredictResponse
    (value,) = answer.outputs.values()
    assert list(answer.outputs) == ["value"]
    assert (value.dtype, list(value.tensor_shape.dims)) == (2, [])
    assert value.HasField("tensor_shape")
    return value.double_val[0]


class TestValues:
    def test_published_rows(self, uci_detector, tmp_path):
        predict = load_module(copy_package(tmp_path, uci_detector)).predict
        for codes, value in PUBLISHED:
            score = predict(**dict(zip(FEATURES, codes, strict=True)))["value"]
            assert score == pytest.approx(value, rel=UNIT, abs=0)
            tensors = dict(zip(FEATURES, map(message, codes), strict=True))
            assert read_answer(predict(**tensors)) == score

    def test_ten_threads_get_the_detectors_values(self, func_main, rows):
        def score(row):
            return func_main.predict(**dict(zip(FEATURES, row, strict=True)))

        with ThreadPoolExecutor(10) as pool:
            results = list(pool.map(score, rows[:1000]))
        expected = func_main.detector.decision_function(rows[:1000])
        assert results == [{"value": value} for value in expected.tolist()]
        assert type(results[0]["value"]) is float

    @pytest.mark.parametrize(
        "convert",
        [
            *(float, np.int8, np.int32, np.int64, np.uint64, np.float16, np.float32, np.float64),
            *(np.longdouble, np.array, lambda value: np.array([[[value]]], dtype=np.int16)),
            lambda value: message(value, 1, "float_val"),
            lambda value: message(value, 2, "double_val"),
            lambda value: message(value, 3, "int_val"),
            lambda value: message(value, dims=(1, 1)),
            lambda value: message(value, 22, "uint32_val"),
            lambda value: message(value, 23, "uint64_val", (1,)),
        ],
    )
    def test_every_kind_of_number_scores_alike(self, func_main, convert):
        result = func_main.predict(**{k: convert(v) for k, v in NORMAL.items()})
        assert read_answer(result) == func_main.predict(**NORMAL)["value"]

    def test_other_fields_and_the_order_are_ignored(self, func_main):
        extra = {"fnlwgt": "many", "confidence": message(0.5, 2, "double_val"), "value": None}
        backwards = dict(reversed([*NORMAL.items(), *extra.items()]))
        assert func_main.predict(**backwards) == func_main.predict(**NORMAL)
        mixed = {**NORMAL, "classes": message(NORMAL["classes"])}
        assert type(func_main.predict(**mixed)) is PredictResponse

    def test_2x_tensors_are_answered_in_kind(self, func_main, monkeypatch):
        """Messages shaped as in 2.x; `make matrix` takes the real package, which 3.x excludes."""
        generation = types.SimpleNamespace(PredictResponse=PredictResponse)
        monkeypatch.setitem(sys.modules, "hydro_serving_grpc", generation)
        monkeypatch.setitem(sys.modules, "hydro_serving_grpc.serving.runtime.api_pb2", None)

        kind = type("TensorProto", (types.SimpleNamespace,), {})
        shape = types.SimpleNamespace(dim=[types.SimpleNamespace(size=1)])
        tensors = {k: kind(dtype=9, int64_val=[v], tensor_shape=shape) for k, v in NORMAL.items()}
        response = func_main.predict(**tensors)
        monkeypatch.setitem(sys.modules, "hydro_serving_grpc", None)  # numbers do without
        assert read_answer(response) == func_main.predict(**NORMAL)["value"]

    def test_they_are_in_the_fields_that_the_runtime_reads(self):
        for dtype in messages.VALUE_FIELDS.keys() & server.FROM_TENSOR.keys():
            assert server.FROM_TENSOR[dtype][1] == messages.VALUE_FIELDS[dtype]


class TestBadInput:
    @pytest.mark.parametrize(("value", "words"), BAD, ids=lambda part: type(part).__name__)
    def test_it_is_named_and_described(self, func_main, value, words):
        with pytest.raises(ValueError, match=f"^hours_per_week: .*{words}") as caught:
            func_main.predict(**{**NORMAL, "hours_per_week": value})
        assert ";" not in str(caught.value)

    def test_every_offending_field_is_named(self, func_main, capfd, caplog):
        """And nothing is printed or logged."""
        caplog.set_level(0)
        inputs = {**NORMAL, "race": math.nan, "age": "x"}
        del inputs["country"]
        with pytest.raises(ValueError) as caught:
            func_main.predict(**inputs)
        problems = ["age: not numeric, got str", "race: expected a finite number, got NaN"]
        assert str(caught.value).split("; ") == [*problems, "country: missing"]
        assert (capfd.readouterr(), caplog.records) == (("", ""), [])

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
        offending = data.draw(st.sets(st.sampled_from(FEATURES)))
        inputs = {k: data.draw(self.bad if k in offending else self.good) for k in FEATURES}
        if offending:
            with pytest.raises(ValueError) as caught:
                func_main.predict(**inputs)
            named = {problem.split(":")[0] for problem in str(caught.value).split("; ")}
            assert named == offending
        else:
            assert 0 <= read_answer(func_main.predict(**inputs)) < math.inf
