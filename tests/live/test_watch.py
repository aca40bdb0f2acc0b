"""`watch` against a stub of the cluster: verdicts, what it says, and what may go wrong."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import METRIC, PNG, assert_one_line, attach, run
from stubs.sonar import FIRST_SECOND, identify

from knn_metric.detection.surprise import FieldSurprise
from knn_metric.detection.training import fit_detector
from knn_metric.live import monitor, report
from knn_metric.live.metric import Failures, Metric
from knn_metric.platform import sonar
from knn_metric.platform.sonar import Check, Sonar, format_time

NONE = Path("none") / "monitoring_model.joblib"


def read_row(result):
    head, row = result.out.splitlines()[:2]
    return dict(zip(head.split(), row.split(maxsplit=7), strict=True))


def read_details(result):
    """Return what is known of the first metric's change, by its label."""
    return dict(re.findall(r"^(began|detected|goes on|field|note)  +(.*)$", result.out, re.M))


class TestVerdict:
    def test_healthy_traffic_is_ok(self, look, feed, healthy, detector, cluster):
        feed(healthy, 400)
        result = look("--notify", "--requests", 300)
        assert (result.status, result.err, cluster.alerts) == (0, "", [])
        assert result.out.splitlines()[-1] == "ok"
        scores = detector.decision_function(healthy.values[100:400])
        alarms = int((scores > detector.threshold_).sum())
        rates = [f"{rate:.1%}" for rate in (alarms / 300, detector.origin_["held_out_rate"])]
        *shown, _, missing, since = read_row(result).values()
        assert shown == [METRIC, "300", str(alarms), *rates]
        assert (missing, since) == ("0", format_time(FIRST_SECOND + 100))

    def test_a_change_is_an_alert_with_its_field(
        self, look, feed, healthy, broken, detector, cluster, tmp_path
    ):
        """In the table, in a picture, and in JSON of which the help has each word."""
        feed(healthy, 200)
        feed(broken, 60)
        result = look()
        assert (result.status, result.err) == (1, "")
        onset = format_time(FIRST_SECOND + 200)
        surprises = FieldSurprise.of(detector).surprise(broken.values[:60])
        best = identify(200 + surprises[:, broken.names.index("hours_per_week")].argmax())
        line, step = result.out.splitlines()[-2:]
        said = f"the traffic changed at about {onset}, and it goes on; hours_per_week"
        assert line == f"alert: {said}"
        explain = f"`knn-metric explain adult:1 --request {best}`"
        assert step == f"next: {explain} explains the request that shows it best"
        details = read_details(result)
        assert details.pop("detected") < format_time(FIRST_SECOND + 212)
        assert details == {"began": f"about {onset}", "goes on": "yes", "field": "hours_per_week"}
        assert float(read_row(result)["evidence"].replace(",", "")) >= 100_000

        content = json.loads(look("--json", "--plot", tmp_path / "watch.png").out)
        assert (tmp_path / "watch.png").read_bytes().startswith(PNG)
        (metric,) = content.pop("metrics")
        expected = {"target": "adult:1", "cluster": cluster.address, "alert": True, "line": line}
        assert content == {**expected, "newest": FIRST_SECOND + 259}
        known = {"onset": FIRST_SECOND + 200, "field": "hours_per_week", "goes_on": True}
        change = metric["change"]
        assert change.items() >= {**known, "request": best}.items()
        assert metric["rate"] == metric["alarms"] / 260
        words = set(re.findall(r"\w+", run("watch", "--help").out.split("--json prints")[1]))
        assert {*content, *metric, *change} <= words

    @pytest.mark.parametrize(
        ("calibration", "note"),
        [('{"rows": 9, "top_features": {}}', "its cal"), ("", "it was uploaded without a cal")],
        ids=["of an earlier release", "none"],
    )
    def test_without_a_calibration(self, look, feed, broken, cluster, calibration, note):
        feed(broken, 60)
        cluster.versions[1]["metadata"]["artifact.calibration"] = calibration
        result = look(artifact=NONE)
        said = f"only missing checks are tested: {note}"
        assert_one_line(result, f"it could not be tested: {said}")
        assert result.out.splitlines()[-1].startswith("not tested: ")
        assert read_details(result)["note"].startswith(said)
        assert read_row(result)["evidence"] == "-"

    def test_another_artifact(self, look, feed, broken, cluster, healthy, detector, tmp_path):
        other = fit_detector(healthy)
        other.calibration_ = detector.calibration_
        del cluster.versions[1]["metadata"]["artifact.calibration"]
        cluster.specs[0]["config"]["threshold"] = float(other.threshold_)
        other.save(tmp_path / NONE.name)
        feed(broken, 60)
        result = look(artifact=tmp_path / NONE.name)
        details = read_details(result)
        assert (result.status, "field" in details) == (1, False)
        said = r"the score alone is tested: \d+ of 60 requests have another value here: "
        assert re.match(said, details["note"])

    def test_fields_and_an_artifact_that_cannot_be_read_take_no_alert_back(
        self, look, feed, broken, documents, tmp_path, monkeypatch
    ):
        """That of this package; the bounds are those that the version was uploaded with."""
        feed(broken, 60)
        for document in documents:
            document["years"] = document.pop("age")
        result = look()
        assert (result.status, read_details(result)["field"]) == (1, "no single field")
        monkeypatch.chdir(tmp_path)
        (tmp_path / NONE.name).write_bytes(b"x")
        result = look(artifact=None)
        assert (result.status, result.err.count("\n")) == (1, 1)
        began = f"{format_time(FIRST_SECOND)} or earlier"
        assert f"\nalert: the traffic changed at {began}, and it goes on\n" in result.out
        note = read_details(result)["note"]
        assert note.startswith("the score alone is tested, and no field is named")
        assert result.err.startswith("knn-metric watch: cannot load monitoring_model.joblib")


