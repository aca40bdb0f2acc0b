"""`attach` against a stub manager."""

import json

import pytest
from helpers import METRIC, assert_one_line, run

from knn_metric.platform import metrics
from knn_metric.platform.metrics import describe_artifact


@pytest.fixture
def manager(manager, artifact, func_main, monkeypatch):
    """Of adult:1, and the metric twice: 11 is the target's id, 13 that of the artifact's version.

    No time passes between two looks at it, of which there are few.
    """
    for name, number in {"PAUSE": 0, "PATIENCE": 20, "QUIET": 5}.items():
        monkeypatch.setattr(metrics, name, number)
    manager.add_version("adult", 1)
    manager.add_version(METRIC, 1)
    manager.add_version(METRIC, 2, metadata=describe_artifact(artifact.parent, func_main.detector))
    manager.scorer = lambda inputs: func_main.predict(**inputs)["value"]
    return manager


@pytest.fixture
def attach(artifact, manager):
    where = ("--cluster", manager.address, "--package", artifact.parent)
    return lambda *options, target="adult:1": run("attach", target, *where, *options)


@pytest.fixture
def wanted(func_main):
    config = {"modelVersionId": 13, "threshold": float(func_main.detector.threshold_)}
    config["thresholdCmpOperator"] = {"kind": "LessEq"}
    return {"name": METRIC, "modelVersionId": 11, "config": config}


@pytest.fixture
def old(manager, wanted):
    """The metric as it is attached before: the tutorial's operator is the other way round."""
    config = {**wanted["config"], "thresholdCmpOperator": {"kind": "Greater"}}
    manager.specs.append({**wanted, "id": "old", "config": config})
    return manager.specs[0]


@pytest.fixture
def other(manager, wanted):
    manager.specs.append({**wanted, "id": "other", "name": "latency"})
    return manager.specs[-1]


def ids(manager):
    return [spec["id"] for spec in manager.specs]


class TestAttach:
    def test_it_creates_the_metric_once_which_must_prove_itself_each_time(
        self, attach, manager, wanted
    ):
        result = attach()
        assert result.out.startswith("attached, serving, 8 of 8 rows score as here\n")
        how = f"healthy if value LessEq {wanted['config']['threshold']!r}"
        assert how in result.out
        assert "attached to adult:1 already" in attach().out
        row = attach("--list").out.splitlines()[1]
        assert row.split(None, 4) == [METRIC, f"{METRIC}:2", "of-spec-0", "Serving", how]
        manager.scorer = lambda _: 1.5
        assert_one_line(attach(), "of-spec-0 gives 1.5, and the artifact here", "it stays attached")
        assert manager.specs == [{**wanted, "id": "spec-0"}]

    def test_another_one_is_replaced(self, attach, manager, wanted, old, other):
        said = f"replacing {METRIC} ({METRIC}:2): healthy if value Greater "
        assert attach().out.startswith(said)
        assert manager.specs == [other, {**wanted, "id": "spec-2"}]

    def test_its_name_on_the_target_is_its_models(self, attach, manager):
        manager.add_version("another", 1, metadata=manager.versions[2]["metadata"])
        assert attach("--metric", "another").status == 0
        assert manager.specs[0]["name"] == "another"
        assert attach("--metric", "another:1", "--detach").out.startswith("another is detached")

    def test_an_old_one_that_an_earlier_run_left_is_removed(self, attach, manager, old, wanted):
        manager.specs.append({**wanted, "id": "new"})
        assert (attach().status, ids(manager)) == (0, ["new"])

    def test_dry_run_prints_the_request(self, attach, manager, wanted, old):
        wanted["config"]["deploymentConfigName"] = "large"
        request, _, body = attach("--dry-run", "--deployment", "large").out.partition("\n")
        assert request == f"POST {manager.address}/api/v2/monitoring/metricspec"
        assert json.loads(body) == wanted
        request = f"DELETE {manager.address}/api/v2/monitoring/metricspec/old\n"
        assert attach("--detach", "--dry-run").out == request
        assert manager.specs == [old]

    def test_an_upload_by_other_means_may_have_any_artifact(self, attach, manager):
        for metadata in ({}, None):
            manager.versions[2]["metadata"] = metadata
            assert attach().out.startswith(f"{METRIC}:2 was not uploaded by `knn-metric upload`")
        assert ids(manager) == ["spec-0"]

    def test_detach_removes_the_metric_alone(self, attach, manager, old, other):
        for words in ("is detached from", "is not attached to"):
            assert attach("--detach") == (0, f"{METRIC} {words} adult:1\n", "")
            assert manager.specs == [other]


