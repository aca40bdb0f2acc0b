"""scripts/watch.py against a stub of the cluster: verdicts, what it says, and what may go wrong."""

import json
import math
import re
import signal
import subprocess
import sys
from datetime import datetime
from functools import partial

import numpy as np
import pytest
from helpers import METRIC, PNG, assert_one_line, attach, run
from stubs.sonar import FIRST_SECOND

import watch
from monitoring.detection.surprise import FieldSurprise
from monitoring.detection.training import fit_detector, train
from monitoring.files import ROOT
from monitoring.hydrosphere.sonar import Check, Request, format_time
from monitoring.live import monitor as monitor_module
from monitoring.live.metric import Metric


def read_row(result):
    """Return the cells of the table's first row by its head."""
    head, row = result.out.splitlines()[:2]
    return dict(zip(head.split(), row.split(maxsplit=7), strict=True))


def read_details(result):
    """Return what is known of the first metric's change, by its label."""
    return dict(re.findall(r"^(began|detected|goes on|field|note)  +(.*)$", result.out, re.M))


def identify(place):
    """Return the id of a request of the stub by its position."""
    return f"{FIRST_SECOND + place:08x}{place:016x}"


class TestVerdict:
    def test_healthy_traffic_is_ok(self, look, feed, healthy, detector):
        feed(healthy)
        result = look()
        assert (result.status, result.err) == (0, "")
        assert result.out.splitlines()[-1] == "ok"
        row = read_row(result)
        alarms = int((detector.decision_function(healthy.values[400:]) > detector.threshold_).sum())
        expected = detector.origin_["held_out_rate"]
        assert (row["metric"], row["requests"], row["alarms"]) == (METRIC, "1,000", str(alarms))
        assert (row["rate"], row["expected"]) == (f"{alarms / 1000:.1%}", f"{expected:.1%}")
        assert (row["missing"], row["since"]) == ("0", format_time(FIRST_SECOND + 400))

    def test_a_change_is_an_alert_that_names_the_field(self, look, feed, healthy, broken, detector):
        feed(healthy, 500)
        feed(broken, 300)
        result = look()
        assert (result.status, result.err) == (1, "")
        onset = format_time(FIRST_SECOND + 500)
        surprises = FieldSurprise.of(detector).surprise(broken.values[:300])
        place = 500 + surprises[:, broken.names.index("hours_per_week")].argmax()
        assert result.out.splitlines()[-2:] == [
            f"alert: the traffic changed at about {onset}, and it goes on; hours_per_week",
            f"next: `make explain REQUEST={identify(place)} TARGET=adult:1` explains the request"
            " that shows it best",
        ]
        details = read_details(result)
        assert details.pop("detected") < format_time(FIRST_SECOND + 512)
        expected = {"began": f"about {onset}", "goes on": "yes", "field": "hours_per_week"}
        assert details == expected
        assert float(read_row(result)["evidence"].replace(",", "")) >= 100_000

    def test_a_change_that_is_over(self, look, feed, healthy, broken):
        feed(broken, 100)
        feed(healthy, 600)
        result = look()
        assert result.status == 1
        assert "and it is over; hours_per_week\n" in result.out
        assert read_details(result)["goes on"] == "no"
        assert read_row(result)["evidence"] != "0"

    def test_a_change_whose_beginning_is_not_in_the_window(self, look, feed, broken):
        feed(broken, 300)
        result = look("--requests", 250)
        began = f"{format_time(FIRST_SECOND + 50)} or earlier"
        assert f"alert: the traffic changed at {began}, and" in result.out
        assert read_details(result)["began"] == began

    @pytest.mark.parametrize("at_hand", [True, False])
    def test_repeated_requests(self, look, feed, healthy, cluster, detector, artifact, at_hand):
        """An odd one is a client that retries; so many in a row are a change of their own."""
        described = {"artifact.calibration": json.dumps(detector.calibration_)}
        cluster.versions[1]["metadata"] = described
        watched = partial(look, artifact=artifact if at_hand else "none")
        odd = healthy.take([detector.decision_function(healthy.values).argmax()] * 100)
        feed(healthy, 100)
        feed(odd)
        assert watched().status == 0
        feed(odd)
        feed(odd)
        feed(healthy, 9)
        result = watched()
        assert read_details(result)["field"] == "repeated requests"
        example = int(re.search(r"REQUEST=(.{8})", result.out)[1], 16)
        assert FIRST_SECOND + 100 <= example < FIRST_SECOND + 400

    @pytest.mark.parametrize(
        ("described", "note"),
        [
            (lambda known: known, "the score alone is tested, and no field is named"),
            (lambda _: {"rows": 9, "top_features": {}}, "only missing checks are tested: its cal"),
            (lambda _: None, "only missing checks are tested: it was uploaded without a cal"),
        ],
        ids=["now", "of before", "none"],
    )
    def test_without_an_artifact(self, look, feed, broken, cluster, detector, described, note):
        """The calibration is the upload's; that of an earlier release tells of no field."""
        feed(broken, 100)
        calibration = described(detector.calibration_)
        if calibration:
            metadata = {"artifact.calibration": json.dumps(calibration)}
            cluster.versions[1]["metadata"] = metadata
        is_tested = calibration == detector.calibration_
        result = look(artifact="none")
        assert (result.status, read_row(result)["evidence"] != "-") == (is_tested, is_tested)
        assert read_details(result)["note"].startswith(note)
        assert "field" not in read_details(result)

    def test_another_artifact_is_noted(self, look, feed, broken, cluster, healthy, tmp_path):
        """Its scores are not the cluster's, which takes nothing back."""
        other = fit_detector(healthy)
        other.calibration_ = train(healthy)[0].calibration_
        cluster.specs[0]["config"]["threshold"] = float(other.threshold_)
        other.save(tmp_path / "other.joblib")
        feed(broken, 100)
        result = look(artifact=tmp_path / "other.joblib")
        assert result.status == 1
        details = read_details(result)
        assert "field" not in details
        assert re.fullmatch(
            r"the score alone is tested: \d+ of 100 requests have another value here: the cluster"
            " serves another artifact than the one at hand",
            details["note"],
        )

    def test_fields_that_cannot_be_read_take_no_alert_back(self, look, feed, broken, cluster):
        feed(broken, 100)
        for document in cluster.sonar.documents[11]:
            document["years"] = document.pop("age")
        result = look()
        assert result.status == 1
        assert read_details(result)["field"] == "no single field"

    def test_an_artifact_that_cannot_be_loaded_takes_nothing_back(
        self, look, feed, broken, cluster, detector, tmp_path, monkeypatch
    ):
        """Of this package; the bounds are those that the version was uploaded with."""
        monkeypatch.setattr(watch.files, "ROOT", tmp_path)
        described = {"artifact.calibration": json.dumps(detector.calibration_)}
        cluster.versions[1]["metadata"] = described
        (tmp_path / "monitoring_model.joblib").write_bytes(b"x")
        feed(broken, 100)
        result = look(artifact=None)
        assert result.status == 1
        assert "alert: the traffic changed at " in result.out
        (line,) = result.err.splitlines()
        assert line.startswith(f"watch.py: cannot load {tmp_path}/monitoring_model.joblib")


