"""scripts/shadow.py and what it keeps of a replay, over real gRPC."""

import csv
import os
import re
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor

from lib import census, drift, gateway, replay, replay_report
from lib.detector import load_detector, normal_rate
from lib.replay import ALARM, FAILED, PASSED, REJECTED, Outcome
from lib.runtime import PREDICT, load_function, start_server

import grpc
import numpy as np
import pytest
from helpers import PNG, assert_one_line, message, run, run_process, served, served_package
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor

import shadow


@pytest.fixture(scope="module")
def addresses(package, adult):
    """Both models, served for the whole module: the metric's address and the target's."""
    with served_package(package) as metric, served_package(adult) as target:
        yield metric, target


@pytest.fixture
def send(artifact, addresses, tmp_path):
    """Return a function that replays the sample through both models, and the files it writes."""

    def send(*options, data="sample", metric=addresses[0], target=addresses[1]):
        where = ("--metric", metric, "--target", target, "--reports", tmp_path / "reports")
        own = ("--data", data, "--artifact", artifact)
        return run(shadow.main, *own, *where, *options)

    return send


@pytest.fixture
def lines(tmp_path):
    """Return a function that reads the CSV file of the last replay."""

    def lines():
        with (tmp_path / "reports" / "shadow.csv").open() as file:
            return list(csv.DictReader(file))

    return lines


def read_codes(lines):
    return np.array([[int(line[name]) for name in census.FEATURES] for line in lines])


