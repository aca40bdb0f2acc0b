"""How sonar is read: pages, times, and whatever else may answer at the address."""

import json
from functools import partial

from lib.replay import ALARM, PASSED

import pytest
from helpers import METRIC, assert_one_line, made, read_row
from stub_sonar import FIRST_SECOND

import watch


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
        assert (result.status, read_row(result)["requests"]) == (0, f"{requests:,}")

    def test_many_pages(self, look, feed, cluster):
        cluster.sonar.batch_size = 7
        feed(made(*[PASSED] * 19, ALARM, repeat=50))
        result = look()
        assert (read_row(result)["requests"], read_row(result)["alarms"]) == ("1,000", "50")

    def test_what_arrives_meanwhile_counts_nothing_twice(self, look, feed, cluster, monkeypatch):
        cluster.sonar.batch_size = 10
        feed(made(PASSED, repeat=1000))
        ask = cluster.sonar.aggregates

        def ask_and_go_on(*arguments):
            answer = ask(*arguments)
            more = made(PASSED, repeat=30)
            cluster.sonar.add({METRIC: more}, cluster.versions[0], 4.0, second=FIRST_SECOND + 1000)
            return answer

        monkeypatch.setattr(cluster.sonar, "aggregates", ask_and_go_on)
        result = look("--json")
        (metric,) = json.loads(result.out)["metrics"]
        assert metric["requests"] == 1000
        assert (metric["since"], metric["until"]) == (FIRST_SECOND, FIRST_SECOND + 999)

    def test_a_batch_that_is_not_full_yet(self, look, feed):
        feed(made(PASSED, repeat=130))
        assert read_row(look())["requests"] == "130"


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
    "infinite": b'[{"name": "m", "config": {"threshold": ' + b"9" * 400 + b"}}]",
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
    def test_another_server(self, look, attach, cluster, path, body):
        attach()
        cluster.instead[path] = (200, "application/json", body)
        assert_one_line(look(), "watch.py: ", cluster.address)

    @pytest.mark.parametrize("changes", STRANGE_BATCHES.values(), ids=STRANGE_BATCHES)
    def test_another_batch(self, look, attach, cluster, changes):
        attach()
        cluster.instead["/monitoring/"] = (200, "application/json", document(**changes))
        assert_one_line(look(), f"{cluster.address} does not answer like sonar: ")

    def test_half_a_page(self, look, attach, cluster):
        attach()
        body = document()
        cluster.instead["/monitoring/"] = (200, "application/json", body[:40], len(body))
        assert_one_line(look(), f"GET {cluster.address}/monitoring/checks/aggregates/11")

    @pytest.mark.parametrize("status", [401, 404, 500, 503])
    def test_http_errors(self, look, attach, cluster, status):
        attach()
        cluster.instead["/monitoring/"] = (status, "text/html", b"<html>\n<h1>no</h1>")
        assert_one_line(look(), f"HTTP {status} <html> <h1>no</h1>")

    @pytest.mark.parametrize("body", STRANGE.values(), ids=STRANGE)
    def test_an_alert_stays_one(self, look, feed, served, cluster, body):
        """Although the alarmed requests cannot be read."""
        feed(served)
        cluster.instead["/monitoring/checks/all"] = (200, "application/json", body)
        result = look()
        assert result.status == 1
        assert result.out.splitlines()[-1].startswith("alert: ")
        assert len(result.err.splitlines()) == 1
        assert result.err.endswith(", so it is not known why\n")

    def test_a_page_over_and_over(self, look, attach, cluster):
        """A server that ignores offset sends nothing new on the second page."""
        attach()
        cluster.instead["/monitoring/"] = (200, "application/json", document())
        result = look("--normal", 0.05)
        assert (result.status, read_row(result)["requests"]) == (0, "100")

    def test_a_name_that_no_terminal_can_show(self, look, attach, cluster):
        attach("\ud800\x1b[2J")
        cluster.instead["/monitoring/"] = (200, "application/json", document())
        out = look().out
        assert r"'\ud800\x1b[2J'" in out
        assert out.isascii()

    @pytest.mark.parametrize("spec", [{}, {"name": "a", "config": "b"}, 7, None])
    def test_another_metric(self, look, cluster, spec):
        body = json.dumps([spec]).encode()
        cluster.instead["/api/v2/monitoring"] = (200, "application/json", body)
        assert_one_line(look(), f"{cluster.address} does not answer like a manager: ")
