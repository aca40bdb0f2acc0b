"""What the real platform of both generations answered, beside what we read and the stubs do."""

import json

import pytest
import requests
from helpers import METRIC

from knn_metric.contract import Field
from knn_metric.files import ROOT
from knn_metric.platform.manager import Manager
from knn_metric.platform.metrics import SPECS, Watched
from knn_metric.platform.sonar import Sonar

RECORDED = json.loads((ROOT / "tests" / "stubs" / "recorded.json").read_text())
EXCHANGES = RECORDED.pop("exchanges")


@pytest.fixture(params=RECORDED)
def recorded(request, manager):
    """What a generation answered, of which the stub is one; its target is a version there."""
    manager.generation = int(request.param[0])
    manager.versions.append(RECORDED[request.param]["version"])
    return RECORDED[request.param]


def name_types(value):
    """Return the names and types of what was answered, of all but metadata that lies within too."""
    if not isinstance(value, dict):
        return type(value).__name__
    return {name: name == "metadata" or name_types(one) for name, one in value.items()}


def test_versions_and_metrics_are_read(manager, recorded):
    manager.specs.append(recorded["spec"])
    watched = Watched("adult:2", manager.address)
    named = [Field("age", "int64", (), "numerical"), Field("classes", "int64", (), "numerical")]
    assert (watched.fields, watched.others) == (named, [])
    servable = recorded["spec"]["config"]["servable"]["fullName"]
    assert f" {servable}  Serving  healthy if value LessEq " in watched.table()


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


def test_numbers_that_sonar_keeps_as_negative_ones(manager):
    kinds = {"age": "DT_UINT32", "sex": "DT_UINT64", "race": "DT_INT64"}
    fields = [{"name": name, "dtype": kind, "shape": {"dims": []}} for name, kind in kinds.items()]
    target = manager.add_version("adult", 1, modelSignature={"inputs": fields})
    manager.sonar.add(target, [dict.fromkeys([*kinds, "_private"], -2)], {}, {})
    (request,) = Sonar(manager.address, target).newest()
    assert list(request.inputs.values()) == [2**32 - 2, 2**64 - 2, -2, -2]


@pytest.mark.parametrize(("kind", "inputs"), [("document", {"age": 39}), ("failed", {})])
def test_requests_of_the_stub(manager, recorded, kind, inputs):
    scores = {METRIC: [2.0 if inputs else None]}
    manager.sonar.add(recorded["version"], [inputs], scores, {METRIC: 4.0})
    (made,) = manager.sonar.documents[recorded["version"]["id"]]
    assert name_types(made) == name_types(recorded[kind])


def test_a_metric_of_the_stub(manager, recorded):
    spec = recorded["spec"]
    servable = spec["config"]["servable"]
    known = servable.get("modelVersion") or {"id": spec["config"]["modelVersionId"]}
    manager.versions.append(known)
    config = {name: one for name, one in spec["config"].items() if name != "servable"}
    client = Manager(manager.address)
    client.call("POST", SPECS, {**spec, "config": config})
    for _ in range(2):
        (made,) = client.call("GET", f"{SPECS}/modelversion/{spec['modelVersionId']}")
    assert name_types(made) == name_types(spec)


@pytest.mark.parametrize(("request_line", "body", "status", "kind", "answer"), EXCHANGES)
def test_the_stub_answers_as_recorded(manager, func_main, request_line, body, status, kind, answer):
    for identity in (3, 10):
        manager.add_version("adult", identity, id=identity)
    is_known = "nobody" not in request_line
    manager.scorer = lambda inputs: func_main.predict(**inputs)["value"] if is_known else None
    method, path = request_line.split(" ")
    response = requests.request(method, manager.address + path, json=body, timeout=30)
    assert response.status_code == status
    assert response.headers["Content-Type"].split(";")[0] == (kind or "text/plain")
    said = response.json() if isinstance(answer, (dict, list)) else response.text
    assert name_types(said) == name_types(answer)