class TestParts:
    """The same requests say the same, in parts of any size."""

    @pytest.fixture
    def requests(self, healthy, broken, detector):
        """260 requests, of which every third has no check from 60 to 120."""
        values = np.concatenate([healthy.values[:200], broken.values[:60]])
        scores = detector.decision_function(values).tolist()
        return [
            Request(
                *(
                    identify(place),
                    FIRST_SECOND + place,
                    dict(zip(healthy.names, row, strict=True)),
                ),
                {METRIC: Check(score, 4.0)} if place % 3 or not 60 < place < 120 else {},
            )
            for place, (row, score) in enumerate(zip(values.tolist(), scores, strict=True))
        ]

    def attach_late(self, requests):
        """None of the first 91 requests was checked."""
        return [one._replace(checks={}) for one in requests[:91]] + requests[91:]

    def fail(self, requests):
        failed = [one._replace(inputs={}, checks={}) for one in requests[9:30]]
        return requests[:9] + failed + requests[30:]

    def upload_another(self, requests):
        """The last 20 requests have the scores of another artifact."""
        other = {METRIC: Check(50.0, 4.0)}
        return requests[:-20] + [one._replace(checks=other) for one in requests[-20:]]

    @pytest.mark.parametrize("happens", ["attach_late", "fail", "upload_another"])
    @pytest.mark.parametrize("at_hand", [True, False])
    def test_they_say_the_same(self, requests, detector, happens, at_hand):
        sent = getattr(self, happens)(requests)
        said = []
        for size in (1, 17, len(sent)):
            metric = Metric(METRIC, 4.0, detector.calibration_, detector if at_hand else None)
            for first in range(0, len(sent), size):
                metric.add(sent[first : first + size])
            seen = [request.id for request in metric.requests]
            said.append((metric.verdict, metric.evidence, metric.note, seen))
        assert said[0] == said[1] == said[2]
        assert metric.change
        assert len(metric.evidence) == len(seen)
        assert seen[0] == sent[91 if happens == "attach_late" else 0].id


