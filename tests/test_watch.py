"""scripts/watch.py against a stub of the cluster that keeps requests which were really served."""

import json
import re
import signal
import subprocess
import sys
from functools import partial

from lib import census, detector, watch_picture
from lib.command import ROOT
from lib.replay import ALARM, FAILED, PASSED, Outcome
from lib.runtime import load_function, read_definition
from lib.sonar import format_time

import numpy as np
import pytest
import stub_manager
from helpers import PNG, assert_one_line, run, served_package
from scipy.stats import binom, binomtest
from stub_sonar import FIRST_SECOND

import shadow
import watch

METRIC = "census_monitoring"
DRIFT = 2000  # the request from which on hours arrive as hours a month


@pytest.fixture(scope="module")
def requests(func_main):
    """3,000 requests of the sample's held-out rows, as shadow.py chooses them."""
    data = census.hold_out(census.load("sample"), func_main.detector.origin_)
    return list(shadow.choose_requests(data, 3000, 0, ("hours-per-month", DRIFT)))


@pytest.fixture(scope="module")
def served(requests, package, adult, func_main):
    """What became of the requests: both functions are given what the runtime gives them.

    Over gRPC, whose messages are slow to make in pure Python, they would take twenty seconds.
    """
    classify, score = load_function(adult), load_function(package)
    outcomes = []
    for row, drift_name, codes in requests:
        inputs = dict(zip(census.FEATURES, map(np.int64, codes[:-1]), strict=False))
        classes = classify(**inputs)["classes"]
        outcome = Outcome(row, "sample", drift_name, (*codes[:-1], classes))
        value = score(**inputs, classes=np.int64(classes))["value"]
        outcome.judge(value, func_main.detector.threshold_)
        outcomes.append(outcome)
    return outcomes


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


@pytest.fixture
def manager():
    with stub_manager.running() as manager:
        manager.add_version("adult", 1)
        manager.add_version(METRIC, 1)
        yield manager


@pytest.fixture
def threshold(func_main):
    return float(func_main.detector.threshold_)


@pytest.fixture
def attach(manager, threshold):
    """Return a function that attaches a metric to adult:1."""

    def attach(name=METRIC, threshold=threshold):
        config = {"modelVersionId": 12, "threshold": threshold}
        manager.specs.append({"id": name, "name": name, "modelVersionId": 11, "config": config})

    return attach


@pytest.fixture
def feed(manager, attach, threshold):
    """Return a function that attaches the metric, and lets sonar keep requests that it checked."""

    def feed(outcomes, **options):
        attach()
        manager.sonar.add({METRIC: outcomes}, manager.versions[0], threshold, **options)

    return feed


@pytest.fixture
def look(manager, artifact, func_main, monkeypatch):
    """Return a function that watches adult:1; loading its artifact takes a while only once."""
    load = detector.load_detector
    loaded = {artifact: func_main.detector}
    monkeypatch.setattr(detector, "load_detector", lambda path: loaded.get(path) or load(path))

    def look(*options, target="adult:1", artifact=artifact):
        own = ("--artifact", artifact) if artifact else ()
        return run(watch.main, target, "--cluster", manager.address, *own, *options)

    return look


@pytest.fixture
def no_artifact(monkeypatch, tmp_path):
    monkeypatch.setattr(watch.command, "ARTIFACT", tmp_path / "none.joblib")


def count(outcomes):
    return sum(outcome.result == ALARM for outcome in outcomes)


def made(*results, repeat=1):
    """Return outcomes that nobody served, for counts that no replay gives."""
    sent = tuple(range(len(census.FEATURES)))
    return [
        Outcome(row, "mine.csv", "", sent, 9.0 if result == ALARM else 1.0, result)
        for row, result in enumerate(results * repeat)
    ]


def cells(result):
    """Return the cells of the table's first row by its head."""
    head, row = result.out.splitlines()[:2]
    return dict(zip(head.split(), row.split(maxsplit=7), strict=True))


