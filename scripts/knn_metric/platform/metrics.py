"""Metrics on a target model: attached above the artifact's threshold, and detached."""

from __future__ import annotations

import json
from typing import Any

from knn_metric.cli import UserError, show
from knn_metric.platform.manager import Manager, name_version
from knn_metric.tables import format_table

# The check passes, that is no alarm, when `value <operator> threshold`.
OPERATOR = "LessEq"


def attach_metric(
    manager: Manager,
    target: dict[str, Any],
    metric: dict[str, Any],
    name: str,
    artifact: dict[str, str],
    dry_run: bool,
) -> None:
    """Create a metric unless it is there, and remove those of that name that it replaces.

    The artifact is that of `describe_artifact`, on whose threshold the metric alarms.
    """
    _require_same_artifact(metric, artifact)
    config = {
        "modelVersionId": metric["id"],
        "threshold": float(artifact["artifact.threshold"]),
        "thresholdCmpOperator": {"kind": OPERATOR},
    }
    body = {"name": name, "modelVersionId": target["id"], "config": config}
    same_name = _attached(manager, target, name)
    others = [spec for spec in same_name if not _is_same(spec["config"], config)]
    is_there = len(others) < len(same_name)
    what = f"{name} ({name_version(metric)})"
    where = f"{what} is attached to {name_version(target)}"
    if is_there and not others:
        print(f"{where} already: {_describe(config)}")
    elif dry_run:
        print(f"POST {manager.url('monitoring/metricspec')}")
        print(json.dumps(body, indent=2))
    else:
        _replace(manager, None if is_there else body, others)
        print(f"{where}: {_describe(config)}")


def detach_metric(manager: Manager, target: dict[str, Any], name: str, dry_run: bool) -> None:
    specs = _attached(manager, target, name)
    for spec in specs:
        path = f"monitoring/metricspec/{spec['id']}"
        if dry_run:
            print(f"DELETE {manager.url(path)}")
        else:
            manager.call("DELETE", path)
            print(f"{name} is detached from {name_version(target)}")
    if not specs:
        print(f"{name} is not attached to {name_version(target)}")


def list_metrics(manager: Manager, target: dict[str, Any]) -> str:
    """Return a table of what is attached to a target: the metric, its version, its threshold."""
    versions = manager.versions()
    rows = [["metric", "version", "threshold"]]
    for spec in manager.metrics(target):
        config = spec["config"]
        version = name_version(versions.get(config.get("modelVersionId")))
        rows.append([show(spec["name"]), version, _describe(config)])
    return format_table(rows, "<<<")


def _require_same_artifact(metric: dict[str, Any], ours: dict[str, str]) -> None:
    """Refuse to give a version the threshold of another artifact than it was uploaded with."""
    name = name_version(metric)
    theirs = metric.get("metadata") or {}
    if theirs.get("artifact.sha256") is None:
        print(
            f"{name} was not uploaded by `knn-metric upload`: nothing tells if the artifact is its"
        )
    elif theirs["artifact.sha256"] != ours["artifact.sha256"]:
        raise UserError(
            f"{name} was uploaded with another artifact, of threshold"
            f" {theirs.get('artifact.threshold')}; the one here has {ours['artifact.threshold']}:"
            " `knn-metric upload` first, or --metric NAME:VERSION for an earlier version"
        )


def _attached(manager: Manager, target: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [spec for spec in manager.metrics(target) if spec["name"] == name]


def _replace(manager: Manager, body: dict[str, Any] | None, others: list[dict[str, Any]]) -> None:
    """Create the new metric before the old ones go, so that the target is never unwatched.

    Without a body it is there already, beside an old one that an earlier run did not come to.
    """
    versions = manager.versions()
    for spec in others:
        version = name_version(versions.get(spec["config"].get("modelVersionId")))
        print(f"replacing {show(spec['name'])} ({version}): {_describe(spec['config'])}")
    created = [_create(manager, body)] if body else []
    try:
        for spec in others:
            manager.call("DELETE", f"monitoring/metricspec/{spec['id']}")
    except UserError:
        for identity in created:
            manager.call("DELETE", f"monitoring/metricspec/{identity}")
        raise


def _create(manager: Manager, body: dict[str, Any]) -> str:
    """Create a metric, read it back, and return its id."""
    created = manager.call("POST", "monitoring/metricspec", body)["id"]
    target = {"id": body["modelVersionId"]}
    if created not in [spec["id"] for spec in manager.metrics(target)]:
        raise UserError(f"{manager.address} says that it created {body['name']}, and has none")
    return created


def _is_same(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return all(old.get(field) == value for field, value in new.items())


def _describe(config: dict[str, Any]) -> str:
    operator = (config.get("thresholdCmpOperator") or {}).get("kind")
    return f"healthy if value {operator} {config.get('threshold')!r}"