class TestMissingChecks:
    @pytest.mark.parametrize("value", [None, math.nan, math.inf])
    @pytest.mark.parametrize("every", [3, 10])
    def test_many_are_an_alert(self, look, feed, healthy, cluster, every, value):
        feed(healthy, 300)
        feed(healthy, 700, missing=range(1, 700, every), value=value)
        result = look()
        missing = len(range(1, 700, every))
        assert (result.status, read_row(result)["missing"]) == (1, str(missing))
        line, step = result.out.splitlines()[-2:]
        onset = format_time(FIRST_SECOND + 301)
        assert line == f"alert: {missing} of 699 checks are missing since about {onset}"
        assert step == "next: look at the metric's log for why it does not answer"

    def test_few_are_none(self, look, feed, healthy):
        feed(healthy, 1000, missing=range(1, 1000, 200))
        assert (look().status, read_row(look())["missing"]) == (0, "5")

    def test_that_is_over(self, look, feed, healthy):
        feed(healthy, 70, missing=range(50, 70))
        assert look().status == 1
        feed(healthy.take(np.arange(70, 370)))
        assert look().status == 0

    def test_before_it_was_attached_none_is_missing(self, look, feed, healthy):
        feed(healthy, 100, missing=range(100))
        assert "alert: 100 of 100 checks are missing since " in look().out
        feed(healthy, 50)
        row = read_row(look())
        assert (row["requests"], row["missing"]) == ("50", "0")
        assert row["since"] == format_time(FIRST_SECOND + 100)

    def test_in_between_they_are_no_evidence_of_a_change(self, look, feed, healthy, broken):
        feed(healthy, 300, missing=range(0, 300, 3))
        assert "the traffic changed" not in look().out
        feed(broken, 60, missing=range(0, 60, 3))
        began = datetime.fromisoformat(read_details(look())["began"].removeprefix("about "))
        assert began.timestamp() == pytest.approx(FIRST_SECOND + 301, abs=10)

    def test_a_target_that_fails(self, look, cluster, feed, healthy):
        feed(healthy, 70)
        cluster.sonar.add(cluster.versions[0], [{}] * 30, {}, {})
        result = look()
        assert (result.status, read_row(result)["missing"]) == (1, "30")


class TestSeveralMetrics:
    @pytest.fixture
    def two(self, cluster, feed, healthy):
        attach(cluster, "other", 0.5)
        feed(healthy, 100)

    @pytest.mark.usefixtures("two")
    def test_each_has_a_row(self, look):
        result = look()
        table = result.out.splitlines()
        assert [line.split()[0] for line in table[1:3]] == [METRIC, "other"]
        assert result.status == 1
        assert table[-2].startswith("alert: other: 100 of 100 checks are missing since ")

    @pytest.mark.usefixtures("two")
    def test_one_of_them(self, look):
        assert look("--metric", METRIC).status == 0
        assert_one_line(look("--metric", "none"), "no metric none on adult:1, there is census")


class TestWindow:
    @pytest.mark.parametrize(
        ("options", "requests"),
        [((), "1,000"), (("--requests", 250), "250"), (("--requests", 10**6), "1,400")],
    )
    def test_the_newest(self, look, feed, healthy, options, requests):
        feed(healthy)
        assert read_row(look(*options))["requests"] == requests

    def test_since(self, look, feed, healthy, monkeypatch):
        feed(healthy)
        monkeypatch.setattr(watch.time, "time", lambda: FIRST_SECOND + 1400)
        assert read_row(look("--since", "10m"))["requests"] == "600"
        monkeypatch.setattr(watch.time, "time", lambda: FIRST_SECOND + 9999)
        assert_one_line(look("--since", "1s"), "no checks of adult:1 since ")

    def test_what_arrives_meanwhile_counts_nothing_twice(
        self, look, feed, healthy, cluster, monkeypatch
    ):
        feed(healthy, 900)
        ask = cluster.sonar.requests

        def ask_and_go_on(*arguments):
            answer = ask(*arguments)
            feed(healthy, 150)
            return answer

        monkeypatch.setattr(cluster.sonar, "requests", ask_and_go_on)
        content = json.loads(look("--json").out)
        (metric,) = content["metrics"]
        assert metric["requests"] == 900
        assert (metric["since"], metric["until"]) == (FIRST_SECOND, FIRST_SECOND + 899)

    def test_no_checks_yet(self, look):
        assert_one_line(look(), "no checks of adult:1 yet")


