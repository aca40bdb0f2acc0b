"""`attach` against a stub manager."""

import json

import joblib
import pytest
from helpers import assert_one_line, make_home, run
from stubs import manager as stub_manager

from knn_metric.platform import metrics
from knn_metric.platform.manager import describe_artifact


@pytest.fixture
def manager(artifact):
    with stub_manager.running() as manager:
        manager.add_version("adult", 1)
        manager.add_version("census_monitoring", 1)
        metadata = describe_artifact(artifact, joblib.load(artifact))
        manager.add_version("census_monitoring", 2, metadata=metadata)
        detector = joblib.load(artifact)
        names = detector.feature_names_in_
        manager.scorer = lambda inputs: float(
            detector.decision_function([[inputs[name] for name in names]])[0]
        )
        yield manager


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """Let no time pass between two looks."""
    monkeypatch.setattr(metrics, "PAUSE", 0)


@pytest.fixture
def attach(artifact, manager):
    def attach(*options, target="adult:1"):
        where = ("--cluster", manager.address, "--package", artifact.parent)
        return run("attach", target, *where, *options)

    return attach


@pytest.fixture
def wanted(artifact):
    """The request that the platform needs: 11 is adult:1, 13 is census_monitoring:2."""
    threshold = float(joblib.load(artifact).threshold_)
    return {
        "name": "census_monitoring",
        "modelVersionId": 11,
        "config": {
            "modelVersionId": 13,
            "threshold": threshold,
            "thresholdCmpOperator": {"kind": "LessEq"},
        },
    }


def test_it_creates_the_metric_once(attach, manager, wanted):
    result = attach()
    assert result.status == 0, result.err
    assert f"healthy if value LessEq {wanted['config']['threshold']!r}" in result.out
    assert [{**spec, "id": 0} for spec in manager.specs] == [{**wanted, "id": 0}]
    before = list(manager.specs)
    assert "attached to adult:1 already" in attach().out
    assert manager.specs == before
    assert result.out.startswith("attached, serving, 8 of 8 rows score as here\n")
    assert attach("--list").out.splitlines()[1].split(None, 4) == [
        "census_monitoring",
        "census_monitoring:2",
        "of-spec-0",
        "Serving",
        f"healthy if value LessEq {wanted['config']['threshold']!r}",
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threshold": 4.0}, "LessEq 4.0"),
        ({"thresholdCmpOperator": {"kind": "Greater"}}, "Greater "),  # the tutorial's
    ],
)
def test_another_one_is_replaced(attach, manager, wanted, changes, words):
    old = {**wanted, "id": "old", "config": {**wanted["config"], **changes}}
    other = {**wanted, "id": "other", "name": "latency"}
    manager.specs += [old, other]
    line = f"replacing census_monitoring (census_monitoring:2): healthy if value {words}"
    assert attach().out.startswith(line)
    assert manager.specs[0] == other
    assert [{**spec, "id": 0} for spec in manager.specs[1:]] == [{**wanted, "id": 0}]


def test_a_failed_replacement_leaves_the_old_one(attach, manager, wanted):
    old = {**wanted, "id": "old", "config": {**wanted["config"], "threshold": 4.0}}
    manager.specs.append(old)
    manager.failing["POST"] = 500
    assert_one_line(attach(), "HTTP 500")
    assert manager.specs == [old]


def test_a_given_version_of_the_metric(attach, manager):
    attach("--metric", "census_monitoring:1")
    assert manager.specs[0]["config"]["modelVersionId"] == 12


def test_dry_run_prints_the_request(attach, manager, wanted):
    result = attach("--dry-run")
    first, _, body = result.out.partition("\n")
    assert first == f"POST {manager.address}/api/v2/monitoring/metricspec"
    assert json.loads(body) == wanted
    assert manager.specs == []


def test_the_cluster_comes_from_hs(artifact, manager, tmp_path, monkeypatch):
    environment = make_home(tmp_path, 3, manager.address)
    monkeypatch.setenv("HOME", environment["HOME"])
    result = run("attach", "adult:1", "--package", artifact.parent)
    assert result.status == 0, result.err
    assert len(manager.specs) == 1