class TestReplay:
    def test_values_equal_direct_calls(self, send, lines, func_main):
        result = send("--rows", 120, "--drift", "age-in-months@80", "--concurrency", 8)
        assert result.status == 0, result.err
        kept = lines()
        values = np.array([float(line["value"]) for line in kept])
        expected = func_main.detector.decision_function(read_codes(kept))
        np.testing.assert_array_equal(values, expected)
        assert [int(line["row"]) for line in kept] == list(range(120))
        threshold = func_main.detector.threshold_
        assert [line["result"] == "alarm" for line in kept] == list(values > threshold)
        assert [line["drift"] for line in kept] == [""] * 80 + ["age-in-months"] * 40
        assert {line["source"] for line in kept} == {"sample"}

    def test_the_report(self, send, lines, tmp_path):
        out = send("--rows", 120, "--drift", "age-missing@60").out
        kept = lines()
        counted = dict(re.findall(r"^(requests|passed|alarm) +(\d+)$", out, re.MULTILINE))
        for name in ("passed", "alarm"):
            assert int(counted[name]) == sum(line["result"] == name for line in kept)
        assert int(counted["requests"]) == 120
        assert re.search(r"^data +sample, 1,400 rows held out by training, \d+", out)
        assert re.search(r"^target( +\d+\.\d\d){3}$", out, re.MULTILINE)
        assert re.search(r"^metric( +\d+\.\d\d){3}$", out, re.MULTILINE)
        picture = tmp_path / "reports" / "shadow.png"
        assert f"picture     {picture}" in out
        assert picture.read_bytes().startswith(PNG)
        before = sum(line["result"] == "alarm" for line in kept[:60]) / 60
        in_all = sum(line["result"] == "alarm" for line in kept) / 120
        alarms = [line["because"] for line in kept[:100] if line["result"] == "alarm"]
        alarms_of_age = sum(because.startswith("age ") for because in alarms)
        assert out.splitlines()[-2:] == [
            f"age-missing from request 60 on: alarms {before:.1%} before,"
            f" 100.0% since, {in_all:.1%} in all",
            f"noticed     at request 100, 40 after the drift began ({len(alarms)} alarms in 100,"
            f" 5 expected), most often because of age ({alarms_of_age})",
        ]
        because = re.search(r"^because of  age (\d+)", out, re.MULTILINE)
        assert int(because[1]) == sum(
            line["result"] == "alarm" and line["because"].startswith("age ") for line in kept
        )

    def test_each_score_is_accounted_for(self, send, lines, func_main):
        send("--rows", 60, "--drift", "age-in-months@30")
        detector, kept = func_main.detector, lines()
        shares, _ = detector.explain(read_codes(kept))
        for line, of_it in zip(kept, shares, strict=True):
            assert [float(line["p_value"])] == detector.p_value([float(line["value"])])
            because = f"{census.FEATURES[of_it.argmax()]} {of_it.max():.0%}"
            assert line["because"] == (because if float(line["value"]) else "")
        assert all(line["because"].startswith("age ") for line in kept[30:])

    def test_another_artifacts_scores_are_not_accounted_for(
        self, send, lines, hvdm_package, tmp_path
    ):
        """A running metric may have another artifact than the one at hand."""
        with served_package(hvdm_package) as metric:
            out = send("--rows", 30, metric=metric).out
        assert "30 scores are not those of the artifact here" in out
        result = run(shadow.main, "--from", tmp_path / "reports" / "shadow.csv", "--threshold", 5)
        assert result.out.splitlines()[-1].endswith("not known: the requests have no p-values")
        assert {(line["p_value"], line["because"]) for line in lines()} == {("nan", "")}

    def test_the_other_distance(self, send, lines, hvdm_package):
        """It sees a model whose answers are turned round."""
        artifact = hvdm_package / "monitoring_model.joblib"
        options = ("--rows", 200, "--drift", "classes-flipped@100", "--artifact", artifact)
        with served_package(hvdm_package) as metric:
            out = send(*options, metric=metric).out
        assert re.search(r"^noticed     at request 200, 100 after the drift ", out, re.M)

    def test_the_target_answers_what_the_metric_gets(self, send, lines):
        send("--rows", 50)
        plain = read_codes(lines())
        send("--rows", 50, "--drift", "classes-flipped@20")
        flipped = read_codes(lines())
        np.testing.assert_array_equal(plain[:, :-1], flipped[:, :-1])
        np.testing.assert_array_equal(plain[:20], flipped[:20])
        np.testing.assert_array_equal(plain[20:, -1], 1 - flipped[20:, -1])

    def test_the_seed_orders_the_rows(self, send, lines):
        replays = []
        for seed in (1, 1, 2):
            send("--rows", 20, "--seed", seed)
            replays.append(read_codes(lines()))
        np.testing.assert_array_equal(replays[0], replays[1])
        assert (replays[0] != replays[2]).any()

    def test_the_rate_is_kept(self, send):
        start = time.monotonic()
        send("--rows", 26, "--rate", 50)
        assert time.monotonic() - start >= 25 / 50

    def test_few_rows_repeat_and_it_says_so(self, send, lines, tmp_path):
        path = tmp_path / "three.csv"
        path.write_text("\n".join(census.SAMPLE_PATH.read_text().splitlines()[:3]))
        out = send("--rows", 20, data=path).out
        assert re.search(r"^data +three.csv, 3 rows, .*, each sent up to 7 times$", out, re.M)
        assert len({tuple(row) for row in read_codes(lines())[:, :-1].tolist()}) == 3

    def test_another_threshold(self, send, lines):
        send("--rows", 40, "--threshold", 2)
        kept = lines()
        assert [line["result"] == "alarm" for line in kept] == [
            float(line["value"]) > 2 for line in kept
        ]

    def test_local_runtimes(self, package, adult, tmp_path):
        """In processes of their own, and so is the script."""
        options = ("--metric", package, "--target", adult, "--rows", 20, "--data", "sample")
        result = run_process("scripts/shadow.py", *options, "--reports", tmp_path)
        assert (result.status, result.err) == (0, "")
        assert "20 requests raise an alarm" in result.out.splitlines()[-2]