class TestOutputs:
    def test_json_says_what_the_table_says(self, look, feed, healthy, broken, cluster):
        feed(healthy, 500)
        feed(broken, 100)
        result = look("--json")
        content = json.loads(result.out)
        (metric,) = content.pop("metrics")
        line = look().out.splitlines()[-2]
        expected = {"target": "adult:1", "cluster": cluster.address, "alert": True, "line": line}
        assert content == expected
        change = metric["change"]
        assert change["onset"] == FIRST_SECOND + 500
        assert change["field"] == "hours_per_week"
        assert change["goes_on"]
        assert f"REQUEST={change['request']} " in look().out
        assert metric["rate"] == metric["alarms"] / 600

    def test_help_names_every_key(self, look, feed, broken):
        feed(broken, 100)
        content = json.loads(look("--json").out)
        words = set(re.findall(r"\w+", run(watch.main, "--help").out.split("--json prints")[1]))
        (metric,) = content["metrics"]
        assert {*content, *metric, *metric["change"]} <= words

    def test_the_picture(self, look, feed, healthy, broken, tmp_path):
        feed(healthy, 100)
        feed(broken, 30)
        assert look("--plot", tmp_path / "watch.png").status == 1
        assert (tmp_path / "watch.png").read_bytes().startswith(PNG)

    @pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
    def test_a_name_that_a_terminal_cannot_show(self, cluster, feed, healthy, encoding, tmp_path):
        attach(cluster, "zähler", 4.0)
        feed(healthy, 10)
        options = ("--cluster", cluster.address, "--artifact", tmp_path / "none")
        line = [sys.executable, ROOT / "scripts" / "watch.py", "adult:1", *options]
        environment = {"PYTHONIOENCODING": encoding}
        result = subprocess.run(line, env=environment, capture_output=True)
        assert result.returncode == 1
        shown = "zähler" if encoding == "utf-8" else r"'z\xe4hler'"
        assert shown in result.stdout.decode(encoding)


class TestFollow:
    """A clock that stands still: the test says what happens between two looks."""

    @pytest.fixture
    def live(self, look, monkeypatch):
        """Return a function that follows while things happen, and the pauses that it made."""

        def live(*happens, options=("--follow", 60)):
            pauses, events = [], iter(happens)

            def sleep(seconds):
                pauses.append(seconds)
                try:
                    next(events)()
                except StopIteration:
                    raise KeyboardInterrupt from None

            monkeypatch.setattr(monitor_module.time, "sleep", sleep)
            return look(*options), pauses

        return live

    def test_it_carries_on_from_where_it_was(self, live, look, feed, healthy, broken, cluster):
        feed(healthy, 500)
        further = broken.take(np.arange(2, 100))
        happens = (lambda: feed(broken, 2), lambda: None, lambda: feed(further, 98))
        result, pauses = live(
            *happens, lambda: feed(broken, 9), options=("--follow", 60, "--notify")
        )
        assert (result.status, result.err) == (0, "")
        lines = [line for line in result.out.splitlines() if not line.startswith("next: ")]
        assert [line[27:].split(":")[0] for line in lines] == ["ok", "ok", "alert", "alert"]
        assert lines[-2][:25] == format_time(FIRST_SECOND + 599)
        assert pauses == [60] * 5
        assert look().status == 1
        first, second = ({**one, "endsAt": ""} for (one,) in cluster.alerts)
        assert first == second

    def test_a_cluster_that_goes_away(self, live, feed, healthy, cluster):
        feed(healthy, 100)
        away = {"/monitoring/": (503, "text/html", b"<html>")}
        happens = [lambda: cluster.instead.update(away), *[lambda: None] * 5, cluster.instead.clear]
        result, pauses = live(*happens, lambda: feed(healthy, 10))
        assert result.status == 0
        assert len(result.err.splitlines()) == 1
        assert result.err.endswith("; waiting\n")
        assert pauses == [60, 120, 240, 480, 600, 600, 600, 60, 60]

    def test_ctrl_c(self, feed, cluster, healthy, tmp_path):
        feed(healthy, 100)
        options = ("--cluster", cluster.address, "--follow", "60", "--artifact", tmp_path / "none")
        line = [sys.executable, ROOT / "scripts" / "watch.py", "adult:1", *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(line, **pipes) as process:
            assert "no change detected" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err.count("\n")) == (0, "", 1)
        assert "only missing checks are tested" in err