class TestReplay:
    """The traffic breaks at request 2,000."""

    def test_healthy_traffic_is_ok(self, look, feed, served, func_main, threshold):
        feed(served[:1900])
        result = look()
        assert (result.status, result.err) == (0, "")
        assert result.out.splitlines()[-1] == "ok"
        alarms, normal = (
            count(served[900:1900]),
            detector.normal_rate(func_main.detector, threshold),
        )
        p = binomtest(alarms, 1000, normal, alternative="greater").pvalue
        assert cells(result) == {
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
        alarms = count(served[DRIFT:])
        expected = 1000 * func_main.detector.origin_["held_out_rate"]
        assert result.out.splitlines()[-1] == (
            f"alert: {alarms} alarms in 1,000 requests, {expected:.0f} expected,"
            " because of hours_per_week"
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
        line = f"{count(served[DRIFT : DRIFT + 100])} alarms in 100, {times}"
        assert re.search(f"^noticed +{re.escape(line)}$", out, re.MULTILINE)
        worst = max(range(0, 2400, 100), key=lambda start: count(served[start : start + 100]))
        line = f"{count(served[worst : worst + 100])} alarms in 100, "
        start = format_time(FIRST_SECOND + worst)
        assert re.search(f"^worst batch +{line}{re.escape(start)} to ", out, re.MULTILINE)

    @pytest.mark.usefixtures("no_artifact")
    def test_without_an_artifact(self, look, feed, served):
        feed(served)
        alarms = count(served[DRIFT:])
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
        detector.fit_detector(rows[:1000]).save(other)
        feed(served)
        result = look(artifact=other)
        assert result.status == 1
        assert result.out.splitlines()[-1].startswith("alert: ")
        words = r"\d+ of the last 100 alarms have another value here: the cluster serves another"
        assert re.fullmatch(
            f"watch.py: {METRIC}: {words} artifact than the one at hand\n", result.err
        )
        assert cells(result)["normal"] == "5.0%"

    def test_alarms_before_the_window_give_no_reason(self, look, feed, served):
        feed(served[: DRIFT + 50])
        (metric,) = json.loads(look("--requests", 50, "--json").out)["metrics"]
        assert sum(metric["because"].values()) == count(served[DRIFT : DRIFT + 50])

    def test_a_target_of_other_fields(self, look, feed, served, manager):
        feed(served)
        for document in manager.sonar.documents[11]:
            document["years"] = document.pop("age")
        result = look()
        assert (result.status, "because" in result.out) == (1, False)
        assert result.err.endswith("the alarmed requests are not the artifact's: age: missing\n")


class TestWindow:
    @pytest.mark.parametrize(
        ("options", "requests"),
        [
            ((), 1000),
            (("--requests", 250), 300),
            (("--requests", 1), 100),
            (("--requests", 10**6), 2000),
            (("--since", "10m"), 600),
            (("--since", "10m", "--requests", 350), 400),
            (("--since", "10m", "--requests", 1500), 600),
            (("--since", "90s"), 100),
            (("--since", "1d"), 2000),
        ],
    )
    def test_how_far_it_reaches(self, look, feed, options, requests, monkeypatch):
        """Batches of 100 requests, one a second until now."""
        feed(made(PASSED, repeat=2000))
        monkeypatch.setattr(watch.time, "time", lambda: FIRST_SECOND + 2000)
        result = look(*options)
        assert (result.status, cells(result)["requests"]) == (0, f"{requests:,}")

    def test_many_pages(self, look, feed, manager):
        manager.sonar.batch_size = 7
        feed(made(*[PASSED] * 19, ALARM, repeat=50))
        result = look()
        assert (cells(result)["requests"], cells(result)["alarms"]) == ("1,000", "50")

    def test_what_arrives_meanwhile_counts_nothing_twice(self, look, feed, manager, monkeypatch):
        manager.sonar.batch_size = 10
        feed(made(PASSED, repeat=1000))
        ask = manager.sonar.aggregates

        def ask_and_go_on(*arguments):
            answer = ask(*arguments)
            more = made(PASSED, repeat=30)
            manager.sonar.add({METRIC: more}, manager.versions[0], 4.0, second=FIRST_SECOND + 1000)
            return answer

        monkeypatch.setattr(manager.sonar, "aggregates", ask_and_go_on)
        result = look("--json")
        (metric,) = json.loads(result.out)["metrics"]
        assert metric["requests"] == 1000
        assert (metric["since"], metric["until"]) == (FIRST_SECOND, FIRST_SECOND + 999)

    def test_a_batch_that_is_not_full_yet(self, look, feed):
        feed(made(PASSED, repeat=130))
        assert cells(look())["requests"] == "130"


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
        row = cells(look("--normal", 0.5))
        assert (row["requests"], row["alarms"], row["unscored"]) == ("1,000", "100", "400")
        assert row["rate"] == "16.7%"

    def test_a_batch_without_the_metric(self, look, feed):
        feed(made(FAILED, repeat=100) + made(PASSED, repeat=900))
        result = look()
        assert (result.status, cells(result)["unscored"]) == (0, "100")

    def test_errors_of_the_target(self, look, feed):
        """Sonar keeps them without the fields."""
        failed = Outcome(0, "mine.csv", "", (1,) * 12, result=FAILED, reason="INTERNAL")
        feed([failed] * 30 + made(ALARM, repeat=70))
        result = look()
        assert (result.status, cells(result)["unscored"]) == (1, "30")


class TestSeveralMetrics:
    @pytest.fixture
    def two(self, manager, attach, threshold):
        attach()
        attach("hvdm", 0.5)
        outcomes = {METRIC: made(PASSED, repeat=1000), "hvdm": made(PASSED, ALARM, repeat=500)}
        manager.sonar.add(outcomes, manager.versions[0], threshold)

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


class TestJson:
    def test_it_says_what_the_table_says(self, look, feed, served, manager):
        feed(served)
        result = look("--json")
        content = json.loads(result.out)
        (metric,) = content.pop("metrics")
        table = look()
        assert content == {
            "target": "adult:1",
            "cluster": manager.address,
            "alert": True,
            "line": table.out.splitlines()[-1],
        }
        assert result.status == 1
        assert metric["because"]["hours_per_week"] > 90
        assert (
            f"because of         hours_per_week {metric['because']['hours_per_week']}" in table.out
        )
        assert metric["rate"] == count(served[DRIFT:]) / 1000
        assert metric["noticed"] == FIRST_SECOND + DRIFT + 99

    def test_help_names_every_key(self, look, feed):
        feed(made(PASSED, repeat=100))
        content = json.loads(look("--json").out)
        words = set(re.findall(r"\w+", run(watch.main, "--help").out.split("--json prints")[1]))
        assert {*content, *content["metrics"][0], *content["metrics"][0]["worst"]} <= words

    def test_nothing_checked(self, look, feed):
        feed(made(FAILED, repeat=100))
        (metric,) = json.loads(look("--json").out)["metrics"]
        assert (metric["rate"], metric["worst"], metric["p"]) == (None, None, 1.0)


class TestPicture:
    def test_rates_band_and_alert(self, look, feed, served, tmp_path, monkeypatch):
        figures = []
        save = watch_picture.save
        monkeypatch.setattr(
            watch_picture, "save", lambda *them: (figures.append(them[0]), save(*them))
        )
        feed(served)
        path = tmp_path / "new" / "watch.png"
        result = look("--plot", path, "--requests", 3000)
        assert path.read_bytes().startswith(PNG)
        (figure,) = figures
        assert figure.get_suptitle() == f"adult:1, {result.out.splitlines()[-1]}"
        (axes,) = figure.axes
        rates = [100 * count(served[start : start + 100]) / 100 for start in range(0, 3000, 100)]
        np.testing.assert_allclose(axes.lines[0].get_ydata(), rates)
        (label,) = [text for text in labels(figure) if text.startswith("noticed")]
        assert label == f"noticed, {format_time(FIRST_SECOND + DRIFT + 99)}"
        band = axes.collections[1].get_paths()[0].vertices[:, 1].max()
        normal = float(axes.get_title("left").split()[-1].rstrip("%")) / 100
        assert binom.sf(band - 1, 100, normal) > 0.001 > binom.sf(band, 100, normal)

    def test_several_metrics_and_one_batch(self, look, manager, attach, tmp_path):
        """One of which never answered."""
        attach()
        attach("hvdm", 0.5)
        outcomes = {METRIC: made(PASSED, repeat=50), "hvdm": made(FAILED, repeat=50)}
        manager.sonar.add(outcomes, manager.versions[0], 4.0)
        look("--plot", tmp_path / "watch.png")
        assert (tmp_path / "watch.png").read_bytes().startswith(PNG)

    def test_nowhere_to_write_is_told_at_once(self, look, tmp_path):
        result = look("--plot", tmp_path, target="none:1")
        assert_one_line(result, "cannot be written")


def labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


class TestFollow:
    """Time is a list of what happens meanwhile; at its end somebody types Ctrl-C."""

    @pytest.fixture
    def live(self, look, manager, monkeypatch):
        """Return a function that follows, and what it paused."""

        def live(*happens, options=("--follow", 60)):
            pauses, happening = [], iter(happens)

            def sleep(seconds):
                pauses.append(seconds)
                try:
                    next(happening)()
                except StopIteration:
                    raise KeyboardInterrupt from None

            monkeypatch.setattr(watch.time, "sleep", sleep)
            return look(*options), pauses

        return live

    @pytest.fixture
    def go_on(self, manager, threshold):
        """Return a function that makes a function which lets requests arrive."""

        def go_on(outcomes):
            second = FIRST_SECOND + len(manager.sonar.documents[11])
            target = manager.versions[0]
            manager.sonar.add({METRIC: outcomes}, target, threshold, second=second)

        return lambda outcomes: lambda: go_on(outcomes)

    def test_a_line_for_new_batches(self, live, feed, served, go_on):
        feed(served[:1900])
        nothing = go_on([])
        happens = (nothing, go_on(served[1900:2000]), nothing, go_on(served[2000:2200]), nothing)
        result, pauses = live(*happens)
        assert (result.status, result.err) == (0, "")
        times = [format_time(FIRST_SECOND + end - 1) for end in (1900, 2000, 2200)]
        lines = result.out.splitlines()
        assert [line[:25] for line in lines] == times
        assert [line[27:].split(":")[0] for line in lines] == ["ok", "ok", "alert"]
        assert lines[2].endswith("because of hours_per_week")
        assert pauses == [60] * 6

    def test_a_cluster_that_goes_away(self, live, feed, served, manager, go_on):
        feed(served[:1900])
        away = {"/monitoring/": (503, "text/html", b"<html>")}
        happens = [lambda: manager.instead.update(away), *[go_on([])] * 5, manager.instead.clear]
        result, pauses = live(*happens, go_on(served[1900:2000]))
        assert result.status == 0
        assert len(result.err.splitlines()) == 1
        assert "HTTP 503" in result.err
        assert result.err.endswith("; waiting\n")
        assert pauses == [60, 120, 240, 480, 600, 600, 600, 60, 60]
        assert [line[27:29] for line in result.out.splitlines()] == ["ok"] * 3

    def test_no_checks_yet(self, live, attach, manager, go_on):
        attach()
        manager.sonar.documents[11] = []
        result, _ = live(go_on(made(PASSED, repeat=10)))
        assert result.err == "watch.py: no checks of adult:1 yet; waiting\n"
        assert len(result.out.splitlines()) == 1

    def test_json_and_picture(self, live, feed, go_on, tmp_path):
        feed(made(PASSED, repeat=100))
        path = tmp_path / "watch.png"
        happens = (path.unlink, go_on(made(PASSED, repeat=100)))
        result, _ = live(*happens, options=("--follow", 60, "--json", "--plot", path))
        requests = [json.loads(line)["metrics"][0]["requests"] for line in result.out.splitlines()]
        assert requests == [100, 200]
        assert path.read_bytes().startswith(PNG)

    def test_what_cannot_be_watched_is_told_at_once(self, live, feed):
        feed(made(PASSED))
        result, pauses = live(options=("--follow", 60, "--metric", "other"))
        assert_one_line(result, "no metric other on adult:1, there is census_monitoring")
        assert pauses == []

    def test_ctrl_c(self, feed, manager):
        feed(made(PASSED, repeat=100))
        options = ("--cluster", manager.address, "--follow", "60", "--normal", "0.05")
        line = [sys.executable, ROOT / "scripts" / "watch.py", "adult:1", *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(line, **pipes) as process:
            assert process.stdout.readline().endswith("0 alarms in 100 requests, 5 expected\n")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (0, "", "")


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


def document(**changes):
    """Return a batch in which something is otherwise, as JSON."""
    batch = {
        "_id": "5" * 24,
        "_hs_first_id": "5" * 24,
        "_hs_last_id": "5" * 24,
        "_hs_requests": 100,
        "_hs_metrics": {METRIC: {"checked": 100, "passed": 95}},
        **changes,
    }
    return json.dumps({"count": 1, "results": [batch]}).encode()


STRANGE = {
    "html": b"<html>It works!</html>",
    "null": b"null",
    "number": b"7",
    "text": b'"ok"',
    "list": b'["ok"]',
    "object": b'{"surprise": true}',
    "nothing": b"",
    "latin-1": b'["\xe9"]',
    "depth": b"[" * 100_000,
    "digits": b"[" + b"9" * 5000 + b"]",
}
STRANGE_BATCHES = {
    "requests": {"_hs_requests": "100"},
    "requests of a fraction": {"_hs_requests": 99.5},
    "requests of nothing": {"_hs_requests": {"$numberLong": "many"}},
    "no requests": {"_hs_requests": 0},
    "too many requests": {"_hs_requests": 10**18},
    "no id": {"_id": None, "_hs_first_id": None},
    "an id of letters": {"_hs_last_id": "z" * 24},
    "metrics": {"_hs_metrics": ["census_monitoring"]},
    "counts": {"_hs_metrics": {METRIC: 7}},
    "passed": {"_hs_metrics": {METRIC: {"checked": 95, "passed": 100}}},
    "checked": {"_hs_metrics": {METRIC: {"checked": 101, "passed": 100}}},
    "true": {"_hs_metrics": {METRIC: {"checked": True, "passed": True}}},
}


class TestStrangeAnswers:
    """Whatever answers at the address: one line."""

    @pytest.fixture
    def look(self, look, no_artifact):
        return partial(look, artifact=None)

    @pytest.mark.parametrize("body", STRANGE.values(), ids=STRANGE)
    @pytest.mark.parametrize(
        "path", ["/api/v2/model/version", "/api/v2/monitoring", "/monitoring/checks/aggregates"]
    )
    def test_another_server(self, look, attach, manager, path, body):
        attach()
        manager.instead[path] = (200, "application/json", body)
        assert_one_line(look(), "watch.py: ", manager.address)

    @pytest.mark.parametrize("changes", STRANGE_BATCHES.values(), ids=STRANGE_BATCHES)
    def test_another_batch(self, look, attach, manager, changes):
        attach()
        manager.instead["/monitoring/"] = (200, "application/json", document(**changes))
        assert_one_line(look(), f"{manager.address} does not answer like sonar: ")

    def test_half_a_page(self, look, attach, manager):
        attach()
        body = document()
        manager.instead["/monitoring/"] = (200, "application/json", body[:40], len(body))
        assert_one_line(look(), f"GET {manager.address}/monitoring/checks/aggregates/11")

    @pytest.mark.parametrize("status", [401, 404, 500, 503])
    def test_http_errors(self, look, attach, manager, status):
        attach()
        manager.instead["/monitoring/"] = (status, "text/html", b"<html>\n<h1>no</h1>")
        assert_one_line(look(), f"HTTP {status} <html> <h1>no</h1>")

    @pytest.mark.parametrize("body", STRANGE.values(), ids=STRANGE)
    def test_an_alert_stays_one(self, look, feed, served, manager, body):
        """Although the alarmed requests cannot be read."""
        feed(served)
        manager.instead["/monitoring/checks/all"] = (200, "application/json", body)
        result = look()
        assert result.status == 1
        assert result.out.splitlines()[-1].startswith("alert: ")
        assert len(result.err.splitlines()) == 1
        assert result.err.endswith(", so it is not known why\n")

    def test_a_page_over_and_over(self, look, attach, manager):
        """A server that ignores offset sends nothing new on the second page."""
        attach()
        manager.instead["/monitoring/"] = (200, "application/json", document())
        result = look("--normal", 0.05)
        assert (result.status, cells(result)["requests"]) == (0, "100")

    def test_a_name_that_no_terminal_can_show(self, look, attach, manager):
        attach("\ud800\x1b[2J")
        manager.instead["/monitoring/"] = (200, "application/json", document())
        out = look().out
        assert r"'\ud800\x1b[2J'" in out
        assert out.isascii()

    @pytest.mark.parametrize("spec", [{}, {"name": "a", "config": "b"}, 7, None])
    def test_another_metric(self, look, manager, spec):
        body = json.dumps([spec]).encode()
        manager.instead["/api/v2/monitoring"] = (200, "application/json", body)
        assert_one_line(look(), f"{manager.address} does not answer like a manager: ")