class TestWhatCannotBeScored:
    def test_a_renamed_field(self, send, package, addresses, tmp_path, monkeypatch):
        """The contract asks for a field that nobody sends: nothing is scored, and it says so."""
        folder = shutil.copytree(package, tmp_path / "renamed")
        text = (folder / "serving.yaml").read_text()
        (folder / "serving.yaml").write_text(text.replace("    sex:", "    gender:"))
        monkeypatch.setattr(shadow.command, "ROOT", folder)
        result = send("--rows", 10)
        assert result.status == 1
        assert result.out.splitlines()[-1] == "10 of 10 rejected: Missing field gender"
        assert "nan" not in result.out

    def test_another_dtype(self, send, lines):
        """A target whose answer is another dtype than the metric's contract says."""
        with served(lambda **_: {"classes": 0.5, "confidence": 0.9}) as target:
            result = send("--rows", 10, target=target)
        assert result.status == 1
        expected = "10 of 10 rejected: Expected DT_INT64 data type, got DT_DOUBLE"
        assert result.out.splitlines()[-1] == expected
        assert {line["result"] for line in lines()} == {"rejected"}

    def test_a_function_that_fails(self, send, lines):
        def fail(**_):
            raise KeyError("age")

        with served(fail) as metric:
            result = send("--rows", 10, metric=metric)
        assert result.status == 1
        assert result.out.splitlines()[-1] == "10 of 10 failed: metric: INTERNAL KeyError('age')"
        assert {line["result"] for line in lines()} == {"failed"}

    def test_where_a_function_failed_is_told(self, package, addresses, tmp_path, artifact, capfd):
        """By the traceback of its own process, once."""
        folder = shutil.copytree(package, tmp_path / "failing")
        source = "def predict(**inputs):\n    return inputs['nobody']\n"
        (folder / "src" / "func_main.py").write_text(source)
        places = ("--metric", folder, "--target", addresses[1], "--reports", tmp_path / "reports")
        result = run(shadow.main, "--data", "sample", "--rows", 10, *places)
        assert result.status == 1
        assert result.err.count("Traceback") == 1
        assert "return inputs['nobody']" in result.err

    def test_a_value_under_another_name_never_alarms(self, send, lines):
        """As sonar has it: 0.0 where `value` is absent, or not a double."""
        with served(lambda **_: {"score": 99.0, "value": np.float32(99)}) as metric:
            send("--rows", 10, metric=metric)
        assert {(float(line["value"]), line["result"]) for line in lines()} == {(0.0, "passed")}


class TestNothingIsLost:
    @pytest.fixture
    def earlier(self, send, tmp_path):
        """The files of an earlier replay."""
        send("--rows", 20)
        folder = tmp_path / "reports"
        return {path: path.read_bytes() for path in folder.iterdir()}

    @pytest.mark.parametrize("hop", ["target", "metric"])
    def test_nothing_at_the_address(self, send, earlier, hop):
        result = send("--rows", 5, **{hop: "127.0.0.1:1"})
        assert_one_line(result, f"the {hop} does not answer")
        assert {path: path.read_bytes() for path in earlier} == earlier

    @pytest.mark.parametrize("hop", ["target", "metric"])
    def test_a_2_x_runtime(self, send, earlier, hop):
        """It is up, and offers another service."""
        server = grpc.server(ThreadPoolExecutor(1))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            result = send("--rows", 5, **{hop: f"127.0.0.1:{port}"})
        finally:
            server.stop(0).wait()
        assert_one_line(result, f"the {hop} does not offer {PREDICT[1:]}, as 3.x runtimes do")
        assert {path: path.read_bytes() for path in earlier} == earlier

    def test_a_target_that_is_not_trained(self, send, earlier, adult, tmp_path):
        """One line for one cause, though it is another process that finds it."""
        folder = shutil.copytree(adult, tmp_path / "untrained")
        (folder / "classifier.json").unlink()
        result = send("--rows", 5, target=folder)
        assert_one_line(result, "classifier.json (No such file", "make train MODEL=examples/adult")
        assert {path: path.read_bytes() for path in earlier} == earlier

    def test_another_threshold_has_a_picture_of_its_own(self, earlier, tmp_path):
        path = tmp_path / "reports" / "shadow.csv"
        result = run(shadow.main, "--from", path, "--threshold", 2.5)
        values = [float(line["value"]) for line in csv.DictReader(path.open())]
        expected = sum(value > 2.5 for value in values)
        assert re.search(rf"^alarm +{expected}$", result.out, re.MULTILINE)
        assert "raise an alarm\ntoo few requests to notice anything" in result.out
        picture = tmp_path / "reports" / "shadow-2.5.png"
        assert str(picture) in result.out
        assert picture.read_bytes().startswith(PNG)
        assert {path: path.read_bytes() for path in earlier} == earlier


