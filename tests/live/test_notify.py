"""Alerts for the platform's Alertmanager: one for a change, against the real one where it is."""

import shutil
import socket
import subprocess
import time
from datetime import datetime

import numpy as np
import pytest
import requests
from helpers import METRIC
from stubs.sonar import FIRST_SECOND

from knn_metric.live.notify import Alertmanager

LABELS = {
    "alertname": "MonitoredTrafficChanged",
    "modelName": "adult",
    "modelVersion": "1",
    "metric": METRIC,
}


def assert_ends(first, second):
    """Assert that an alert went on at first, and is over then."""
    ends = [datetime.fromisoformat(one["endsAt"]).timestamp() for one in (first, second)]
    assert ends[1] <= time.time() < ends[0] - 3000


class TestPosts:
    def test_one_alert_for_a_change_is_ended_when_that_is_over(
        self, look, feed, healthy, broken, cluster
    ):
        feed(healthy, 300)
        feed(broken, 200)
        assert look("--notify").status == 1
        feed(healthy.take(np.arange(300, 800)))
        look("--notify")
        (alert,), (ended,) = cluster.alerts
        assert alert["labels"] == LABELS
        summary = "adult:1: its traffic changed, field: hours_per_week"
        assert alert["annotations"] == {"summary": summary, "field": "hours_per_week"}
        onset = datetime.fromisoformat(alert["startsAt"]).timestamp()
        assert onset == pytest.approx(FIRST_SECOND + 300, abs=10)
        assert {**alert, "endsAt": ""} == {**ended, "endsAt": ""}
        assert_ends(alert, ended)

    def test_missing_checks(self, look, feed, healthy, cluster):
        feed(healthy, 300, missing=range(40, 300))
        look("--notify")
        feed(healthy.take(np.arange(300, 700)))
        look("--notify")
        (first,), (second,) = cluster.alerts
        assert first["labels"] == {**LABELS, "alertname": "MonitoringChecksMissing"}
        summary = first["annotations"]["summary"]
        assert summary.startswith("adult:1: 260 of 260 checks are missing since about ")
        assert first["startsAt"] == second["startsAt"]
        assert_ends(first, second)

    def test_healthy_traffic_is_not_notified(self, look, feed, healthy, cluster):
        feed(healthy, 500)
        assert look("--notify").status == 0
        assert cluster.alerts == []

    def test_an_alertmanager_that_refuses(self, look, feed, broken, cluster):
        feed(broken, 100)
        cluster.failing["POST"] = 503
        result = look("--notify")
        assert result.status == 1
        assert "alert: the traffic changed" in result.out
        assert "/alerts/api/v2/alerts: HTTP 503" in result.err


CONFIG = """\
route:
  receiver: on-call
receivers:
  - name: on-call
"""


@pytest.fixture
def alertmanager(tmp_path):
    """The address of a real Alertmanager."""
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        pytest.skip("Alertmanager is not installed: Debian's prometheus-alertmanager has it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "alertmanager.yml").write_text(CONFIG)
    line = [program, f"--config.file={tmp_path}/alertmanager.yml", "--cluster.listen-address="]
    line += [f"--storage.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{port}"]
    line += ["--web.route-prefix=/alerts/"]
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 30
            while not answers(f"{address}/alerts/-/ready"):
                assert time.monotonic() < deadline, "Alertmanager does not start"
                time.sleep(0.01)
            yield address
        finally:
            process.kill()


def answers(url):
    try:
        return requests.get(url, timeout=1).ok
    except requests.ConnectionError:
        return False


@pytest.mark.slow
def test_a_change_of_a_thousand_requests_is_one_alert(
    alertmanager, look, feed, healthy, broken, monkeypatch
):
    """It seems to begin later in each window that is read, and is over at last."""
    monkeypatch.setattr("knn_metric.live.notify.Alertmanager", lambda _: Alertmanager(alertmanager))
    feed(healthy, 100)
    kept = []
    for first in range(0, 1000, 100):
        feed(broken.take(np.arange(first, first + 100)))
        assert look("--notify", "--requests", 250).status == 1
        kept += requests.get(f"{alertmanager}/alerts/api/v2/alerts", timeout=10).json()
    assert len({(one["fingerprint"], one["startsAt"]) for one in kept}) == 1
    assert (len(kept), kept[0]["labels"]) == (10, LABELS)
    feed(healthy, 900)
    look("--notify")
    assert requests.get(f"{alertmanager}/alerts/api/v2/alerts", timeout=10).json() == []