@pytest.mark.parametrize("own", [260, 250], ids=["one artifact", "another at last"])
def test_parts_of_any_size_say_the_same(feed, healthy, broken, cluster, detector, own):
    """Of a metric that was attached late, and of a target that fails."""
    feed(healthy, 200, missing=range(1, 200, 3))
    feed(broken, 60)
    sent = Sonar(cluster.address, cluster.versions[0]).newest(260)
    sent[:90] = [one._replace(checks={}) for one in sent[:90]]
    sent[140:150] = [one._replace(inputs={}, checks={}) for one in sent[140:150]]
    sent[own:] = [one._replace(checks={METRIC: Check(50.0, 4.0)}) for one in sent[own:]]
    said = []
    for size in (1, 260):
        metric = Metric(METRIC, detector.threshold_, detector.calibration_, detector)
        for first in range(0, 260, size):
            metric.add(sent[first : first + size])
        said.append((metric.verdict, metric.notes, repr(metric.requests)))
    assert said[0] == said[1]
    assert metric.change
    assert metric.verdict.missing
    assert len(metric.requests) == 170


class TestRequestsThatAreNotJudged:
    def test_checks_that_cannot_be_read_are_counted(self, look, feed, healthy, documents):
        feed(healthy, 120)
        for place, value in enumerate([None, {"$numberDouble": "NaN"}, "2.0", 10**400]):
            documents[place + 10]["_hs_metric_checks"][METRIC]["value"] = value
            documents[place + 90]["_hs_metric_checks"]["another"] = {"value": value}
        result = look()
        assert (result.status, read_row(result)["missing"]) == (0, "4")
        said = "checks that cannot be read, in place of the score: 1 of null, 1 of nan, 1 of a str,"
        said += " 1 of int too large to convert to float"
        assert read_details(result)["note"] == said

    def test_a_metric_that_is_attached_in_another_way(self, look, feed, healthy, cluster, tmp_path):
        del cluster.versions[1]["metadata"]["artifact.threshold"]
        feed(healthy, 100)
        operator, picture = {"kind": "GreaterEq"}, tmp_path / "watch.png"
        config = cluster.specs[0]["config"]
        cluster.specs[0]["config"] = {**config, "thresholdCmpOperator": operator}
        reversed_one = look()
        cluster.specs[0]["config"] = {**config, "threshold": None}
        without = look("--plot", picture)
        assert picture.read_bytes().startswith(PNG)
        notes = "attached the wrong way round, w", "it has no threshold: nothing is checked"
        for result, note in zip((reversed_one, without), notes, strict=True):
            assert (result.status, int(read_row(result)["alarms"]) < 15) == (0, True)
            assert read_details(result)["note"].startswith(note)

    def test_failures_are_counted_apart(self, look, feed, healthy, cluster, documents):
        feed(healthy, 100)
        for document in documents[50:]:
            document.update(_hs_error="io.grpc\x1b[31m: no", _hs_metric_checks={})
        result = look("--notify")
        assert (result.status, read_row(result)["missing"]) == (1, "0")
        line, step = result.out.splitlines()[-2:]
        assert line.startswith("alert: the target failed in 50 of 50 requests since about ")
        assert line.endswith(r": io.grpc\x1b[31m: no")
        assert step == "next: look at the target's log for why it does not answer"
        ((alert,),) = cluster.alerts
        assert alert["labels"]["alertname"] == Failures.ALERT

    @pytest.mark.parametrize(("count", "status"), [(18, 0), (25, 1)])
    def test_a_restart_of_sonar(self, look, feed, healthy, count, status):
        feed(healthy, 40)
        feed(healthy, count, missing=range(count))
        assert look().status == status
        feed(healthy, 40)
        result = look()
        assert read_row(result)["missing"] == str(count * status)
        assert ("sonar was started anew: 18 requests" in result.out) == (status == 0)

    def test_a_change_before_a_restart_is_not_said_to_go_on(self, look, feed, broken):
        feed(broken, 60)
        feed(broken, 15, missing=range(15))
        assert "and it may go on: no check since tells; hours_per_week\n" in look().out
        assert json.loads(look("--json").out)["metrics"][0]["change"]["goes_on"] is None

    def test_monitoring_that_stopped(self, look, feed, healthy, monkeypatch):
        monkeypatch.setattr(monitor, "LEAST_SILENCE", 60)
        feed(healthy, 40)
        for later, is_said in ((50, False), (70, True)):
            monkeypatch.setattr("time.time", lambda at=FIRST_SECOND + 39 + later: at)
            result = look()
            assert f"\nnewest  {format_time(FIRST_SECOND + 39)}\n" in f"{result.out}\n"
            assert ("no new request: the newest is of " in result.out) == is_said