class TestInterruption:
    """A replay that would take a minute, ended at its twentieth request."""

    @pytest.fixture
    def end_at_twentieth(self, send, package):
        """Return a function that replays, and calls another one at the twentieth request."""

        def replay(end):
            score, calls = load_function(package), []

            def count_and_score(**inputs):
                calls.append(inputs)
                if len(calls) == 20:
                    end(server)
                return score(**inputs)

            server, port = start_server(count_and_score, "127.0.0.1:0")
            try:
                return send("--rows", 3000, "--rate", 50, metric=f"127.0.0.1:{port}")
            finally:
                server.stop(0).wait()

        return replay

    def test_ctrl_c(self, end_at_twentieth, lines):
        result = end_at_twentieth(lambda _: os.kill(os.getpid(), signal.SIGINT))
        kept = lines()
        assert 0 < len(kept) < 3000
        line = f"shadow.py: interrupted after {len(kept)} of 3,000 requests\n"
        assert (result.status, result.err) == (130, line)
        assert f"requests    {len(kept):>8}" in result.out

    def test_a_runtime_that_goes_away(self, end_at_twentieth, lines):
        result = end_at_twentieth(lambda server: server.stop(0))
        kept = lines()
        assert 0 < len(kept) < 3000
        assert_one_line(result, "the metric does not answer", f"after {len(kept)} requests")
        assert f"requests    {len(kept):>8}" in result.out


FIELDS = {
    "age": {"shape": "scalar", "numpy_type": np.int64},
    "value": {"shape": [2], "numpy_type": np.float64},
}
AGE = message(1)
VALUE = message([1.0, 2.0], 2, "double_val", (2,))


class TestValidate:
    def test_extra_fields_are_dropped(self):
        tensors = {"age": AGE, "value": VALUE, "other": AGE}
        accepted, reason = gateway.validate(tensors, FIELDS)
        assert accepted == {"age": AGE, "value": VALUE}
        assert reason == ""

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"age": None}, "Missing field age"),
            ({"age": Tensor(dtype=1)}, "Expected DT_INT64 data type, got DT_FLOAT"),
            ({"age": Tensor(dtype=99)}, "Expected DT_INT64 data type, got 99"),
            ({"age": message(1, dims=(1,))}, "Expected [] shape, got [1]"),
            ({"value": Tensor(dtype=2)}, "Expected [2] shape, got []"),
            ({"age": None, "value": None}, "Missing field age; Missing field value"),
        ],
    )
    def test_reasons(self, changes, reason):
        tensors = {"age": AGE, "value": VALUE, **changes}
        tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        assert gateway.validate(tensors, FIELDS)[1] == reason

    def test_a_contract_of_another_type(self):
        fields = {"age": {"shape": "scalar", "numpy_type": np.str_}}
        reason = "Expected DT_STRING data type, got DT_INT64"
        assert gateway.validate({"age": AGE}, fields)[1] == reason


class TestBadOptions:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ("--drift age-in-months", "expected NAME@ROW"),
            ("--drift age@5", "expected NAME@ROW"),
            ("--drift age-missing@99999", "--drift: only 2,000 requests are sent"),
            ("--drift age-missing@10 --rows 10", "only 10 requests are sent"),
            ("--rows 0", "--rows: must be from 1 to 1,000,000, got 0"),
            ("--rows 1000000000000", "--rows: must be from 1 to 1,000,000"),
            ("--concurrency 0", "--concurrency"),
            ("--rate -1", "--rate"),
            ("--rate nan", "--rate"),
            ("--from a.csv", "--from needs --threshold"),
            ("--from none.csv --threshold 2", "none.csv: No such file"),
            ("--artifact none", "cannot load none (No such file"),
        ],
    )
    def test_usage(self, send, options, words):
        assert_one_line(send(*options.split()), "shadow.py: ", words)

    def test_nowhere_to_write_is_told_at_once(self, send, tmp_path):
        (tmp_path / "reports").touch()
        result = send("--metric", "127.0.0.1:1")
        assert_one_line(result, f"{tmp_path / 'reports' / 'shadow.csv'} cannot be written")

    @pytest.mark.parametrize(
        "content",
        [
            b"a,b\n1,2\n",
            ",".join(replay.HEADER).encode() + b"\n1,2\n",
            b"row\n" + b"1" * 200_000,
            PNG + bytes(range(256)) * 100,
        ],
        ids=["columns", "cells", "field", "picture"],
    )
    def test_another_csv(self, content, tmp_path):
        (tmp_path / "other.csv").write_bytes(content)
        result = run(shadow.main, "--from", tmp_path / "other.csv", "--threshold", 2)
        assert_one_line(result, "other.csv was not written by shadow.py")
        assert len(result.err) < 400

    def test_an_empty_csv(self, tmp_path):
        (tmp_path / "empty.csv").write_text(",".join(replay.HEADER) + "\n")
        result = run(shadow.main, "--from", tmp_path / "empty.csv", "--threshold", 2)
        assert_one_line(result, "empty.csv holds no requests")


