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
from requests.adapters import HTTPAdapter
from stubs.sonar import FIRST_SECOND
from urllib3.util import Retry

from knn_metric.files import ROOT
from knn_metric.live.metric import Metric
from knn_metric.live.report import CHANGE, Alertmanager

LABELS = {"modelName": "adult", "modelVersion": "1", "metric": METRIC}


def test_one_alert_ends_when_what_it_tells_is_over(look, feed, healthy, broken, cluster):
    """That of a change, and that of checks that are missing."""
    feed(healthy, 50)
    feed(broken, 100, missing=range(0, 100, 2))
    assert look("--notify").status == 1
    feed(healthy.take(np.arange(300, 450)))
    look("--notify")
    told = [
        (CHANGE, "adult:1: its traffic changed, field: hours_per_week"),
        (Metric.ALERT, "adult:1: 50 of 100 checks are missing since about "),
    ]
    for (name, summary), alert, ended in zip(told, *cluster.alerts, strict=True):
        assert alert["labels"] == ended["labels"] == {"alertname": name, **LABELS}
        assert alert["annotations"]["summary"].startswith(summary)
        assert alert["startsAt"] == ended["startsAt"]
        times = (alert["startsAt"], alert["endsAt"], ended["endsAt"])
        onset, end, over = (datetime.fromisoformat(text).timestamp() for text in times)
        assert onset == pytest.approx(FIRST_SECOND + 50, abs=10)
        assert over <= time.time() < end - 3000


@pytest.fixture
def alertmanager(tmp_path):
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        pytest.skip("Alertmanager is not installed: Debian's prometheus-alertmanager has it")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = ROOT / "examples" / "alertmanager.yaml"
    line = [program, f"--config.file={config}", "--cluster.listen-address="]
    line += [f"--storage.path={tmp_path}", f"--web.listen-address={address}"]
    line += ["--web.route-prefix=/alerts/"]
    retry = Retry(60, backoff_factor=0.1, backoff_max=0.5, status_forcelist=[503])
    with subprocess.Popen(line, stderr=subprocess.DEVNULL) as process, requests.Session() as client:
        client.mount("http://", HTTPAdapter(max_retries=retry))
        try:
            client.get(f"http://{address}/alerts/-/ready").raise_for_status()
            yield f"http://{address}"
        finally:
            process.kill()


@pytest.mark.slow
def test_a_change_of_a_thousand_requests_is_one_alert(
    alertmanager, look, feed, healthy, broken, monkeypatch
):
    """It seems to begin later in each window that is read, and is over at last."""
    monkeypatch.setattr("knn_metric.live.report.Alertmanager", lambda _: Alertmanager(alertmanager))

    def list_alerts():
        return requests.get(f"{alertmanager}/alerts/api/v2/alerts", timeout=10).json()

    feed(healthy, 100)
    kept = []
    for first in range(0, 1000, 100):
        feed(broken.take(np.arange(first, first + 100)))
        assert look("--notify", "--requests", 250).status == 1
        kept += list_alerts()
    assert len({(one["fingerprint"], one["startsAt"]) for one in kept}) == 1
    assert (len(kept), kept[0]["labels"]) == (10, {"alertname": CHANGE, **LABELS})
    feed(healthy, 900)
    look("--notify")
    assert list_alerts() == []
