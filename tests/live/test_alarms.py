"""A request of the cluster that `explain` looks for, and what may be in its way."""

import uuid

import pytest
from helpers import assert_one_line, run
from stubs.sonar import identify

from knn_metric.platform.sonar import Sonar


@pytest.fixture
def explain(cluster, artifact):
    def explain(identity, target="adult:1"):
        where = ("--cluster", cluster.address, "--package", artifact.parent)
        return run("explain", target, "--request", identity, *where)

    return explain


def test_it_is_found_by_the_uuid_that_alerts_carry(explain, feed, healthy):
    feed(healthy, 300)
    result = explain(uuid.UUID(int=7))
    assert result.status == 0, result.err
    assert result.out == explain(identify(7)).out


@pytest.mark.parametrize(
    ("identity", "target", "words"),
    [
        ("0" * 24, "adult:1", f"no request {'0' * 24} of adult:1"),
        (uuid.UUID(int=999), "adult:1", f"no request {uuid.UUID(int=999)} of adult:1"),
        (identify(3), "adult:2", f"request {identify(3)} is not of adult:2"),
        (identify(5), "adult:1", "the target failed, io.grpc: no"),
    ],
)
def test_what_is_not_explained(explain, feed, healthy, cluster, documents, identity, target, words):
    feed(healthy, 9)
    documents[5]["_hs_error"] = "io.grpc: no"
    cluster.add_version("adult", 2)
    assert_one_line(explain(identity, target), words)


def test_numbers_that_sonar_keeps_as_negative_ones(feed, healthy, cluster, documents):
    kinds = {"age": "DT_UINT32", "sex": "DT_UINT64", "race": "DT_INT64"}
    fields = [{"name": name, "dtype": kind, "shape": {"dims": []}} for name, kind in kinds.items()]
    version = {"id": 11, "modelSignature": {"inputs": fields}}
    feed(healthy, 1)
    documents[0].update(dict.fromkeys([*kinds, "_private"], -2))
    (request,) = Sonar(cluster.address, version).newest()
    read = [request.inputs[name] for name in (*kinds, "_private")]
    assert read == [2**32 - 2, 2**64 - 2, -2, -2]
