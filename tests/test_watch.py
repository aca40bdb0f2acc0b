"""scripts/watch.py against a stub of the cluster that keeps requests which were really served."""

import json
import re

from lib import detector, fitting
from lib.replay import ALARM, FAILED, PASSED, Outcome
from lib.runtime import read_definition
from lib.sonar import format_time

import pytest
from helpers import (
    DRIFT,
    METRIC,
    assert_one_line,
    count_alarms,
    made,
    read_row,
    served_package,
)
from scipy.stats import binomtest
from stub_sonar import FIRST_SECOND

import shadow
import watch


def test_the_local_runtimes_serve_the_same(served, requests, package, adult, func_main):
    """Of the requests that the other tests feed to sonar, some go the whole way."""
    fields, threshold = (
        read_definition(package)["contract"]["inputs"],
        func_main.detector.threshold_,
    )
    with served_package(adult) as target, served_package(package) as metric:
        gateway = shadow.Gateway(target, metric, "sample", fields, threshold)
        for request in requests[:: len(requests) // 60]:
            outcome = gateway.send(*request)
            outcome.target_ms = outcome.metric_ms = float("nan")
            assert repr(outcome) == repr(served[outcome.row])


class TestReplay:
    """The traffic breaks at request 2,000."""

    def test_healthy_traffic_is_ok(self, look, feed, served, func_main, threshold):
        feed(served[:1900])
        result = look()
        assert (result.status, result.err) == (0, "")
        assert result.out.splitlines()[-1] == "ok"
        alarms, normal = (
            count_alarms(served[900:1900]),
            detector.normal_rate(func_main.detector, threshold),
        )
        p = binomtest(alarms, 1000, normal, alternative="greater").pvalue
        assert read_row(result) == {
            "metric": METRIC,
            "requests": "1,000",
            "alarms": str(alarms),
            "rate": f"{alarms / 1000:.1%}",
            "normal": f"{normal:.1%}",
            "p": f"{p:.2g}",
            "unscored": "0",
            "since": format_time(FIRST_SECOND + 900),
        }

    def test_broken_traffic_is_an_alert(self, look, feed, served, func_main):
        feed(served)
        result = look()
        assert (result.status, result.err) == (1, "")
        alarms = count_alarms(served[DRIFT:])
        expected = 1000 * func_main.detector.origin_["held_out_rate"]
        assert result.out.splitlines()[-1] == (
            f"alert: {alarms} alarms in 1,000 requests, {expected:.0f} expected,"
            " most often because of hours_per_week"
        )
        last = [outcome for outcome in served if outcome.result == ALARM][-100:]
        why = detector.reasons(func_main.detector, [outcome.sent for outcome in last])
        leading = sum(reason.startswith("hours_per_week") for reason in why)
        assert re.search(rf"^because of +hours_per_week {leading}, ", result.out, re.MULTILINE)
        line = f"value {last[-1].value!r}, threshold {float(func_main.detector.threshold_)!r}"
        assert re.search(f"^last alarm +{line}, .* request-{last[-1].row}$", result.out, re.M)

    def test_the_first_batch_and_the_worst(self, look, feed, served, func_main):
        feed(served[:2400])
        out = look("--requests", 2400).out
        times = f"{format_time(FIRST_SECOND + DRIFT)} to {format_time(FIRST_SECOND + DRIFT + 99)}"
        line = f"{count_alarms(served[DRIFT : DRIFT + 100])} alarms in 100, {times}"
        assert re.search(f"^noticed +{re.escape(line)}$", out, re.MULTILINE)
        worst = max(
            range(0, 2400, 100), key=lambda start: count_alarms(served[start : start + 100])
        )
        line = f"{count_alarms(served[worst : worst + 100])} alarms in 100, "
        start = format_time(FIRST_SECOND + worst)
        assert re.search(f"^worst batch +{line}{re.escape(start)} to ", out, re.MULTILINE)

    @pytest.mark.usefixtures("no_artifact")
    def test_without_an_artifact(self, look, feed, served):
        feed(served)
        alarms = count_alarms(served[DRIFT:])
        result = look(artifact=None)
        line = f"alert: {alarms} alarms in 1,000 requests, 50 expected"
        assert (result.status, result.out.splitlines()[-1]) == (1, line)
        line = f"alert: {alarms} alarms in 1,000 requests, 900 expected"
        assert look("--normal", 0.9, artifact=None).out.splitlines()[-1] == line

    def test_the_packages_own_artifact_is_used(self, look, feed, served, artifact, monkeypatch):
        monkeypatch.setattr(watch.command, "ARTIFACT", artifact)
        feed(served)
        assert "because of hours_per_week" in look(artifact=None).out.splitlines()[-1]

    def test_another_artifact_is_noticed(self, look, feed, served, rows, tmp_path):
        """Its scores are not the cluster's, which says why and takes nothing back."""
        other = tmp_path / "other.joblib"
        fitting.fit_detector(rows[:1000]).save(other)
        feed(served)
        result = look(artifact=other)
        assert result.status == 1
        assert result.out.splitlines()[-1].startswith("alert: ")
        words = r"\d+ of the last 100 alarms have another value here: the cluster serves another"
        assert re.fullmatch(
            f"watch.py: {METRIC}: {words} artifact than the one at hand\n", result.err
        )
        assert read_row(result)["normal"] == "5.0%"

    def test_alarms_before_the_window_give_no_reason(self, look, feed, served):
        feed(served[: DRIFT + 50])
        (metric,) = json.loads(look("--requests", 50, "--json").out)["metrics"]
        assert sum(metric["because"].values()) == count_alarms(served[DRIFT : DRIFT + 50])

    def test_a_target_of_other_fields(self, look, feed, served, cluster):
        feed(served)
        for document in cluster.sonar.documents[11]:
            document["years"] = document.pop("age")
        result = look()
        assert (result.status, "because" in result.out) == (1, False)
        assert result.err.endswith("the alarmed requests are not the artifact's: age: missing\n")


class TestUnscored:
    """The metric did not answer, or the target itself failed."""

    @pytest.mark.parametrize(
        ("results", "status", "line"),
        [
            ((FAILED, PASSED), 1, "alert: 500 of 1,000 requests unscored"),
            ((FAILED,), 1, "alert: 1,000 of 1,000 requests unscored"),
            ((FAILED, PASSED, PASSED), 0, "ok"),
        ],
    )
    def test_the_verdict(self, look, feed, results, status, line):
        feed(made(*results, repeat=1000 // len(results) + 1)[:1000])
        result = look()
        assert (result.status, result.out.splitlines()[-1]) == (status, line)

    def test_beside_alarms(self, look, feed):
        feed(made(FAILED, ALARM, repeat=500))
        first, second = look("--normal", 0.05).out.splitlines()[-1].split(", and ")
        assert first.startswith("alert: 500 alarms in 500 requests, 25 expected")
        assert second == "500 of 1,000 requests unscored"

    def test_they_are_no_alarms_and_not_healthy(self, look, feed):
        feed(made(*[FAILED] * 4, ALARM, *[PASSED] * 5, repeat=100))
        row = read_row(look("--normal", 0.5))
        assert (row["requests"], row["alarms"], row["unscored"]) == ("1,000", "100", "400")
        assert row["rate"] == "16.7%"

    def test_a_batch_without_the_metric(self, look, feed):
        feed(made(FAILED, repeat=100) + made(PASSED, repeat=900))
        result = look()
        assert (result.status, read_row(result)["unscored"]) == (0, "100")

    def test_errors_of_the_target(self, look, feed):
        """Sonar keeps them without the fields."""
        failed = Outcome(0, "mine.csv", "", (1,) * 12, result=FAILED, reason="INTERNAL")
        feed([failed] * 30 + made(ALARM, repeat=70))
        result = look()
        assert (result.status, read_row(result)["unscored"]) == (1, "30")


class TestSeveralMetrics:
    @pytest.fixture
    def two(self, cluster, attach, threshold):
        attach()
        attach("hvdm", 0.5)
        outcomes = {METRIC: made(PASSED, repeat=1000), "hvdm": made(PASSED, ALARM, repeat=500)}
        cluster.sonar.add(outcomes, cluster.versions[0], threshold)

    @pytest.mark.usefixtures("two")
    def test_a_row_each(self, look, func_main):
        result = look()
        _, first, second = result.out.splitlines()[:3]
        normal = f"{func_main.detector.origin_['held_out_rate']:.1%}"
        assert first.split()[:5] == [METRIC, "1,000", "0", "0.0%", normal]
        assert second.split()[:5] == ["hvdm", "1,000", "500", "50.0%", "5.0%"]
        assert re.search(r"^worst batch +hvdm: 50 alarms in 100, ", result.out, re.MULTILINE)
        line = "alert: hvdm: 500 alarms in 1,000 requests, 50 expected"
        assert (result.status, result.out.splitlines()[-1], result.err) == (1, line, "")

    @pytest.mark.usefixtures("two")
    def test_one_of_them(self, look):
        result = look("--metric", METRIC)
        assert (result.status, "hvdm" in result.out) == (0, False)
        assert look("--metric", "hvdm").status == 1


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        ("", (), "expected NAME:VERSION, got ''"),
        ("adult", (), "expected NAME:VERSION, got 'adult'"),
        ("adult:7", (), "no version 7 of adult at http"),
        ("none:1", (), "no model none at http"),
        ("census_monitoring:1", (), "no metric on census_monitoring:1: `make metric TARGET="),
        ("adult:1", ("--metric", "other"), "no metric other on adult:1, there is census_mon"),
        ("adult:1", ("--since", "1s"), "no checks of adult:1 since 20"),
        ("adult:1", ("--since", "2"), "expected a number and s, m, h or d, got '2'"),
        ("adult:1", ("--since", "0h"), "expected a number and s, m, h or d, got '0h'"),
        ("adult:1", ("--requests", "0"), "--requests: must be from 1 to 1,000,000"),
        ("adult:1", ("--normal", "5"), "--normal: must be from 0 to 1"),
        ("adult:1", ("--normal", "nan"), "--normal: must be from 0 to 1"),
        ("adult:1", ("--follow", "0"), "--follow: must be from 0.01"),
        ("adult:1", ("--artifact", "none.joblib"), "cannot load none.joblib (No such file"),
        ("adult:1", ("--cluster", "http://127.0.0.1:1"), "http://127.0.0.1:1/api/v2/model/version"),
        ("adult:1", ("--cluster", "nowhere"), "is http://HOST or https://HOST, got 'nowhere'"),
    ],
)
def test_one_clear_line(look, feed, target, options, words):
    feed(made(PASSED, repeat=100))
    result = look(*options, target=target)
    assert_one_line(result, "watch.py: ", words)
    assert result.out == ""


def test_no_checks_yet(look, attach):
    attach()
    assert_one_line(look(), "no checks of adult:1 yet")