class TestMissingChecks:
    def test_many_are_an_alert(self, look, feed, healthy):
        feed(healthy, 50)
        feed(healthy, 100, missing=range(1, 100, 5), value=math.inf)
        result = look()
        assert (result.status, read_row(result)["missing"]) == (1, "20")
        said = f"alert: 20 of 99 checks are missing since about {format_time(FIRST_SECOND + 51)}"
        next_step = "next: look at the metric's log for why it does not answer"
        assert result.out.splitlines()[-2:] == [said, next_step]

    def test_before_it_was_attached_none_is_missing(self, look, feed, healthy):
        feed(healthy, 2, missing=range(2))
        assert_one_line(look(), "no checks of adult:1 yet: none of its requests has one")
        feed(healthy, 58, missing=range(58))
        assert "alert: 60 of 60 checks are missing since " in look().out
        feed(healthy, 30)
        row = read_row(look())
        assert (row["requests"], row["missing"]) == ("30", "0")
        assert row["since"] == format_time(FIRST_SECOND + 60)


def test_each_of_several_metrics_has_a_row(look, feed, healthy, cluster):
    attach(cluster, "zähler\x1b[2J", 0.5)
    feed(healthy, 50)
    result = look()
    shown = r"zähler\x1b[2J"
    table = result.out.splitlines()
    assert [result.status, *(line.split()[0] for line in table[1:3])] == [1, METRIC, shown]
    assert table[-2].startswith(f"alert: {shown}: 50 of 50 checks are missing since ")
    assert look("--metric", METRIC).status == 0
    assert look("--metric", f"{METRIC}:1").out == result.out


class TestWindow:
    def test_one_of_an_old_id_hides_nothing(self, look, feed, healthy, documents, monkeypatch):
        feed(healthy, 100)
        documents.append({**documents[0], "_id": "0" * 24})
        monkeypatch.setattr("time.time", lambda: FIRST_SECOND + 100)
        assert read_row(look("--since", "1m"))["requests"] == "60"

    def test_what_arrives_meanwhile_counts_nothing_twice(
        self, look, feed, healthy, cluster, monkeypatch
    ):
        monkeypatch.setattr(sonar, "PAGE", 20)
        feed(healthy, 35)
        ask = cluster.sonar.requests

        def go_on_and_ask(*page):
            feed(healthy, 15)
            return ask(*page)

        cluster.sonar.requests = go_on_and_ask
        (metric,) = json.loads(look("--json", "--requests", 45).out)["metrics"]
        assert metric["requests"] == 45
        assert (metric["since"], metric["until"]) == (FIRST_SECOND + 5, FIRST_SECOND + 49)


