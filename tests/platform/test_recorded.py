"""What the real manager and sonar of both generations answered, beside what the stubs do."""

import json

import pytest
from helpers import METRIC

from knn_metric.contract import Field
from knn_metric.files import ROOT
from knn_metric.platform.manager import Manager
from knn_metric.platform.metrics import Watched
from knn_metric.platform.signatures import read_signature
from knn_metric.platform.sonar import Sonar

RECORDED = json.loads((ROOT / "tests" / "stubs" / "recorded.json").read_text())


@pytest.fixture(params=RECORDED)
def recorded(request):
    return RECORDED[request.param]


def name_types(value):
    """Return the names and types of what was answered, of all that lies within too."""
    if isinstance(value, dict):
        return {name: name_types(one) for name, one in value.items()}
    return type(value).__name__


def test_versions_and_metrics_are_read(manager, recorded):
    manager.versions.append(recorded["version"])
    manager.specs.append(recorded["spec"])
    client = Manager(manager.address)
    target = client.version("adult:2")
    named = [Field("age", "int64", (), "numerical"), Field("classes", "int64", (), "numerical")]
    assert read_signature(target) == (named, [])
    servable = recorded["spec"]["config"]["servable"]["fullName"]
    assert f" {servable}  Serving  healthy if value LessEq " in Watched(client, "adult:2").table()


def test_requests_are_read(manager, recorded):
    target = recorded["version"]
    manager.sonar.documents[target["id"]] = [recorded["document"], recorded["failed"]]
    scored, failed = Sonar(manager.address, target).newest()
    check = recorded["document"]["_hs_metric_checks"][METRIC]
    assert scored.checks == {METRIC: (check["value"], check["threshold"], check["metricSpecId"])}
    assert scored.inputs == {"age": recorded["document"]["age"]}
    assert (scored.error, scored.unread, failed.inputs, failed.checks) == ("", {}, {}, {})
    assert failed.error.startswith("io.grpc.StatusRuntimeException: ")
    assert failed.version == target["id"]


@pytest.mark.parametrize(("kind", "inputs"), [("document", {"age": 39}), ("failed", {})])
def test_requests_of_the_stub(manager, recorded, kind, inputs):
    scores = {METRIC: [2.0 if inputs else None]}
    manager.sonar.add(recorded["version"], [inputs], scores, {METRIC: 4.0})
    (made,) = manager.sonar.documents[recorded["version"]["id"]]
    assert name_types(made) == name_types(recorded[kind])


def test_a_metric_of_the_stub(manager):
    recorded = RECORDED["3.0.3"]["spec"]
    config = {name: one for name, one in recorded["config"].items() if name != "servable"}
    client = Manager(manager.address)
    client.call("POST", "monitoring/metricspec", {**recorded, "config": config})
    for _ in range(2):
        (made,) = client.metrics({"id": recorded["modelVersionId"]})
    assert name_types(made) == name_types(recorded)