def document(**changes):
    """Return a page with one request in which something is otherwise, as JSON."""
    check = {"check": True, "value": 2.0, "threshold": 4.0}
    request = {"_id": "5" * 24, "age": 39, "_hs_metric_checks": {METRIC: check}, **changes}
    return json.dumps([request]).encode()


STRANGE = {
    "html": b"<html>It works!</html>",
    "null": b"null",
    "number": b"7",
    "list": b'["ok"]',
    "object": b'{"surprise": true}',
    "nothing": b"",
    "latin-1": b'["\xe9"]',
    "depth": b"[" * 100_000,
    "digits": b"[" + b"9" * 5000 + b"]",
}
STRANGE_REQUESTS = {
    "no id": {"_id": None},
    "an id of letters": {"_id": "z" * 24},
    "a short id": {"_id": "55"},
    "checks": {"_hs_metric_checks": 7},
    "a check": {"_hs_metric_checks": {METRIC: 7}},
    "a value": {"_hs_metric_checks": {METRIC: {"value": "2.0", "threshold": 4.0}}},
    "true": {"_hs_metric_checks": {METRIC: {"value": True, "threshold": 4.0}}},
}


class TestStrangeAnswers:
    """Whatever answers at the address: one line."""

    @pytest.fixture
    def look(self, look):
        return partial(look, artifact=None)

    @pytest.mark.parametrize("body", STRANGE.values(), ids=STRANGE)
    @pytest.mark.parametrize(
        "path", ["/api/v2/model/version", "/api/v2/monitoring", "/monitoring/checks/all"]
    )
    def test_another_server(self, look, cluster, path, body):
        cluster.instead[path] = (200, "application/json", body)
        assert_one_line(look(), "watch.py: ", cluster.address)

    @pytest.mark.parametrize("changes", STRANGE_REQUESTS.values(), ids=STRANGE_REQUESTS)
    def test_another_request(self, look, cluster, changes):
        cluster.instead["/monitoring/"] = (200, "application/json", document(**changes))
        assert_one_line(look(), f"{cluster.address} does not answer like sonar: ")

    def test_half_a_page(self, look, cluster):
        body = document()
        cluster.instead["/monitoring/"] = (200, "application/json", body[:40], len(body))
        assert_one_line(look(), f"GET {cluster.address}/monitoring/checks/all/11")

    @pytest.mark.parametrize("status", [401, 500])
    def test_http_errors(self, look, cluster, status):
        cluster.instead["/monitoring/"] = (status, "text/html", b"<html>\n<h1>no</h1>")
        assert_one_line(look(), f"HTTP {status} <html> <h1>no</h1>")

    def test_a_page_over_and_over(self, look, cluster):
        """A server that ignores offset sends nothing new on the second page."""
        cluster.instead["/monitoring/"] = (200, "application/json", document())
        assert read_row(look())["requests"] == "1"

    @pytest.mark.parametrize("spec", [{}, {"name": "a", "config": "b"}, 7, None])
    def test_another_metric(self, look, cluster, spec):
        body = json.dumps([spec]).encode()
        cluster.instead["/api/v2/monitoring"] = (200, "application/json", body)
        assert_one_line(look(), f"{cluster.address} does not answer like a manager: ")


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        ("adult", (), "expected NAME:VERSION, got 'adult'"),
        ("adult:7", (), "no version 7 of adult at http"),
        ("adult:1", ("--since", "yesterday"), "--since: expected a number and s, m, h or d"),
        ("adult:1", ("--requests", 0), "--requests: must be from 1"),
        ("adult:1", ("--artifact", ROOT), "Is a directory"),
    ],
)
def test_bad_options(look, target, options, words):
    assert_one_line(look(*options, target=target), words)
