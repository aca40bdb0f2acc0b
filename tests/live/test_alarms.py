"""A request of the cluster that `explain` looks for, and what may be in its way."""

import uuid

import pytest
from helpers import assert_one_line, run
from stubs.sonar import FIRST_SECOND

from knn_metric.platform.sonar import Sonar


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


def test_numbers_that_sonar_keeps_as_negative_ones(feed, healthy, cluster):
    kinds = {"age": "DT_UINT32", "sex": "DT_UINT64", "race": "DT_INT64"}
    fields = [{"name": name, "dtype": kind, "shape": {"dims": []}} for name, kind in kinds.items()]
    version = {"modelSignature": {"inputs": fields}}
    feed(healthy, 1)
    cluster.sonar.documents[11][0].update(dict.fromkeys([*kinds, "_private"], -2))
    (request,) = Sonar(cluster.address, version).newest(11)
    read = [request.inputs[name] for name in (*kinds, "_private")]
    assert read == [2**32 - 2, 2**64 - 2, -2, -2]
