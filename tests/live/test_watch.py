"""scripts/watch.py against a stub of the cluster: verdicts, what it says, and what may go wrong."""

import json
import re
import signal
import subprocess
import sys
from functools import partial

import pytest
from helpers import METRIC, PNG, assert_one_line, attach, run
from stubs.sonar import FIRST_SECOND

import watch
from monitoring.detection.attribution import Attribution
from monitoring.detection.training import fit_detector
from monitoring.files import ROOT
from monitoring.hydrosphere.sonar import format_time
from monitoring.live import monitor as monitor_module


def read_row(result):
    """Return the cells of the table's first row by its head."""
    head, row = result.out.splitlines()[:2]
    return dict(zip(head.split(), row.split(maxsplit=7), strict=True))


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
        alarms = detector.decision_function(broken.values[:300]) > detector.threshold_
        tops = Attribution(detector).top_features(broken.values[:300][alarms])
        named = sum(top == "hours_per_week" for top in tops)
        line, step = result.out.splitlines()[-2:]
        onset = re.escape(format_time(FIRST_SECOND + 500))
        words = rf"alert: the traffic changed at about {onset}, and it goes on;"
        assert re.fullmatch(rf"{words} hours_per_week: {named} of \d+ requests, \d+ usual", line)
        last = max(place for place, alarm in enumerate(alarms) if alarm) + 500
        identity = f"{FIRST_SECOND + last:08x}{last:016x}"
        assert (
            step
            == f"next: `make explain REQUEST={identity} TARGET=adult:1` explains the last alarm"
        )
        for label, second in (("began at about", 500), ("goes on", None), ("last alarm", last)):
            value = (
                "yes" if second is None else ".*" + re.escape(format_time(FIRST_SECOND + second))
            )
            assert re.search(rf"^{label} +{value}", result.out, re.MULTILINE)
        detected = re.search(r"^detected +(.*)$", result.out, re.MULTILINE)[1]
        assert detected < format_time(FIRST_SECOND + 512)

    def test_a_change_that_is_over(self, look, feed, healthy, broken):
        feed(broken, 100)
        feed(healthy, 600)
        result = look()
        assert result.status == 1
        assert "and it is over; hours_per_week: " in result.out
        assert re.search(r"^goes on +no$", result.out, re.MULTILINE)

    def test_the_same_requests_give_the_same_verdict(self, look, feed, healthy, broken):
        feed(healthy, 300)
        feed(broken, 20)
        assert look() == look()

    def test_without_an_artifact_the_uploads_calibration_is_used(
        self, look, feed, broken, cluster, detector, monkeypatch, tmp_path
    ):
        monkeypatch.setattr(watch.files, "ROOT", tmp_path)
        feed(broken, 100)
        assert look(artifact=None).status == 0
        assert "not tested: it was uploaded without a calibration" in look(artifact=None).out
        metadata = {"artifact.calibration": json.dumps(detector.calibration_)}
        cluster.versions[1]["metadata"] = metadata
        result = look(artifact=None)
        assert result.status == 1
        assert result.out.splitlines()[-2].endswith("and it goes on")

    @pytest.fixture
    def another(self, cluster, healthy, detector, tmp_path):
        """Return a function that saves another artifact, of the threshold that is attached."""

        def another(**params):
            other = fit_detector(healthy, **params)
            other.calibration_ = detector.calibration_
            cluster.specs[0]["config"]["threshold"] = float(other.threshold_)
            other.save(tmp_path / "other.joblib")

        return another

    def test_another_artifact_is_noted(self, look, feed, broken, another, tmp_path):
        """Its scores are not the cluster's, which takes nothing back."""
        another()
        feed(broken, 100)
        result = look(artifact=tmp_path / "other.joblib")
        assert result.status == 1
        assert re.fullmatch(
            rf"watch.py: {METRIC}: \d+ of the last \d+ alarms have another value here: the cluster"
            " serves another artifact than the one at hand\n",
            result.err,
        )

    @pytest.mark.parametrize("change", ["fields", "method"])
    def test_what_cannot_be_explained_takes_no_alert_back(
        self, look, feed, broken, cluster, another, tmp_path, change
    ):
        feed(broken, 100)
        path = None
        if change == "fields":
            for document in cluster.sonar.documents[11]:
                document["years"] = document.pop("age")
        else:
            another(method="mean")
            path = tmp_path / "other.joblib"
        result = look(artifact=path) if path else look()
        assert result.status == 1
        assert "alert: the traffic changed at about" in result.out
        assert "cannot be explained: " in result.err
        assert len(result.err.splitlines()) == 1

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
        assert "alert: the traffic changed at about" in result.out
        (line,) = result.err.splitlines()
        assert line.startswith(f"watch.py: cannot load {tmp_path}/monitoring_model.joblib")


class TestMissingChecks:
    @pytest.mark.parametrize(("every", "status"), [(2, 1), (1, 1), (3, 0)])
    def test_half_of_them_are_an_alert(self, look, feed, healthy, every, status):
        feed(healthy, 1000, missing=range(0, 1000, every))
        result = look()
        missing = len(range(0, 1000, every))
        assert result.status == status
        assert read_row(result)["missing"] == f"{missing:,}"
        if status:
            line, step = result.out.splitlines()[-2:]
            assert line == f"alert: {missing:,} of 1,000 checks are missing"
            assert step.startswith("next: look at the metric's log")

    def test_in_between_they_change_nothing(self, look, feed, healthy, broken):
        """Requests without a check are no evidence of either."""
        feed(healthy, 300, missing=range(0, 300, 3))
        feed(broken, 60, missing=range(0, 60, 3))
        result = look()
        assert result.status == 1
        onset = re.search(r"^began at about +(.*)$", result.out, re.MULTILINE)[1]
        assert onset[:16] == format_time(FIRST_SECOND + 301)[:16]

    def test_a_target_that_fails(self, look, cluster, feed, healthy):
        feed(healthy, 70)
        cluster.sonar.add(cluster.versions[0], [{}] * 30, {}, {})
        assert read_row(look())["missing"] == "30"


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
        assert table[-2] == "alert: other: 100 of 100 checks are missing"

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
        assert metric["change"]["onset"] == FIRST_SECOND + 500
        assert metric["change"]["field"]["feature"] == "hours_per_week"
        assert metric["change"]["goes_on"]
        assert metric["rate"] == metric["alarms"] / 600

    def test_help_names_every_key(self, look, feed, broken):
        feed(broken, 100)
        content = json.loads(look("--json").out)
        words = set(re.findall(r"\w+", run(watch.main, "--help").out.split("--json prints")[1]))
        (metric,) = content["metrics"]
        assert {*content, *metric, *metric["change"], *metric["change"]["field"]} <= words

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

    def test_it_carries_on_from_where_it_was(self, live, look, feed, healthy, broken):
        feed(healthy, 500)
        happens = (lambda: feed(broken, 3), lambda: None, lambda: feed(broken, 3))
        result, pauses = live(*happens)
        assert (result.status, result.err) == (0, "")
        lines = [line for line in result.out.splitlines() if not line.startswith("next: ")]
        assert [line[27:].split(":")[0] for line in lines] == ["ok", "ok", "alert"]
        assert lines[-1][:25] == format_time(FIRST_SECOND + 505)
        assert pauses == [60] * 4
        assert look().status == 1

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
        assert (process.returncode, out, err) == (0, "", "")


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
