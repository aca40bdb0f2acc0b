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
from knn_metric.detection.calibration import rank_fields
from knn_metric.detection.surprise import FieldSurprise
from knn_metric.platform.server import PREDICT, load_function, start_server
from knn_metric.replay.sender import Plan

THRESHOLD = 5.0  # another one than the artifact's


@pytest.fixture(scope="module")
def own(package):
    with served_package(package) as address:
        yield address


@pytest.fixture(scope="module")
def replay(package, own, adult_package, people):
    """Return a function that replays rows into a folder, through both models as served."""
    with served_package(adult_package) as watched:

        def replay(folder, *options, data=people, metric=own, target=watched):
            where = ["--package", package, "--target", target, "--out", folder]
            where += ["--runtime", metric] if metric else []
            return run("replay", "--data", data, *where, *options)

        yield replay


@pytest.fixture
def send(replay, tmp_path, undrawn):
    return partial(replay, tmp_path / "reports")


def read_lines(folder):
    return list(csv.DictReader((folder / "replay.csv").read_text().splitlines()))


@pytest.fixture
def lines(tmp_path):
    return partial(read_lines, tmp_path / "reports")


def read_codes(lines):
    return np.array([[int(line[name]) for name in census.FEATURES] for line in lines])


@pytest.fixture(scope="module")
def replayed(replay, tmp_path_factory):
    folder = tmp_path_factory.mktemp("replayed")
    options = f"--rows 120 --corrupt age-in-months@80 --concurrency 8 --threshold {THRESHOLD}"
    result = replay(folder, *options.split(), data="sample")
    assert (result.status, result.err) == (0, "")
    return result.out, read_lines(folder), folder / "replay.png"


class TestReplay:
    def test_each_value_equals_a_direct_call_and_is_attributed(self, replayed, detector):
        _, kept, _ = replayed
        values, codes = np.array([float(line["value"]) for line in kept]), read_codes(kept)
        assert (values == detector.decision_function(codes)).all()
        assert [int(line["row"]) for line in kept] == list(range(120))
        assert [line["result"] == "alarm" for line in kept] == list(values > THRESHOLD)
        assert [line["corruption"] for line in kept] == [""] * 80 + ["age-in-months"] * 40
        assert {line["source"] for line in kept} == {"sample"}
        assert [float(line["p_value"]) for line in kept] == list(detector.p_value(values))
        surprises = FieldSurprise.of(detector).surprise(codes)
        rarest = rank_fields(detector.calibration_, surprises).argmax(axis=1)
        tops = [line["top_feature"] for line in kept]
        assert tops == [census.FEATURES[place] for place in rarest]
        assert set(tops[80:]) == {"age"}

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

    def test_the_target_answers_what_the_metric_gets(self, send, lines):
        sent = []
        for options in ((), ("--corrupt", "classes-flipped@10")):
            send("--rows", 20, *options)
            sent.append(read_codes(lines()))
        sent[0][10:, -1] = 1 - sent[0][10:, -1]
        np.testing.assert_array_equal(*sent)

    def test_the_seed_orders_the_rows(self, sample):
        plans = [Plan(sample, 20, seed, None, 20) for seed in (1, 1, 2)]
        sent = [np.array([one.rows.values[one.place] for one in plan.requests()]) for plan in plans]
        np.testing.assert_array_equal(sent[0], sent[1])
        assert (sent[0] != sent[2]).any()

    def test_the_rate_is_kept(self, send):
        start = time.monotonic()
        send("--rows", 6, "--rate", 50)
        assert time.monotonic() - start >= 5 / 50

    def test_few_rows_repeat_and_a_client_that_polls_raises_no_alert(
        self, send, lines, people, tmp_path
    ):
        path = tmp_path / "three.csv"
        path.write_text("\n".join(people.read_text().splitlines()[:3]))
        out = send("--rows", 60, "--repeat", 10, data=path).out
        assert out.splitlines()[-1] == "no change detected"
        assert re.search(r"^data +three.csv, 3 rows, .*, each sent up to 20 times$", out, re.M)
        sent = read_codes(lines()).reshape(6, 10, 13)
        assert (sent == sent[:, :1]).all()
        assert len(np.unique(sent[:3, 0], axis=0)) == 3

    def test_the_hours_have_their_own_rows(self, send, lines, tmp_path):
        """The age of each is its hour; at 7 there are four times as many, and some have no time."""
        hours = [*range(24), 7, 7, 7, 3]
        times = [f"2026-11-2{day % 5}T{hour:02}:30" for day, hour in enumerate(hours[:27])] + [""]
        text = [",".join(("_hs_timestamp", *census.FEATURES))]
        text += [f"{at},{hour}{',1' * 12}" for at, hour in zip(times, hours, strict=True)]
        (tmp_path / "log.csv").write_text("\n".join(text))
        send("--rows", 54, "--pattern", "hours", data=tmp_path / "log.csv")
        assert read_codes(lines())[:, 0].tolist() == sorted(hours[:27]) * 2


SEEN = 2**60 + 1  # no float64 holds it
TAKING_MORE = f"""
import numpy as np

def predict(seen_at, reason, age, **others):
    assert type(seen_at) is np.int64 and reason == f"c{{seen_at - {SEEN}}}"
    return {{"classes": age % 2}}
"""


