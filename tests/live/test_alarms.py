"""A request of the cluster that `explain` looks for, and what may be in its way."""

import uuid

import pytest
from helpers import assert_one_line, run
from stubs.sonar import FIRST_SECOND


@pytest.fixture
def explain(cluster, artifact):
    def explain(identity, target="adult:1"):
        where = ("--cluster", cluster.address, "--package", artifact.parent)
        return run("explain", target, "--request", identity, *where)

    return explain


def identify(place):
    return f"{FIRST_SECOND + place:08x}{place:016x}"


def test_it_is_found_by_the_uuid_that_alerts_carry(explain, feed, healthy):
    feed(healthy, 300)
    result = explain(uuid.UUID(int=7))
    assert result.status == 0, result.err
    assert result.out == explain(identify(7)).out


@pytest.mark.parametrize("identity", ["0" * 24, uuid.UUID(int=999)])
def test_an_unknown_one(explain, feed, healthy, identity):
    feed(healthy, 9)
    assert_one_line(explain(identity), f"no request {identity} of adult:1")


def test_one_of_another_version(explain, feed, healthy, cluster):
    feed(healthy, 9)
    cluster.add_version("adult", 2)
    words = f"request {identify(3)} is not of adult:2"
    assert_one_line(explain(identify(3), "adult:2"), words)


def test_one_in_which_the_target_failed(explain, feed, healthy, cluster):
    feed(healthy, 9)
    cluster.sonar.documents[11][3]["_hs_error"] = "io.grpc: no"
    assert_one_line(explain(identify(3)), "the target failed, io.grpc: no")