class TestFollow:
    """A clock that stands still: the test says what happens between two looks, until Ctrl-C."""

    @pytest.fixture
    def live(self, look, monkeypatch):
        """Return a function that follows while things happen, and the pauses that it made."""

        def live(*happens, options=("--notify",)):
            pauses, events = [], [*happens]

            def sleep(seconds):
                pauses.append(seconds)
                if not events:
                    raise KeyboardInterrupt
                events.pop(0)()

            monkeypatch.setattr("time.sleep", sleep)
            return look("--follow", 60, *options), pauses

        return live

    def test_it_carries_on_from_where_it_was(self, live, feed, healthy, broken, cluster):
        feed(healthy, 200)
        further = broken.take(np.arange(2, 60))
        happens = (lambda: feed(broken, 2), lambda: None, lambda: feed(further, 58))
        result, pauses = live(*happens, lambda: feed(broken, 9))
        assert (result.status, result.err) == (0, "")
        times, words = zip(*re.findall("^(.{25})  (ok|alert): ", result.out, re.M), strict=True)
        assert words == ("ok", "ok", "alert", "alert")
        assert times[2] == format_time(FIRST_SECOND + 259)
        assert pauses == [60] * 5
        first, second = ({**one, "endsAt": ""} for (one,) in cluster.alerts)
        assert first == second

    def test_a_cluster_that_goes_away(self, live, feed, healthy, cluster, monkeypatch):
        monkeypatch.setattr(monitor, "LEAST_SILENCE", 60)
        feed(healthy, 40)
        away = {"GET /monitoring/": (503, "text/html", b"<html>")}
        happens = [lambda: cluster.instead.update(away), *[lambda: None] * 5, cluster.instead.clear]
        result, pauses = live(*happens, lambda: feed(healthy, 10))
        noted, failed = result.err.splitlines()
        assert "no new request: the newest is of 2023-11-14" in noted
        assert failed.endswith("; waiting")
        assert pauses == [60, 120, 240, 480, 600, 600, 600, 60, 60]

    def test_it_reads_on_to_what_it_knew(self, live, feed, healthy, documents):
        """More than --requests between two looks, and twenty that are listed late."""
        late = []

        def hide():
            feed(healthy, 50)
            late.extend(documents[-30:-10])
            del documents[-30:-10]

        def show():
            documents[-10:-10] = late

        feed(healthy, 50)
        happens = (lambda: feed(healthy, 100), hide, show)
        result, _ = live(*happens, options=("--requests", 20, "--json"))
        counts = [json.loads(line)["metrics"][0]["requests"] for line in result.out.splitlines()]
        assert counts == [20, 120, 150, 170]

    def test_it_reads_all_since_its_first_look_and_nothing_older(self, live, feed, healthy):
        options = ("--requests", 20, "--json", "--since", "1d")
        result, _ = live(lambda: None, lambda: feed(healthy, 100), options=options[:3])
        assert json.loads(result.out)["metrics"][0]["requests"] == 100
        assert live(lambda: None, options=options)[0].out == ""

    def test_a_change_that_is_over_is_said_once(self, live, feed, healthy, broken, cluster):
        feed(broken, 60)
        others = broken.take(np.arange(60, 120))
        happens = [lambda: feed(healthy, 150), lambda: feed(healthy, 9), lambda: feed(others)]
        said = re.findall("ok|goes on|is over", live(*happens)[0].out)
        assert said == ["goes on", "is over", "ok", "goes on"]
        assert len(cluster.alerts) == 3

    def test_an_alert_is_kept_until_it_is_accepted(self, live, feed, broken, cluster):
        feed(broken, 60)
        cluster.fail("POST ", 503)
        result, _ = live(lambda: None, cluster.instead.clear, lambda: None)
        assert len(cluster.alerts) == 1
        assert result.err.count("/alerts/api/v2/alerts: HTTP 503") == 2

    def test_a_metric_dies_and_memory_stays(self, live, feed, healthy, cluster, monkeypatch):
        monkeypatch.setattr("knn_metric.live.metric.KEPT", 40)
        monkeypatch.setattr(monitor, "MARGIN", 40)
        kept = []
        monkeypatch.setattr(report, "to_json", lambda metric: kept.append(len(metric.requests)))
        attach(cluster, "other", 1.0)
        happens = [lambda: feed(healthy, 60)] * 3
        happens += [lambda: feed(healthy, 100, missing=range(100))]
        result, _ = live(*happens, options=("--json", "--requests", 40))
        line = json.loads(result.out.splitlines()[-1])["line"]
        assert re.search(METRIC + ": [0-9]+ of [0-9]+ checks are missing since", line)
        assert max(kept) <= 80


OTHERS = b'[{"name": "a", "config": "b"}]'
FAILED = {"GET /monitoring/": (500, "text/plain", b"\x1b[2Jfailed")}


@pytest.mark.parametrize(
    ("instead", "options", "words"),
    [
        ({}, "", "no checks of adult:1 yet"),
        ({}, "--since 1s", "no checks of adult:1 since "),
        ({}, "--metric none", "no metric none on adult:1, there is census"),
        ({"GET /api/v2/mon": (200, "", OTHERS)}, "", "not answer like a manager"),
        (FAILED, "--cluster http://me:secret@{}", r"http://***@127.0.0.1{}HTTP 500 \x1b[2Jfailed"),
        ({}, "--cluster http://me:secret/#@{}", "http://***@127.0.0.1{}address is http://HOST"),
        ({}, "--cluster http://localhost:0", "address is http://HOST"),
    ],
)
def test_one_clear_line(look, cluster, instead, options, words):
    cluster.instead |= instead
    result = look(*options.format(cluster.address.partition("://")[2]).split())
    assert_one_line(result, "knn-metric watch: ", *words.split("{}"))
    assert "secret" not in result.err