def outcomes(*results, drift_name="", first=0, source="mine.csv"):
    sent = tuple(range(len(census.FEATURES)))
    return [
        Outcome(
            first + n,
            source,
            drift_name,
            sent,
            9.0 if result == ALARM else 1.0,
            result,
            "why",
            because="age 97%" if result == ALARM else "",
        )
        for n, result in enumerate(results)
    ]


def drifted(n_before, n_since, of=1000):
    """Return requests of which so many, evenly spread, raise an alarm before and since a drift."""

    def spread(n):
        return [ALARM if (k + 1) * n // of > k * n // of else PASSED for k in range(of)]

    name = next(iter(drift.DRIFTS))
    return outcomes(*spread(n_before)) + outcomes(*spread(n_since), drift_name=name, first=of)


class TestDescribe:
    @pytest.mark.parametrize(
        ("n_before", "n_since", "of", "rates", "news"),
        [
            (50, 1000, 1000, "5.0% before, 100.0% since, 52.5% in all", "1,100, 100 after"),
            (50, 150, 1000, "5.0% before, 15.0% since, 10.0% in all", "1,100, 100 after"),
            (50, 60, 1000, "5.0% before, 6.0% since, 5.5% in all", None),
            (150, 50, 1000, "15.0% before, 5.0% since, 10.0% in all", "100, 900 before"),
        ],
    )
    def test_a_drift(self, n_before, n_since, of, rates, news):
        rate, noticed = replay_report.describe(drifted(n_before, n_since, of), 0.0514)
        assert rate == f"age-in-months from request {of:,} on: alarms {rates}"
        n_alarms = max(n_before, n_since) // 10
        assert noticed == (
            f"noticed     at request {news} the drift began"
            f" ({n_alarms} alarms in 100, 5 expected), most often because of age ({n_alarms})"
            if news
            else "not noticed: no block of 100 requests has too many alarms (5 expected)"
        )

    @pytest.mark.parametrize(("n_alarms", "noticed"), [(13, False), (14, True)])
    def test_news_is_more_than_chance_gives_in_a_thousand(self, n_alarms, noticed):
        """P(14 or more of 100 at 5.14%) is 0.0006, P(13 or more) 0.0018."""
        block = outcomes(*[ALARM] * n_alarms, *[PASSED] * (100 - n_alarms))
        assert bool(replay_report.find_news(block, 0.0514)) == noticed

    def test_a_block_is_of_scored_requests(self):
        lost = outcomes(*[REJECTED] * 50)
        block = outcomes(*[ALARM] * 99, first=50)
        assert replay_report.find_news(lost + block, 0.05) is None
        assert replay_report.find_news(lost + block + outcomes(ALARM, first=149), 0.05)[0] == 150

    def test_without_a_drift(self):
        many = outcomes(*[PASSED] * 100, *[ALARM] * 100)
        assert replay_report.describe(many, 0.05) == [
            "50.0% of 200 requests raise an alarm",
            "noticed     at request 200 (100 alarms in 100, 5 expected),"
            " most often because of age (100)",
        ]

    @pytest.mark.parametrize(
        ("n_requests", "normal", "words"),
        [
            (99, 0.05, "too few requests to notice anything: a block has 100"),
            (500, None, "when it was noticed is not known: the requests have no p-values"),
        ],
    )
    def test_what_cannot_be_told(self, n_requests, normal, words):
        assert replay_report.describe(outcomes(*[ALARM] * n_requests), normal)[-1] == words

    def test_a_drift_from_the_start(self):
        said, _ = replay_report.describe(outcomes(ALARM, PASSED, drift_name="age-missing"), 0.05)
        assert said == "age-missing from request 0 on: alarms 50.0%"

    def test_a_drift_after_which_nothing_is_scored(self):
        before, since = outcomes(PASSED), outcomes(FAILED, drift_name="age-missing", first=1)
        first, second, _ = replay_report.describe(before + since, 0.05)
        assert first == "1 of 2 failed: why"
        assert second.endswith("alarms 0.0% before, none scored since, 0.0% in all")

    def test_losses_are_named(self):
        lines = replay_report.describe(outcomes(PASSED, REJECTED, FAILED, FAILED), 0.05)
        assert lines[:3] == [
            "1 of 4 rejected: why",
            "2 of 4 failed: why",
            "0.0% of 4 requests raise an alarm",
        ]

    def test_nothing_scored(self):
        lines = replay_report.describe(outcomes(*[REJECTED] * 2000), 0.05)
        assert lines == ["2,000 of 2,000 rejected: why"]

    def test_features_are_counted(self):
        some = outcomes(ALARM, ALARM, PASSED)
        some[1].because = "hours_per_week 51%"
        more = outcomes(ALARM, first=3)
        assert replay_report.count_features(some + more) == [("age", 2), ("hours_per_week", 1)]
        assert "because of  age 2, hours_per_week 1" in replay_report.format_table(some + more)


class TestPicture:
    @pytest.fixture
    def drawn(self, monkeypatch, tmp_path):
        """Return a function that draws outcomes, and gives the figure back."""
        figures = []
        savefig = replay_report.Figure.savefig

        def keep(figure, *arguments, **options):
            figures.append(figure)
            savefig(figure, *arguments, **options)

        def draw(outcomes):
            monkeypatch.setattr(replay_report.Figure, "savefig", keep)
            replay_report.plot(outcomes, 5.0, 0.05, tmp_path / "a.png")
            return figures[-1]

        return draw

    @pytest.mark.parametrize(
        ("made", "words"),
        [
            (drifted(50, 50), "not noticed"),
            (drifted(50, 1000), "noticed at request 1,100, 100 after the drift began"),
            (outcomes(*[REJECTED] * 20), "20 of 20 rejected: why"),
            (outcomes(PASSED, ALARM), "50.0% of 2 requests raise an alarm"),
            (outcomes(PASSED, source="sample"), "a sample of synthetic people"),
        ],
    )
    def test_its_title(self, drawn, made, words):
        assert words in drawn(made).get_suptitle()

    def test_its_legend_hides_no_point(self, drawn):
        figure = drawn(drifted(50, 500))
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)