def takes(name="age", kind="INT64", dims=()):
    """Return what edits a cluster whose target has such a field, and whose metric takes age."""

    def describe(name, kind, dims):
        field = {"name": name, "dtype": f"DT_{kind}", "shape": {"dims": dims}}
        return {"signatureName": "predict", "inputs": [field], "outputs": []}

    def edit(manager):
        manager.versions[0]["modelSignature"] = describe(name, kind, dims)
        manager.versions[2]["modelSignature"] = describe("age", "INT64", [])

    return edit


def becomes(**changes):
    return lambda manager: vars(manager).update(changes)


def is_uploaded(manager):
    manager.versions[2]["metadata"] = {"artifact.sha256": "ab", "artifact.threshold": "5.5"}


WATCHED = f"adult:1 cannot be watched by {METRIC}:2: "
LOST = "has a dot or begins with $: sonar loses every request with such a name"


@pytest.mark.parametrize(
    ("edit", "line", "words"),
    [
        (becomes(), "--metric none", "there is adult, census_monitoring"),
        (becomes(), "--name a.b", f"--name: a.b {LOST}"),
        (becomes(), "--name $b", f"--name: $b {LOST}"),
        (becomes(), "--cluster http://127.0.0.1:1", "http://127.0.0.1:1/api/v2/model/"),
        (is_uploaded, "", f"{METRIC}:2 was uploaded with another artifact, of threshold 5.5; the"),
        (takes("x"), "", f"{WATCHED}age is missing"),
        (takes(kind="DOUBLE"), "", "age is scalar double, and the metric takes scalar int64"),
        (takes(dims=[2]), "", "age is [2] int64, and the metric takes scalar int64"),
        (takes("capital.gain"), "", f"capital.gain {LOST}"),
        (becomes(redirects={"POST": "http://other"}), "", "redirected to http://other"),
        (becomes(redirects={"DELETE": "http://other"}), "", "redirected to http://other"),
        (becomes(instead={"POST ": (500, "a/b", b"")}), "", "monitoring/metricspec: HTTP 500"),
        (becomes(keeps=False), "", "lists no spec-1, which it created"),
        (becomes(scorer=lambda _: 1.5), "", "of-spec-1 gives 1.5, and the artifact"),
        (becomes(scorer=lambda _: None), "", "of-spec-1: HTTP 404"),
        (becomes(starting="no pandas"), "", "of-spec-1 is Starting after 20 seconds, no pandas"),
    ],
)
def test_what_was_attached_stays_where_it_cannot_be_replaced(
    attach, manager, old, edit, line, words
):
    edit(manager)
    assert_one_line(attach(*line.split()), "knn-metric attach: ", words)
    assert old in manager.specs
    # What is created stays where it cannot be deleted.
    assert ids(manager) == (["old", "spec-1"] if "DELETE" in manager.redirects else ["old"])


def test_a_version_that_is_not_released_is_refused(attach, manager):
    """The newest one is meant, not an older one that happens to be released."""
    manager.add_version("adult", 2, status="Assembling")
    manager.add_version(METRIC, 3, status="Failed")
    assert_one_line(attach(target="adult:2"), "adult:2 is Assembling, not Released")
    assert_one_line(attach(target="adult:7"), "no version 7 of adult at http")
    assert_one_line(attach(target="none:1"), "no model none at http")
    words = f"{METRIC}:3 is Failed, not Released; {METRIC}:VERSION names an old"
    assert_one_line(attach(), words)
    assert attach("--metric", f"{METRIC}:2").status == 0
    assert manager.specs[0]["config"]["modelVersionId"] == 13


def test_ctrl_c_leaves_what_was_there(attach, manager, old, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    assert (attach().status, manager.specs) == (130, [old])


def test_the_old_one_stays_until_sonar_checks_by_the_new_one(attach, manager, old):
    calls = []

    def requests(target, limit, offset):
        calls.append(ids(manager))
        spec = "spec-1" if len(calls) > 10 else "old"
        check = {"value": 1.0, "threshold": 2.0, "metricSpecId": spec}
        request = {"_id": f"{len(calls):024x}", "_hs_metric_checks": {METRIC: check}}
        return [] if offset else [request]

    manager.sonar.requests = requests
    assert (attach().status, ids(manager)) == (0, ["spec-1"])
    assert len(calls) > 10
    assert calls[0] == calls[-1] == ["old", "spec-1"]


def test_a_deletion_that_is_answered_with_500(attach, manager, old):
    manager.lost |= {"old", "spec-1"}
    assert (attach().status, ids(manager)) == (0, ["spec-1"])
    assert (attach("--detach").status, ids(manager)) == (0, [])


def test_a_cluster_without_monitoring(attach, manager):
    manager.fail("GET /monitoring/", 501)
    result = attach()
    assert (result.status, "nothing will check by it: " in result.out) == (0, True)
