"""`replay` over real gRPC: a replay, what it keeps, and what may go wrong."""

import csv
import os
import re
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from helpers import PNG, assert_one_line, run, run_process, served, served_package, train_package

from knn_metric.data import census
from knn_metric.data.census import load_census
from knn_metric.detection.calibration import rank_fields
from knn_metric.detection.surprise import FieldSurprise
from knn_metric.platform.server import PREDICT, load_function, start_server
from knn_metric.replay.sender import Plan


@pytest.fixture(scope="module")
def addresses(package, adult_package):
    """Both models, served for the whole module: the metric's address and the target's."""
    with served_package(package) as metric, served_package(adult_package) as target:
        yield metric, target


@pytest.fixture
def send(artifact, addresses, tmp_path):
    """Return a function that replays the sample through both models, and the files it writes."""

    def send(*options, data="sample", metric=addresses[0], target=addresses[1]):
        where = ("--runtime", metric, "--target", target, "--out", tmp_path / "reports")
        own = ("--data", data, "--package", artifact.parent)
        return run("replay", *own, *where, *options)

    return send


@pytest.fixture
def lines(tmp_path):
    """Return a function that reads the CSV file of the last replay."""

    def lines():
        with (tmp_path / "reports" / "replay.csv").open() as file:
            return list(csv.DictReader(file))

    return lines


def read_codes(lines):
    return np.array([[int(line[name]) for name in census.FEATURES] for line in lines])


@pytest.fixture(scope="module")
def replayed(artifact, addresses, tmp_path_factory):
    """A replay's report, the lines of its CSV file, and its picture's path."""
    folder = tmp_path_factory.mktemp("replayed")
    where = ("--runtime", addresses[0], "--target", addresses[1], "--out", folder)
    options = "--rows 120 --corrupt age-in-months@80 --concurrency 8 --data sample".split()
    result = run("replay", *options, "--package", artifact.parent, *where)
    assert (result.status, result.err) == (0, "")
    with (folder / "replay.csv").open() as file:
        return result.out, list(csv.DictReader(file)), folder / "replay.png"


