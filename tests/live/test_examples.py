"""examples/alertmanager.yaml and watch-cronjob.yaml, as far as they run without a cluster."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from helpers import METRIC

from knn_metric.files import ROOT
from knn_metric.live.metric import Failures, Metric
from knn_metric.live.report import CHANGE

ALERTMANAGER = ROOT / "examples" / "alertmanager.yaml"
JOB = yaml.safe_load((ROOT / "examples" / "watch-cronjob.yaml").read_text())
POD = JOB["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def test_a_change_is_one_group_and_a_request_tells_nobody():
    config = yaml.safe_load(ALERTMANAGER.read_text())
    changes, requests = config["route"]["routes"]
    assert changes["group_by"] == ["alertname", "modelName", "modelVersion", "metric"]
    silent = [one["name"] for one in config["receivers"] if len(one) == 1]
    assert [requests["receiver"]] == silent


@pytest.mark.skipif(not shutil.which("amtool"), reason="Debian: prometheus-alertmanager")
@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"alertname": CHANGE, "metric": METRIC}, "on-call"),
        ({"alertname": Metric.ALERT, "metric": METRIC}, "on-call"),
        ({"alertname": Failures.ALERT}, "on-call"),
        ({"requestId": "a-1", "fieldName": METRIC}, "nobody"),
        ({"requestId": "a-1", "fieldName": "age"}, "nobody"),
    ],
)
def test_amtool_routes(labels, receiver):
    line = ["amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}"]
    line += [f"{name}={value}" for name, value in {"modelName": "adult", **labels}.items()]
    assert subprocess.check_output(line, text=True).split() == [receiver]


def test_the_jobs_containers_may_do_nothing_else_and_an_alert_fails_it_at_once():
    assert (JOB["apiVersion"], JOB["kind"]) == ("batch/v1", "CronJob")
    assert len(JOB["spec"]["schedule"].split()) == 5
    mounted = {mount["name"] for mount in POD["containers"][0]["volumeMounts"]}
    assert mounted == {volume["name"] for volume in POD["volumes"]}
    assert not POD["automountServiceAccountToken"]
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in POD["initContainers"] + POD["containers"]:
        assert container["image"] == "python:3.11-slim"
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
    (rule,) = JOB["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    codes = {"containerName": "watch", "operator": "In", "values": [1]}
    assert rule == {"action": "FailJob", "onExitCodes": codes}
    assert (POD["containers"][0]["name"], POD["restartPolicy"]) == ("watch", "Never")


@pytest.mark.slow
def test_the_job_fetches_and_watches(tmp_path, artifact, feed, broken, cluster):
    def local(text):
        return text.replace("/watch/", f"{tmp_path}/")

    (fetch,), (watch,) = POD["initContainers"], POD["containers"]
    with tarfile.open(tmp_path / "v1.tar.gz", "w:gz") as archive:
        for name in ("scripts", "src"):
            archive.add(ROOT / name, arcname=f"knn-metric-1/{name}")
    script, pip, _ = local(fetch["args"][0]).partition("pip install")
    assert pip
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment |= {"SOURCE": (tmp_path / "v1.tar.gz").as_uri(), "CLUSTER": cluster.address}
    subprocess.run([*fetch["command"], script], env=environment, check=True)
    (tmp_path / "artifact").mkdir()
    shutil.copy(artifact, tmp_path / "artifact")
    feed(broken, 100)
    environment = {one["name"]: local(one["value"]) for one in watch["env"]} | environment
    line = [
        re.sub(r"\$\((\w+)\)", lambda one: environment[one[1]], local(text))
        for text in [*watch["command"], *watch["args"]]
    ]
    result = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (1, "")
    assert "alert: the traffic changed at " in result.stdout
    assert re.search("^field +hours_per_week$", result.stdout, re.M)
    ((alert,),) = cluster.alerts
    assert alert["annotations"]["field"] == "hours_per_week"
