"""`attach` against a stub manager."""

import json

import joblib
import pytest
from helpers import assert_one_line, make_home, run
from stubs import manager as stub_manager

from knn_metric.platform.manager import describe_artifact


@pytest.fixture
def manager(artifact):
    with stub_manager.running() as manager:
        manager.add_version("adult", 1)
        manager.add_version("census_monitoring", 1)
        metadata = describe_artifact(artifact, joblib.load(artifact))
        manager.add_version("census_monitoring", 2, metadata=metadata)
        yield manager


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
    assert attach("--list").out.splitlines()[1].split(None, 2) == [
        "census_monitoring",
        "census_monitoring:2",
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
    assert_one_line(attach(), "says that it created census_monitoring, and has none")
    assert manager.specs == before


class TestReleased:
    def test_the_newest_that_is_released(self, attach, manager):
        manager.add_version("census_monitoring", 3, status="Failed")
        result = attach()
        assert "census_monitoring (census_monitoring:2) is attached to adult:1" in result.out

    @pytest.mark.parametrize("status", ["Assembling", "Failed"])
    def test_another_status_is_refused(self, attach, manager, status):
        manager.add_version("adult", 2, status=status)
        manager.add_version("other", 1, status=status)
        assert_one_line(attach(target="adult:2"), f"adult:2 is {status}, not Released")
        assert_one_line(attach("--metric", "other"), f"other:1 is {status}, not Released")


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
