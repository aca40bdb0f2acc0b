"""Alerts for the platform's Alertmanager: one for a change, against the real one where it is."""

import json
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import requests
from helpers import METRIC
from stubs.sonar import FIRST_SECOND

from monitoring.live.notify import Alertmanager

LABELS = {
    "alertname": "MonitoredTrafficChanged",
    "modelName": "adult",
    "modelVersion": "1",
    "metric": METRIC,
}


class TestPosts:
    def test_one_alert_for_a_change(self, look, feed, healthy, broken, cluster):
        feed(healthy, 300)
        feed(broken, 200)
        assert look("--notify").status == 1
        ((alert,),) = cluster.alerts
        assert alert["labels"] == LABELS
        summary = "adult:1: its traffic changed, field: hours_per_week"
        assert alert["annotations"] == {"summary": summary, "field": "hours_per_week"}
        onset = datetime.fromisoformat(alert["startsAt"]).timestamp()
        assert onset == pytest.approx(FIRST_SECOND + 300, abs=10)
        assert datetime.fromisoformat(alert["endsAt"]).timestamp() > time.time() + 3000

    def test_it_is_ended_when_the_change_is_over(self, look, feed, healthy, broken, cluster):
        feed(broken, 100)
        feed(healthy, 400)
        look("--notify")
        ((alert,),) = cluster.alerts
        assert alert["labels"] == LABELS
        assert datetime.fromisoformat(alert["endsAt"]).timestamp() <= time.time()

    def test_missing_checks(self, look, feed, healthy, cluster):
        feed(healthy, 100, missing=range(40, 100))
        look("--notify")
        feed(healthy.take(np.arange(100, 500)))
        look("--notify")
        (first,), (second,) = cluster.alerts
        assert first["labels"] == {**LABELS, "alertname": "MonitoringChecksMissing"}
        summary = first["annotations"]["summary"]
        assert summary.startswith("adult:1: 60 of 60 checks are missing since about ")
        assert first["startsAt"] == second["startsAt"]
        ends = [datetime.fromisoformat(one["endsAt"]).timestamp() for one in (first, second)]
        assert ends[0] > time.time() + 3000
        assert ends[1] <= time.time()

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
  group_by: [alertname, modelName, metric]
  group_wait: 100ms
  group_interval: 300ms
  repeat_interval: 1h
receivers:
  - name: on-call
    webhook_configs:
      - url: {address}
"""


@contextmanager
def receiving():
    """Yield the address of a webhook, and the list of what it is sent."""
    received = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self):
            content = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(json.loads(content))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Webhook) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield f"http://127.0.0.1:{server.server_port}/", received
        server.shutdown()


@pytest.fixture
def alertmanager(tmp_path):
    """The address of a real Alertmanager, and what its webhook is sent."""
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        pytest.skip("Alertmanager is not installed: Debian's prometheus-alertmanager has it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with receiving() as (webhook, received):
        (tmp_path / "alertmanager.yml").write_text(CONFIG.format(address=webhook))
        line = [program, f"--config.file={tmp_path}/alertmanager.yml", "--cluster.listen-address="]
        line += [f"--storage.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{port}"]
        line += ["--web.route-prefix=/alerts/"]
        with subprocess.Popen(
            line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                address = f"http://127.0.0.1:{port}"
                wait_for(lambda: answers(f"{address}/alerts/-/ready"))
                yield address, received
            finally:
                process.kill()


def answers(url):
    try:
        return requests.get(url, timeout=1).ok
    except requests.ConnectionError:
        return False


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "nothing happened for half a minute"
        time.sleep(0.01)


@pytest.mark.slow
def test_one_notification_for_a_change_of_a_thousand_requests(
    alertmanager, look, feed, healthy, broken, monkeypatch
):
    """Sent again ten times from windows in which it seems to begin later, and ended when over."""
    address, received = alertmanager
    monkeypatch.setattr("watch.Alertmanager", lambda _: Alertmanager(address))
    feed(healthy, 100)
    for first in range(0, 1000, 100):
        feed(broken.take(np.arange(first, first + 100)))
        assert look("--notify", "--requests", 250).status == 1
    wait_for(lambda: received)
    assert [(one["status"], len(one["alerts"])) for one in received] == [("firing", 1)]
    (sent,) = received[0]["alerts"]
    assert sent["labels"] == LABELS
    (kept,) = requests.get(f"{address}/alerts/api/v2/alerts", timeout=10).json()
    starts = (datetime.fromisoformat(one["startsAt"]) for one in (sent, kept))
    assert next(starts) == next(starts)
    feed(healthy, 900)
    look("--notify")
    wait_for(lambda: len(received) > 1)
    assert [one["status"] for one in received] == ["firing", "resolved"]