class TestReplay:
    def test_values_equal_direct_calls(self, replayed, func_main):
        _, kept, _ = replayed
        values = np.array([float(line["value"]) for line in kept])
        expected = func_main.detector.decision_function(read_codes(kept))
        np.testing.assert_array_equal(values, expected)
        assert [int(line["row"]) for line in kept] == list(range(120))
        threshold = func_main.detector.threshold_
        assert [line["result"] == "alarm" for line in kept] == list(values > threshold)
        assert [line["corruption"] for line in kept] == [""] * 80 + ["age-in-months"] * 40
        assert {line["source"] for line in kept} == {"sample"}

    def test_the_report(self, replayed):
        out, kept, picture = replayed
        counted = dict(re.findall(r"^(requests|passed|alarm) +(\d+)$", out, re.MULTILINE))
        for name in ("passed", "alarm"):
            assert int(counted[name]) == sum(line["result"] == name for line in kept)
        assert int(counted["requests"]) == 120
        assert re.search(r"^data +sample, 1,400 rows held out by training, \d+", out)
        assert re.search(r"^target( +\d+\.\d\d){3}$", out, re.MULTILINE)
        assert re.search(r"^metric( +\d+\.\d\d){3}$", out, re.MULTILINE)
        assert f"the picture is {picture}" in out
        assert picture.read_bytes().startswith(PNG)
        before = sum(line["result"] == "alarm" for line in kept[:80]) / 80
        in_all = sum(line["result"] == "alarm" for line in kept) / 120
        rate, detected, field = out.splitlines()[-3:]
        assert rate == (
            f"age-in-months from request 80 on: alarms {before:.1%} before,"
            f" 100.0% since, {in_all:.1%} in all"
        )
        words = (
            r"change detected at request (\d+), (\d+) after the corruption began; it began at about"
        )
        request, after, onset = map(int, re.fullmatch(rf"{words} request (\d+)", detected).groups())
        assert (request - after, after < 10, abs(onset - 80) < 15) == (80, True, True)
        assert re.fullmatch(r"age: (39|40|41|42) of \d\d requests, \d usual", field)

    def test_a_change_of_a_code_is_one_change(self, send):
        lines = send("--rows", 500, "--corrupt", "sex-flipped@250").out.splitlines()
        (detected,) = [line for line in lines if "detected" in line]
        assert 0 < int(re.search(r", (\d+) after", detected)[1]) < 40
        assert lines[-1].startswith("sex: ")

    def test_each_score_is_attributed(self, replayed, func_main):
        detector, kept = func_main.detector, replayed[1]
        surprises = FieldSurprise.of(detector).surprise(read_codes(kept))
        rarest = rank_fields(detector.calibration_, surprises).argmax(axis=1)
        for line, place in zip(kept, rarest, strict=True):
            assert [float(line["p_value"])] == detector.p_value([float(line["value"])])
            assert line["top_feature"] == census.FEATURES[place]
        assert {line["top_feature"] for line in kept[80:]} == {"age"}

    def test_a_metric_that_serves_another_artifact(self, send, lines, tmp_path):
        """No verdict without the artifact's own scores; what was sent is kept."""
        other = tmp_path / "other"
        train_package(other, "sample", "--neighbors", 5)
        with served_package(other) as metric:
            result = send("--rows", 30, metric=metric)
        words = "of 30 scores are not those of the artifact here: the metric serves another"
        assert_one_line(result, words)
        assert "change" not in result.out
        assert {(line["p_value"], line["top_feature"]) for line in lines()} == {("nan", "")}

    def test_any_corruption_of_the_vocabulary(self, send, lines):
        send("--rows", 40, "--corrupt", "fill:education:7@20")
        assert {line["education"] for line in lines()[20:]} == {"7"}
        assert {line["corruption"] for line in lines()[20:]} == {"fill:education:7"}

    def test_the_target_answers_what_the_metric_gets(self, send, lines):
        send("--rows", 50)
        plain = read_codes(lines())
        send("--rows", 50, "--corrupt", "classes-flipped@20")
        flipped = read_codes(lines())
        np.testing.assert_array_equal(plain[:, :-1], flipped[:, :-1])
        np.testing.assert_array_equal(plain[:20], flipped[:20])
        np.testing.assert_array_equal(plain[20:, -1], 1 - flipped[20:, -1])

    def test_the_seed_orders_the_rows(self):
        rows = load_census("sample")
        plans = [Plan(rows, 20, seed, None, 20) for seed in (1, 1, 2)]
        sent = [np.array([request.values for request in plan.requests()]) for plan in plans]
        np.testing.assert_array_equal(sent[0], sent[1])
        assert (sent[0] != sent[2]).any()

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

    def test_a_client_that_polls_raises_no_alert(self, send, lines):
        result = send("--repeat", 20)
        assert result.out.splitlines()[-1] == "no change detected"
        assert re.search(r"^data .*, each sent up to 20 times$", result.out, re.MULTILINE)
        sent = read_codes(lines()).reshape(100, 20, 13)
        assert (sent == sent[:, :1]).all()
        assert len(np.unique(sent[:, 0], axis=0)) > 90

    def test_the_hours_have_their_own_rows(self, send, lines, tmp_path):
        """The age of each is its hour; at 7 there are four times as many, and some have no time."""
        hours = np.array([*range(24), 7, 7, 7, 3])
        columns = dict.fromkeys(census.FEATURES, np.ones(28, int)) | {"age": hours}
        times = [f"2026-11-2{day % 5}T{hour:02}:30" for day, hour in enumerate(hours[:27])] + [""]
        lines_of = zip(times, *columns.values(), strict=True)
        text = [",".join(map(str, line)) for line in [("_hs_timestamp", *columns), *lines_of]]
        (tmp_path / "log.csv").write_text("\n".join(text))
        send("--rows", 54, "--pattern", "hours", data=tmp_path / "log.csv")
        sent = read_codes(lines())[:, 0].tolist()
        assert sent == sorted(hours[:27]) * 2

    def test_another_threshold(self, send, lines):
        send("--rows", 40, "--threshold", 2)
        kept = lines()
        assert [line["result"] == "alarm" for line in kept] == [
            float(line["value"]) > 2 for line in kept
        ]

    @pytest.mark.slow
    def test_local_runtimes(self, package, adult_package, tmp_path):
        """In processes of their own, and so is the command."""
        places = ("--package", package, "--target", adult_package, "--out", tmp_path)
        result = run_process("replay", *places, "--rows", 20, "--data", "sample")
        assert (result.status, result.err) == (0, "")
        assert "20 requests raise an alarm" in result.out.splitlines()[-2]
        assert result.out.splitlines()[-1] == "no change detected"