class TestSameArtifact:
    def test_another_one_is_refused(self, attach, manager):
        """The version was uploaded with another artifact than the one at hand."""
        other = {"artifact.sha256": "ab" * 32, "artifact.threshold": "5.5"}
        manager.versions[2]["metadata"] = other
        words = (
            "census_monitoring:2 was uploaded with another artifact",
            "5.5",
            "`knn-metric upload`",
        )
        assert_one_line(attach(), *words)
        assert manager.specs == []

    @pytest.mark.parametrize("metadata", [{}, None, {"git.branch": "main"}])
    def test_an_upload_by_other_means_cannot_be_told(self, attach, manager, metadata):
        manager.versions[2]["metadata"] = metadata
        result = attach()
        assert result.status == 0, result.err
        assert result.out.startswith("census_monitoring:2 was not uploaded by `knn-metric upload`")
        assert len(manager.specs) == 1


class TestDetach:
    def test_it_removes_the_metric_alone(self, attach, manager, wanted):
        attach()
        other = {**wanted, "id": "other", "name": "latency"}
        manager.specs.append(other)
        for words in ("is detached from", "is not attached to"):
            result = attach("--detach")
            assert (result.status, result.out) == (0, f"census_monitoring {words} adult:1\n")
            assert manager.specs == [other]

    def test_dry_run_removes_nothing(self, attach, manager):
        attach()
        before = list(manager.specs)
        result = attach("--detach", "--dry-run")
        assert result.out.startswith(f"DELETE {manager.address}/api/v2/monitoring/metricspec/spec-")
        assert manager.specs == before


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        ("adult", (), "expected NAME:VERSION, got 'adult'"),
        ("adult:7", (), "no version 7 of adult at http"),
        ("none:1", (), "no model none at http"),
        ("adult:1", ("--metric", "none"), "there is adult, census_monitoring"),
        ("adult:1", ("--name", "a.b"), "a dot or a leading $ loses every check"),
        ("adult:1", ("--name", "$b"), "a dot or a leading $ loses every check"),
        ("adult:1", ("--cluster", "http://127.0.0.1:1"), "http://127.0.0.1:1/api/v2/model/version"),
        ("adult:1", ("--cluster", "nowhere"), "is http://HOST or https://HOST, got 'nowhere'"),
        ("adult:1", ("--package", "none"), "none/serving.yaml is not there"),
    ],
)
def test_one_clear_line(attach, manager, target, options, words):
    assert_one_line(attach(*options, target=target), "knn-metric attach: ", words)
    assert manager.specs == []


class TestRedirects:
    @pytest.mark.parametrize("method", ["POST", "DELETE"])
    def test_one_that_would_change_nothing_is_refused(self, attach, manager, wanted, method):
        """As from http to https: followed, a POST becomes a GET, which is answered."""
        config = {"modelVersionId": 12, "threshold": 1.0}
        manager.specs.append({**wanted, "id": "old", "config": config})
        manager.redirects[method] = "https://elsewhere.example"
        result = attach()
        assert_one_line(result, method, manager.address, "https://elsewhere.example", "redirected")
        assert "old" in [spec["id"] for spec in manager.specs]

    def test_what_is_read_is_followed(self, attach, manager):
        with stub_manager.running() as other:
            other.redirects["GET"] = manager.address
            result = attach("--cluster", other.address, "--list")
        assert (result.status, result.err) == (0, "")


def test_a_metric_that_was_not_created(attach, manager, monkeypatch):
    """Whatever answers the POST: the old metric stays until the new one is read back."""
    attach()
    before = list(manager.specs)
    before[0]["config"]["threshold"] = 1.0
    monkeypatch.setattr(manager, "keeps", False)
    assert_one_line(attach(), "says that it created spec-1, and has none")
    assert manager.specs == before


@pytest.mark.parametrize("status", ["Assembling", "Failed"])
def test_a_version_that_is_not_released_is_refused(attach, manager, status):
    """The newest one is meant, not an older one that happens to be released."""
    manager.add_version("adult", 2, status=status)
    manager.add_version("census_monitoring", 3, status=status)
    assert_one_line(attach(target="adult:2"), f"adult:2 is {status}, not Released")
    words = f"census_monitoring:3 is {status}, not Released; census_monitoring:VERSION names an old"
    assert_one_line(attach(), words)
    assert attach("--metric", "census_monitoring:2").status == 0