@pytest.mark.usefixtures("few_streams", "undrawn")
def test_inputs_of_the_target_that_the_metric_leaves_out(package, own, sample, tmp_path):
    """They come from the data's columns of that name; rows without one count as rejected."""
    target = copy_package(tmp_path / "target")
    (target / "src" / "func_main.py").write_text(TAKING_MORE)
    definition = yaml.safe_load((target / "serving.yaml").read_text())
    inputs = definition["contract"]["inputs"]
    definition["contract"]["outputs"] = {"classes": inputs.pop("classes")}
    inputs["seen_at"] = {"shape": "scalar", "type": "int64"}
    inputs["reason"] = {"shape": "scalar", "type": "string"}
    (target / "serving.yaml").write_text(yaml.safe_dump(definition))
    rows = sample.values[:40].astype(int)
    table = pa.table(dict(zip(census.FEATURES, rows.T, strict=True)))
    seen = [SEEN + age for age in rows[:39, 0].tolist()] + [None]
    table = table.append_column("seen_at", pa.array(seen))
    cities = [f"c{age}" for age in rows[:, 0]]
    pa_csv.write_csv(table.append_column("reason", pa.array(cities)), tmp_path / "full.csv")
    parquet.write_table(table, tmp_path / "less.parquet")
    options = ("--package", package, "--target", target, "--out", tmp_path / "out")
    replaying = ("replay", "--runtime", own, "--rows", 39, *options)
    for words in (replaying, ("evaluate", "--corrupt", "mix", *options)):
        result = run(*words, "--data", tmp_path / "full.csv")
        assert result.status == 0, result
        assert "full.csv, 39 rows" in result.out
        result = run(*words, "--data", tmp_path / "less.parquet")
        assert_one_line(result, "less.parquet: no column reason")
        result = run(*words, "--data", "sample")
        assert_one_line(result, "which has no reason, seen_at for the target")


class TestWhatCannotBeScored:
    def test_a_metric_that_serves_another_artifact(self, send, lines):
        """No verdict without the artifact's own scores; what was sent is kept."""
        with served(lambda **_: {"value": 2.5}) as metric:
            result = send("--rows", 30, metric=metric)
        words = "of 30 scores are not those of the artifact here: the metric serves another"
        assert_one_line(result, words)
        assert "change" not in result.out
        assert {(line["p_value"], line["top_feature"]) for line in lines()} == {("nan", "")}

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
        assert (said.status, said.out.splitlines()[-1]) == (2, f"10 of 10 {result}: {reason}")
        assert {line["result"] for line in lines()} == {result}

    def test_where_a_function_failed_is_told(self, send, light_package, package):
        """By the traceback of its own process, once."""
        shutil.copy(package / "monitoring_model.joblib", light_package)
        shutil.copy(package / "serving.yaml", light_package)
        source = "def predict(**inputs):\n    return inputs['nobody']\n"
        (light_package / "src" / "func_main.py").write_text(source)
        result = send("--rows", 10, "--package", light_package, metric=None)
        assert (result.status, result.err.count("Traceback")) == (2, 1)
        assert "return inputs['nobody']" in result.err

    def test_a_value_under_another_name_never_alarms(self, send, lines):
        """As sonar has it: 0.0 where `value` is absent, or not a double."""
        with served(lambda **_: {"score": 99.0, "value": np.float32(99)}) as metric:
            send("--rows", 10, metric=metric)
        assert {(float(line["value"]), line["result"]) for line in lines()} == {(0.0, "passed")}


def test_what_cannot_be_sent_replaces_nothing(send, light_package, tmp_path):
    """Nothing at an address, a runtime of 2.x, a target that is not trained."""
    (tmp_path / "reports").mkdir()
    paths = [tmp_path / "reports" / f"replay.{end}" for end in ("csv", "png")]
    for path in paths:
        path.write_text("earlier")
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    for hop in ("target", "metric"):
        result = send("--rows", 5, **{hop: "127.0.0.1:1"})
        assert_one_line(result, f"the {hop} does not answer")
        result = send("--rows", 5, **{hop: f"127.0.0.1:{port}"})
        assert_one_line(result, f"the {hop} does not offer {PREDICT[1:]}, as 3.x runtimes do")
    server.stop(0).wait()
    (light_package / "classifier.json").unlink()
    words = ("classifier.json (No such file", "train it with examples/adult/train.py")
    assert_one_line(send("--rows", 5, target=light_package), *words)
    assert [path.read_text() for path in paths] == ["earlier"] * 2


@pytest.mark.parametrize(
    ("end", "status", "words"),
    [
        (lambda _: os.kill(os.getpid(), signal.SIGINT), 130, "interrupted after {} of 3,000"),
        (lambda server: server.stop(0), 2, "the metric does not answer"),
    ],
    ids=["Ctrl-C", "a runtime that goes away"],
)
def test_an_end_at_the_twentieth_request(send, lines, package, end, status, words):
    score, calls = load_function(package), []

    def count_and_score(**inputs):
        calls.append(inputs)
        if len(calls) == 20:
            end(server)
        return score(**inputs)

    server, port = start_server(count_and_score, "127.0.0.1:0")
    result = send("--rows", 3000, "--rate", 200, metric=f"127.0.0.1:{port}")
    server.stop(0).wait()
    n_kept = len(lines())
    assert 0 < n_kept < 3000
    assert_one_line(result._replace(status=2), words.format(n_kept), f"after {n_kept} ")
    assert result.status == status
    assert re.search(rf"^requests +{n_kept}$", result.out, re.MULTILINE)