class TestWhatCannotBeScored:
    def test_a_renamed_field(self, send, package, tmp_path):
        """The contract asks for a field that the rows do not have."""
        folder = shutil.copytree(package, tmp_path / "renamed")
        text = (folder / "serving.yaml").read_text()
        (folder / "serving.yaml").write_text(text.replace("    sex:", "    gender:"))
        result = send("--rows", 10, "--package", folder)
        assert_one_line(result, "was trained on age", "the contract has age", "gender")

    def test_another_dtype(self, send, lines):
        """A target whose answer is another dtype than the metric's contract says."""
        with served(lambda **_: {"classes": 0.5, "confidence": 0.9}) as target:
            result = send("--rows", 10, target=target)
        assert result.status == 2
        expected = "10 of 10 rejected: Expected DT_INT64 data type, got DT_DOUBLE"
        assert result.out.splitlines()[-1] == expected
        assert {line["result"] for line in lines()} == {"rejected"}

    def test_a_function_that_fails(self, send, lines):
        def fail(**_):
            raise KeyError("age")

        with served(fail) as metric:
            result = send("--rows", 10, metric=metric)
        assert result.status == 2
        assert result.out.splitlines()[-1] == "10 of 10 failed: metric: INTERNAL KeyError('age')"
        assert {line["result"] for line in lines()} == {"failed"}

    def test_where_a_function_failed_is_told(self, package, addresses, tmp_path):
        """By the traceback of its own process, once."""
        folder = shutil.copytree(package, tmp_path / "failing")
        source = "def predict(**inputs):\n    return inputs['nobody']\n"
        (folder / "src" / "func_main.py").write_text(source)
        places = ("--package", folder, "--target", addresses[1], "--out", tmp_path / "reports")
        result = run("replay", "--data", "sample", "--rows", 10, *places)
        assert result.status == 2
        assert result.err.count("Traceback") == 1
        assert "return inputs['nobody']" in result.err

    def test_a_value_under_another_name_never_alarms(self, send, lines):
        """As sonar has it: 0.0 where `value` is absent, or not a double."""
        with served(lambda **_: {"score": 99.0, "value": np.float32(99)}) as metric:
            send("--rows", 10, metric=metric)
        assert {(float(line["value"]), line["result"]) for line in lines()} == {(0.0, "passed")}


class TestNothingIsLost:
    @pytest.fixture
    def earlier(self, tmp_path):
        """The files of an earlier replay."""
        (tmp_path / "reports").mkdir()
        earlier = {tmp_path / "reports" / f"replay.{end}": b"earlier" for end in ("csv", "png")}
        for path, content in earlier.items():
            path.write_bytes(content)
        return earlier

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

    def test_a_target_that_is_not_trained(self, send, earlier, adult_package, tmp_path):
        """One line for one cause, though it is another process that finds it."""
        folder = shutil.copytree(adult_package, tmp_path / "untrained")
        (folder / "classifier.json").unlink()
        result = send("--rows", 5, target=folder)
        assert_one_line(
            result, "classifier.json (No such file", "train it with examples/adult/train.py"
        )
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
        line = f"knn-metric replay: interrupted after {len(kept)} of 3,000 requests\n"
        assert (result.status, result.err) == (130, line)
        assert re.search(rf"^requests +{len(kept)}$", result.out, re.MULTILINE)

    def test_a_runtime_that_goes_away(self, end_at_twentieth, lines):
        result = end_at_twentieth(lambda server: server.stop(0))
        kept = lines()
        assert 0 < len(kept) < 3000
        assert_one_line(result, "the metric does not answer", f"after {len(kept)} requests")
        assert re.search(rf"^requests +{len(kept)}$", result.out, re.MULTILINE)


class TestBadOptions:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ("--corrupt age-in-months", "expected NAME@ROW"),
            ("--corrupt age@5", "'age' is no corruption: expected scale:FIELD:BY"),
            ("--corrupt swap:age:income@5", "income is not one of age, workclass"),
            ("--corrupt age-missing@99999", "--corrupt: only 2,000 requests are sent"),
            ("--corrupt age-missing@10 --rows 10", "only 10 requests are sent"),
            ("--rows 0", "--rows: must be from 1 to 1,000,000, got 0"),
            ("--rows 1000000000000", "--rows: must be from 1 to 1,000,000"),
            ("--concurrency 0", "--concurrency"),
            ("--rate -1", "--rate"),
            ("--rate nan", "--rate"),
            ("--repeat 0", "--repeat"),
            ("--pattern hours", "--pattern=hours: the rows of sample have no times"),
            ("--package none", "none/serving.yaml is not there"),
        ],
    )
    def test_usage(self, send, options, words):
        assert_one_line(send(*options.split()), "knn-metric replay: ", words)

    def test_nowhere_to_write_is_told_at_once(self, send, tmp_path):
        (tmp_path / "reports").touch()
        result = send(metric="127.0.0.1:1")
        assert_one_line(result, f"{tmp_path / 'reports' / 'replay.csv'} cannot be written")