def test_the_normal_rate_of_a_replay(artifact, rows):
    """From p-values, near the share of training rows above any threshold."""
    detector = load_detector(artifact)
    for threshold in (2.0, 4.0, float(detector.threshold_), 9.0):
        some = outcomes(*[PASSED] * len(rows))
        values = detector.decision_function(rows)
        for outcome, value, p in zip(some, values, detector.p_value(values), strict=True):
            outcome.p_value = float(p)
            outcome.judge(value, threshold)
        expected = np.mean(detector.decision_scores_ > threshold)
        assert replay.normal_rate_of(some) == pytest.approx(expected, rel=0.05)
        assert normal_rate(detector, threshold) == pytest.approx(expected, rel=0.05)
    alarms = [one for one in some if one.result == ALARM]
    assert replay.normal_rate_of(alarms) == max(one.p_value for one in alarms)
    assert replay.normal_rate_of([]) is None


def test_a_normal_rate_is_never_zero(artifact):
    """Of 40 held-out rows none may alarm; one alarm in a hundred is no news all the same."""
    detector = load_detector(artifact)
    detector.origin_["held_out_rate"] = 0.0
    assert normal_rate(detector, detector.threshold_) == 0.05
    assert normal_rate(detector, 1e9) == 1 / (1 + len(detector.decision_scores_))


def test_a_replay_from_before_p_values(tmp_path):
    path = tmp_path / "old.csv"
    names = [name for name in replay.HEADER if name not in ("p_value", "because")]
    cells = ["0", "uci", "", *"7" * 13, "1.5", "passed", "", "1.0", "2.0"]
    path.write_text(f"{','.join(names)}\n{','.join(cells)}\n")
    (outcome,) = replay.read_csv(path, 5)
    assert (outcome.value, outcome.because, outcome.target_ms) == (1.5, "", 1.0)


def test_outcomes_come_back_as_written(tmp_path):
    sent = (7,) * len(census.FEATURES)
    written = [
        Outcome(0, "uci", "", sent, 1.5, PASSED, "", 0.5, "sex 60%", 1.0, 2.0),
        Outcome(1, "uci", "age-missing", sent, 9.5, ALARM, "", 0.001, "age 97%", 1.0, 2.0),
        Outcome(2, "uci", "", sent[:-1], reason="Missing field classes", result=REJECTED),
    ]
    replay.write_csv(written, tmp_path / "a.csv")
    assert repr(replay.read_csv(tmp_path / "a.csv", 5)) == repr(written)
