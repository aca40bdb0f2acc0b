"""What is said of a server that answers otherwise than the platform does, and of its redirects."""

import json

import pytest
from helpers import METRIC
from stubs import manager as stub_manager

from knn_metric.cli import UserError
from knn_metric.platform import manager as manager_module
from knn_metric.platform.manager import Manager
from knn_metric.platform.sonar import Sonar


def listed(**changes):
    """Return a page with one request in which something is otherwise."""
    checks = {METRIC: {"check": True, "value": 2.0, "threshold": 4.0}}
    request = {"_id": "5" * 24, "age": 39, "_hs_metric_checks": checks, **changes}
    return json.dumps([request]).encode()


NO_JSON = "the answer is not JSON"
NO_SONAR = "not answer like sonar: "


@pytest.mark.parametrize(
    ("content", "words", "how"),
    [
        (b"<html>It works!</html>", NO_JSON, {}),
        (b"[" * 100_000, NO_JSON, {}),
        (b'["\xe9"]', NO_JSON, {}),
        (b"", NO_SONAR, {}),
        (b"null", NO_SONAR, {}),
        (listed(_id=None), NO_SONAR, {}),
        (listed(_id="55"), NO_SONAR, {}),
        (listed(_hs_metric_checks=7), NO_SONAR, {}),
        (b"[{", r"/monitoring/checks/all/11\?limit=200&offset=0: the answer en", {"length": 100}),
        (b" " * (2**20 + 1), "the answer is longer than 1 MB", {}),
        (b"<html>\n<h1>no</h1>", "HTTP 401 Unauthorized$", {"status": 401}),
        (b"<html>no</html>", "has no monitoring: open-source platforms", {"status": 501}),
    ],
)
def test_another_server(manager, monkeypatch, content, words, how):
    monkeypatch.setattr(manager_module, "LARGEST", 2**20)
    target = manager.add_version("adult", 1)
    answer = (how.get("status", 200), "text/html", content, how.get("length"))
    manager.instead["GET /monitoring/"] = answer
    with pytest.raises(UserError, match=f"{manager.address}.*{words}"):
        Sonar(manager.address, target).newest()


def test_a_page_over_and_over(manager):
    manager.instead["GET /monitoring/"] = (200, "application/json", listed())
    assert len(Sonar(manager.address, manager.add_version("adult", 1)).newest()) == 1


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_redirect_that_would_change_nothing_is_refused(manager, method):
    """As from http to https: followed, a POST becomes a GET, which is answered."""
    manager.redirects[method] = "https://elsewhere.example"
    words = f"{method} {manager.address}/api/v2/a is redirected to https://elsewhere.example"
    with pytest.raises(UserError, match=words):
        Manager(manager.address).call(method, "a")


def test_a_redirect_of_what_is_read_is_followed(manager):
    manager.add_version("adult", 1)
    with stub_manager.running() as other:
        other.redirects["GET"] = manager.address
        assert list(Manager(other.address).versions()) == [11]


@pytest.mark.parametrize("redirects", [{}, {"GET": "http://elsewhere.example"}])
def test_a_server_that_drips(manager, monkeypatch, redirects):
    monkeypatch.setattr(manager_module, "WHOLE", 0.2)
    manager.redirects |= redirects
    manager.drips.set()
    with pytest.raises(UserError, match=r"no whole answer in 0\.2 seconds"):
        Manager(manager.address).versions()
    manager.drips.clear()