class TestProof:
    @pytest.fixture
    def old(self, manager, wanted):
        old = {**wanted, "id": "old", "config": {**wanted["config"], "threshold": 4.0}}
        manager.specs.append(old)
        return old

    @pytest.mark.parametrize(
        ("score", "words"), [(1.5, "gives 1.5, and the artifact"), (None, "404")]
    )
    def test_one_that_scores_otherwise_is_detached_again(self, attach, manager, old, score, words):
        manager.scorer = lambda _: score
        assert_one_line(attach(), "of-spec-1", words)
        assert manager.specs == [old]

    def test_one_that_does_not_start_is_named_with_its_status(
        self, attach, manager, old, monkeypatch
    ):
        stuck = {"fullName": "wispy", "status": "Starting", "statusMessage": "no module pandas"}
        monkeypatch.setattr(
            manager.RequestHandlerClass,
            "with_servable",
            lambda self, spec: {**spec, "config": {**spec["config"], "servable": stuck}},
        )
        assert_one_line(attach(), "wispy is Starting after 120 seconds, no module pandas")
        assert manager.specs == [old]

    def test_the_old_one_stays_until_sonar_checks_by_the_new_one(self, attach, manager, old):
        calls = []

        def requests(target, limit, offset):
            calls.append([spec["id"] for spec in manager.specs])
            check = {"value": 1.0, "threshold": 2.0}
            check["metricSpecId"] = "spec-1" if len(calls) > 50 else "old"
            fields = {"_hs_metric_checks": {"census_monitoring": check}}
            return [] if offset else [{"_id": f"{len(calls):024x}", **fields}]

        manager.sonar.requests = requests
        assert attach().status == 0
        assert calls[0] == calls[-1] == ["old", "spec-1"]
        assert len(calls) > 50
        assert [spec["id"] for spec in manager.specs] == ["spec-1"]

    def test_a_deletion_that_is_answered_with_500(self, attach, manager, old):
        manager.lost.add("old")
        assert attach().status == 0
        manager.lost.add("spec-1")
        assert attach("--detach").status == 0
        assert manager.specs == []

    def test_a_cluster_without_monitoring(self, attach, manager):
        manager.instead["/monitoring/"] = (501, "text/html", b"<html>Not Implemented</html>")
        result = attach()
        assert result.status == 0
        assert "nothing will check by it: " in result.out

    def test_a_deployment(self, attach, manager):
        attach("--deployment", "large")
        assert manager.specs[0]["config"]["deploymentConfigName"] == "large"


def make_signature(*inputs):
    fields = [{"name": name, "dtype": kind, "shape": {"dims": dims}} for name, kind, dims in inputs]
    return {"signatureName": "predict", "inputs": fields, "outputs": []}


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ([("x", "DT_INT64", [])], "age is missing, sex is missing"),
        (
            [("age", "DT_DOUBLE", []), ("sex", "DT_INT64", [2])],
            "age is double, and the metric takes int64, sex is int64 [2], and the metric takes",
        ),
        ([("capital.gain", "DT_INT64", [])], "no request with fields of such names: capital.gain"),
    ],
)
def test_a_target_of_another_contract(attach, manager, target, words):
    manager.versions[0]["modelSignature"] = make_signature(*target)
    fields = (("age", "DT_INT64", []), ("sex", "DT_INT64", []))
    manager.versions[2]["modelSignature"] = make_signature(*fields)
    assert_one_line(attach(), "adult:1 cannot be watched by census_monitoring:2", words)
    assert manager.specs == []


def test_a_server_that_drips(attach, manager, monkeypatch):
    monkeypatch.setattr("knn_metric.platform.manager.WHOLE", 0.2)
    manager.drips.set()
    result = attach()
    manager.drips.clear()
    assert_one_line(result, "no whole answer in 0.2 seconds")


def test_an_old_one_that_an_earlier_run_left_is_removed(attach, manager, wanted):
    old = {**wanted, "id": "old", "config": {**wanted["config"], "threshold": 1.0}}
    manager.specs += [old, {**wanted, "id": "new"}]
    assert attach().status == 0
    assert [spec["id"] for spec in manager.specs] == ["new"]
