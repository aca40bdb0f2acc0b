"""`replay` over real gRPC: a replay, what it keeps, and what may go wrong."""

import csv
import os
import re
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
import numpy as np
import pyarrow as pa
import pytest
import yaml
from helpers import PNG, assert_one_line, copy_package, run, served, served_package
from pyarrow import csv as pa_csv
from pyarrow import parquet

from knn_metric.data import census
from knn_metric.data.rows import load_census
from knn_metric.detection.calibration import rank_fields
from knn_metric.detection.surprise import FieldSurprise
from knn_metric.files import ROOT
from knn_metric.platform.server import PREDICT, load_function, start_server
from knn_metric.replay.sender import Plan


@pytest.fixture(scope="module")
def replay(package, adult_package):
    """Return a function that replays the sample into a folder, through both models as served."""
    with served_package(package) as own, served_package(adult_package) as watched:

        def replay(folder, *options, data="sample", metric=own, target=watched):
            where = ("--runtime", metric, "--target", target, "--out", folder)
            return run("replay", "--data", data, "--package", package, *where, *options)

        yield replay


@pytest.fixture
def send(replay, tmp_path):
    return partial(replay, tmp_path / "reports")


def read_lines(folder):
    with (folder / "replay.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def lines(tmp_path):
    """Return a function that reads the CSV file of the last replay."""
    return partial(read_lines, tmp_path / "reports")


def read_codes(lines):
    return np.array([[int(line[name]) for name in census.FEATURES] for line in lines])


@pytest.fixture(scope="module")
def replayed(replay, tmp_path_factory):
    """A replay's report, the lines of its CSV file, and its picture's path."""
    folder = tmp_path_factory.mktemp("replayed")
    options = "--rows 120 --corrupt age-in-months@80 --concurrency 8"
    result = replay(folder, *options.split())
    assert (result.status, result.err) == (0, "")
    return result.out, read_lines(folder), folder / "replay.png"


class TestReplay:
    def test_values_equal_direct_calls(self, replayed, detector):
        _, kept, _ = replayed
        values = np.array([float(line["value"]) for line in kept])
        assert (values == detector.decision_function(read_codes(kept))).all()
        assert [int(line["row"]) for line in kept] == list(range(120))
        assert [line["result"] == "alarm" for line in kept] == list(values > detector.threshold_)
        assert [line["corruption"] for line in kept] == [""] * 80 + ["age-in-months"] * 40
        assert {line["source"] for line in kept} == {"sample"}

    def test_the_report(self, replayed):
        out, kept, picture = replayed
        counted = dict(re.findall(r"^(requests|passed|alarm) +(\d+)$", out, re.MULTILINE))
        results = [line["result"] for line in kept]
        counts = {name: str(results.count(name)) for name in ("passed", "alarm")}
        assert counted == {"requests": "120", **counts}
        assert re.search(r"^data +sample, 1,400 rows held out by training, \d+", out)
        for hop in ("target", "metric"):
            assert re.search(rf"^{hop}( +\d+\.\d\d){{3}}$", out, re.MULTILINE)
        assert f"the picture is {picture}" in out
        assert picture.read_bytes().startswith(PNG)
        rate, detected, field = out.splitlines()[-3:]
        assert f", 100.0% since, {results.count('alarm') / 120:.1%} in all" in rate
        request, after, onset = map(int, re.findall(r"\d+", detected))
        assert (request - after, after < 10, abs(onset - 80) < 15) == (80, True, True)
        assert re.fullmatch(r"age: (39|40|41|42) of \d\d requests, \d usual", field)

    def test_each_score_is_attributed(self, replayed, detector):
        kept = replayed[1]
        surprises = FieldSurprise.of(detector).surprise(read_codes(kept))
        rarest = rank_fields(detector.calibration_, surprises).argmax(axis=1)
        for line, place in zip(kept, rarest, strict=True):
            assert [float(line["p_value"])] == detector.p_value([float(line["value"])])
            assert line["top_feature"] == census.FEATURES[place]
        assert {line["top_feature"] for line in kept[80:]} == {"age"}

    def test_a_metric_that_serves_another_artifact(self, send, lines):
        """No verdict without the artifact's own scores; what was sent is kept."""
        with served(lambda **_: {"value": 2.5}) as metric:
            result = send("--rows", 30, metric=metric)
        words = "of 30 scores are not those of the artifact here: the metric serves another"
        assert_one_line(result, words)
        assert "change" not in result.out
        assert {(line["p_value"], line["top_feature"]) for line in lines()} == {("nan", "")}

    def test_any_corruption_and_another_threshold(self, send, lines):
        send("--rows", 40, "--corrupt", "fill:education:7@20", "--threshold", 2)
        kept = lines()
        said = {(line["education"], line["corruption"]) for line in kept[20:]}
        assert said == {("7", "fill:education:7")}
        for line in kept:
            assert line["result"] == ("alarm" if float(line["value"]) > 2 else "passed")

    def test_the_target_answers_what_the_metric_gets(self, send, lines):
        send("--rows", 50)
        plain = read_codes(lines())
        send("--rows", 50, "--corrupt", "classes-flipped@20")
        flipped = read_codes(lines())
        plain[20:, -1] = 1 - plain[20:, -1]
        np.testing.assert_array_equal(plain, flipped)

    def test_the_seed_orders_the_rows(self):
        rows = load_census("sample")
        plans = [Plan(rows, 20, seed, None, 20) for seed in (1, 1, 2)]
        sent = [np.array([one.rows.values[one.place] for one in plan.requests()]) for plan in plans]
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
        result = send("--rows", 600, "--repeat", 20)
        assert result.out.splitlines()[-1] == "no change detected"
        assert re.search(r"^data .*, each sent up to 20 times$", result.out, re.MULTILINE)
        sent = read_codes(lines()).reshape(30, 20, 13)
        assert (sent == sent[:, :1]).all()
        assert len(np.unique(sent[:, 0], axis=0)) > 25

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


SEEN = 2**60 + 1  # no float64 holds it
TAKING_MORE = f"""
import numpy as np
features = ["age"]

def predict(seen_at, city, age, **others):
    assert type(seen_at) is np.int64 and city == f"c{{seen_at - {SEEN}}}"
    return {{"classes": age % 2}}
"""


@pytest.mark.parametrize("command", ["replay", "evaluate"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_inputs_of_the_target_that_the_metric_leaves_out(package, tmp_path, command, kind):
    """They come from the data's columns of that name; rows without one count as rejected."""
    target = copy_package(tmp_path / "target")
    (target / "src" / "func_main.py").write_text(TAKING_MORE)
    definition = yaml.safe_load((target / "serving.yaml").read_text())
    signature = definition["contract"]
    answered = {"classes": signature["inputs"].pop("classes")}
    signature["inputs"]["seen_at"] = {"shape": "scalar", "type": "int64"}
    signature["inputs"]["city"] = {"shape": "scalar", "type": "string"}
    signature["outputs"] = answered
    (target / "serving.yaml").write_text(yaml.safe_dump(definition))
    rows = load_census("sample").values[:40].astype(int)
    table = pa.table(dict(zip(census.FEATURES, rows.T, strict=True)))
    table = table.append_column("seen_at", pa.array([SEEN + int(age) for age in rows[:, 0]]))
    cities = [f"c{age}" for age in rows[:39, 0]] + [None]
    full = table.append_column("city", pa.array(cities))
    write = {"csv": pa_csv.write_csv, "parquet": parquet.write_table}[kind]
    write(full, tmp_path / f"full.{kind}")
    write(table, tmp_path / f"less.{kind}")
    options = ("--package", package, "--target", target, "--out", tmp_path / "out")
    options += ("--rows", 39) if command == "replay" else ("--corrupt", "mix")
    result = run(command, "--data", tmp_path / f"full.{kind}", *options)
    assert result.status == 0, result
    assert "full.csv, 39 rows".replace("csv", kind) in result.out
    result = run(command, "--data", tmp_path / f"less.{kind}", *options)
    assert_one_line(result, f"less.{kind}: no column city")
    assert_one_line(
        run(command, "--data", "sample", *options), "which has no city, seen_at for the target"
    )


class TestWhatCannotBeScored:
    @pytest.mark.parametrize(
        ("hop", "answers", "result", "reason"),
        [
            ("target", {"classes": 0.5}, "rejected", "Expected DT_INT64 data type, got DT_DOUBLE"),
            ("target", {}, "failed", "target: INTERNAL KeyError('classes')"),
            ("metric", {}, "failed", "metric: INTERNAL KeyError('classes')"),
        ],
    )
    def test_an_answer_of_another_type_and_none(self, send, lines, hop, answers, result, reason):
        with served(lambda **_: {"classes": answers["classes"], "confidence": 0.9}) as address:
            said = send("--rows", 10, **{hop: address})
        assert said.status == 2
        assert said.out.splitlines()[-1] == f"10 of 10 {result}: {reason}"
        assert {line["result"] for line in lines()} == {result}

    def test_where_a_function_failed_is_told(self, package, adult_package, tmp_path):
        """By the traceback of its own process, once; both are served for this replay."""
        folder = shutil.copytree(package, tmp_path / "failing")
        source = "def predict(**inputs):\n    return inputs['nobody']\n"
        (folder / "src" / "func_main.py").write_text(source)
        places = ("--package", folder, "--target", adult_package, "--out", tmp_path)
        result = run("replay", "--data", "sample", "--rows", 10, *places)
        assert (result.status, result.err.count("Traceback")) == (2, 1)
        assert "return inputs['nobody']" in result.err

    def test_a_value_under_another_name_never_alarms(self, send, lines):
        """As sonar has it: 0.0 where `value` is absent, or not a double."""
        with served(lambda **_: {"score": 99.0, "value": np.float32(99)}) as metric:
            send("--rows", 10, metric=metric)
        assert {(float(line["value"]), line["result"]) for line in lines()} == {(0.0, "passed")}


class TestNothingIsLost:
    @pytest.fixture(autouse=True)
    def earlier(self, tmp_path):
        """The files of an earlier replay stay as they are."""
        (tmp_path / "reports").mkdir()
        paths = [tmp_path / "reports" / f"replay.{end}" for end in ("csv", "png")]
        for path in paths:
            path.write_bytes(b"earlier")
        yield
        assert [path.read_bytes() for path in paths] == [b"earlier"] * 2

    @pytest.mark.parametrize("hop", ["target", "metric"])
    def test_nothing_at_the_address_and_a_2_x_runtime(self, send, hop):
        """Which is up, and offers another service."""
        result = send("--rows", 5, **{hop: "127.0.0.1:1"})
        assert_one_line(result, f"the {hop} does not answer")
        server = grpc.server(ThreadPoolExecutor(1))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        result = send("--rows", 5, **{hop: f"127.0.0.1:{port}"})
        server.stop(0).wait()
        assert_one_line(result, f"the {hop} does not offer {PREDICT[1:]}, as 3.x runtimes do")

    def test_a_target_that_is_not_trained(self, send, adult_package, tmp_path):
        """One line for one cause, though it is another process that finds it."""
        folder = shutil.copytree(adult_package, tmp_path / "untrained")
        (folder / "classifier.json").unlink()
        words = ("classifier.json (No such file", "train it with examples/adult/train.py")
        assert_one_line(send("--rows", 5, target=folder), *words)


@pytest.mark.parametrize(
    ("end", "status", "words"),
    [
        (lambda _: os.kill(os.getpid(), signal.SIGINT), 130, "interrupted after {} of 3,000"),
        (lambda server: server.stop(0), 2, "the metric does not answer"),
    ],
    ids=["Ctrl-C", "a runtime that goes away"],
)
def test_an_end_at_the_twentieth_request(send, lines, package, end, status, words):
    """Of a replay that would take a minute."""
    score, calls = load_function(package), []

    def count_and_score(**inputs):
        calls.append(inputs)
        if len(calls) == 20:
            end(server)
        return score(**inputs)

    server, port = start_server(count_and_score, "127.0.0.1:0")
    result = send("--rows", 3000, "--rate", 50, metric=f"127.0.0.1:{port}")
    server.stop(0).wait()
    n_kept = len(lines())
    assert 0 < n_kept < 3000
    assert_one_line(result._replace(status=2), words.format(n_kept), f"after {n_kept} ")
    assert result.status == status
    assert re.search(rf"^requests +{n_kept}$", result.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--corrupt age-in-months", "expected NAME@ROW"),
        ("--corrupt age@5", "'age' is no corruption: expected scale:FIELD:BY"),
        ("--corrupt age-missing@99999", "--corrupt: only 2,000 requests are sent"),
        ("--rows 0", "--rows: must be from 1 to 1,000,000, got 0"),
        ("--concurrency 0", "--concurrency"),
        ("--rate -1", "--rate"),
        ("--repeat 0", "--repeat"),
        ("--pattern hours", "--pattern=hours: the rows of sample have no times"),
        ("--package none", "none/serving.yaml is not there"),
        (f"--out {ROOT}/Makefile", f"{ROOT}/Makefile/replay.csv cannot be written"),
    ],
)
def test_bad_options(send, options, words):
    """They are told before anything is sent."""
    result = send(*options.split(), metric="127.0.0.1:1")
    assert_one_line(result, "knn-metric replay: ", words)
