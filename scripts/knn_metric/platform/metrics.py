"""Metrics on a target model: attached above the artifact's threshold, proven, and detached."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from knn_metric.cli import UserError, show
from knn_metric.contract import lost_by_sonar
from knn_metric.platform.manager import Entry, Gateway, Manager, name_version
from knn_metric.platform.signatures import read_signature
from knn_metric.platform.sonar import NoMonitoring, Sonar
from knn_metric.tables import format_table

if TYPE_CHECKING:
    from portable_knn import PortableKNN

# The check passes, that is no alarm, when `value <operator> threshold`.
OPERATOR = "LessEq"
SERVING = "Serving"  # the status of a servable that answers
PAUSE = 1.0  # seconds between two looks
PATIENCE = 120  # looks until a servable must answer, and until sonar must check by it
QUIET = 30  # looks without a new request, after which no check is waited for


def attach_metric(
    manager: Manager,
    target: Entry,
    metric: Entry,
    name: str,
    artifact: dict[str, str],
    detector: PortableKNN,
    deployment: str | None,
    dry_run: bool,
) -> None:
    """Create a metric unless it is there, and remove those of that name once it has proven itself.

    The artifact is that of `describe_artifact`; the metric alarms on its threshold, and is proven
    by the detector's own rows, which its servable must score exactly as here.
    """
    _require_same_artifact(metric, artifact)
    require_same_fields(target, metric)
    limit, operator = float(artifact["artifact.threshold"]), {"kind": OPERATOR}
    config = {"modelVersionId": metric["id"], "threshold": limit, "thresholdCmpOperator": operator}
    same_name = _attached(manager, target, "name", name)
    others = [spec for spec in same_name if not _is_same(spec["config"], config, deployment)]
    there = next((spec["id"] for spec in same_name if spec not in others), None)
    if deployment:
        config["deploymentConfigName"] = deployment
    body = {"name": name, "modelVersionId": target["id"], "config": config}
    where = f"{show(name)} ({name_version(metric)}) is attached to {name_version(target)}"
    if there and not others:
        print(f"{where} already: {_describe(config)}")
    elif dry_run:
        print(f"POST {show(manager.url('monitoring/metricspec'))}")
        print(json.dumps(body, indent=2))
    else:
        _replace(manager, target, there, body, others, detector)
        print(f"{where}: {_describe(config)}")


def detach_metric(manager: Manager, target: Entry, name: str, dry_run: bool) -> None:
    specs = _attached(manager, target, "name", name)
    for spec in specs:
        if dry_run:
            print(f"DELETE {show(manager.url(_path(spec['id'])))}")
        else:
            _delete(manager, target, spec["id"])
            print(f"{name} is detached from {name_version(target)}")
    if not specs:
        print(f"{name} is not attached to {name_version(target)}")


def list_metrics(manager: Manager, target: Entry) -> str:
    versions = manager.versions()
    rows = ["metric version servable status threshold".split()]
    for spec in manager.metrics(target):
        config = spec["config"]
        version = name_version(versions.get(config.get("modelVersionId")))
        servable = [show(text) if text else "-" for text in _read_servable(spec)[:2]]
        rows.append([show(spec["name"]), version, *servable, _describe(config)])
    return format_table(rows, "<<<<<")


def require_same_fields(target: Entry, metric: Entry) -> None:
    """Refuse a target that does not have what the metric takes, or whose requests are lost."""
    try:
        known = {field.name: field for field in read_signature(target)[0]}
        taken = read_signature(metric, ("inputs",))[0]
    except UserError:  # one that was made without a contract says nothing
        return
    whose = f"{name_version(target)} cannot be watched by {name_version(metric)}: "
    if lost := ", ".join(map(show, lost_by_sonar(known))):
        raise UserError(f"{whose}sonar keeps no request with fields of such names: {lost}")
    problems = []
    for field in taken:
        theirs = known.get(field.name)
        if theirs is None:
            problems.append(f"{show(field.name)} is missing")
        elif (theirs.type, theirs.dims) != (field.type, field.dims):
            there, here = (f"{one.type} {list(one.dims) or ''}".strip() for one in (theirs, field))
            problems.append(f"{show(field.name)} is {there}, and the metric takes {here}")
    if problems:
        raise UserError(f"{whose}{', '.join(problems)}")


def _require_same_artifact(metric: Entry, ours: dict[str, str]) -> None:
    """Refuse to give a version the threshold of another artifact than it was uploaded with."""
    name = name_version(metric)
    theirs = metric.get("metadata") or {}
    if theirs.get("artifact.sha256") is None:
        nobody = "nothing tells if the artifact is its"
        print(f"{name} was not uploaded by `knn-metric upload`: {nobody}")
    elif theirs["artifact.sha256"] != ours["artifact.sha256"]:
        raise UserError(
            f"{name} was uploaded with another artifact, of threshold"
            f" {theirs.get('artifact.threshold')}; the one here has {ours['artifact.threshold']}:"
            " `knn-metric upload` first, or --metric NAME:VERSION for an earlier version"
        )


def _attached(manager: Manager, target: Entry, key: str, value: str) -> list[Entry]:
    return [spec for spec in manager.metrics(target) if spec[key] == value]


def _replace(
    manager: Manager,
    target: Entry,
    there: str | None,
    body: Entry,
    others: list[Entry],
    detector: PortableKNN,
) -> None:
    """Let the new metric, which may be there already, prove itself before the old ones go."""
    versions = manager.versions()
    for spec in others:
        version = name_version(versions.get(spec["config"].get("modelVersionId")))
        print(f"replacing {show(spec['name'])} ({version}): {_describe(spec['config'])}")
    identity = there or manager.call("POST", "monitoring/metricspec", body)["id"]
    try:
        print(_prove(manager, target, identity, detector))
    except UserError:
        if not there and _attached(manager, target, "id", identity):
            _delete(manager, target, identity)
        raise
    _wait_for_check(Sonar(manager.address), target, identity, bool(others))
    for spec in others:
        _delete(manager, target, spec["id"])


def _prove(manager: Manager, target: Entry, identity: str, detector: PortableKNN) -> str:
    """Ask a metric's servable for the detector's own rows; say how it fared."""
    for _ in range(PATIENCE):
        specs = _attached(manager, target, "id", identity)
        if not specs:
            raise UserError(f"{manager.address} says that it created {identity}, and has none")
        name, status, message = _read_servable(specs[0])
        if not name:
            return "attached; what it answers is not proven, since the manager names no servable"
        if status == SERVING:
            break
        if sys.stdout.isatty():
            print(show(f"{name} is {status}, {message}"))
        time.sleep(PAUSE)
    else:
        raise UserError(f"{name} is {status} after {PATIENCE} seconds, {message}; not attached")
    gateway, path = Gateway(manager.address), f"servable/{quote(name, safe='')}"
    names, rows = detector.feature_names_in_.tolist(), detector.self_test_rows_.tolist()
    for row, score in zip(rows, detector.self_test_scores_.tolist(), strict=True):
        inputs = [int(number) if number.is_integer() else number for number in row]
        with gateway.reading():
            said = gateway.call("POST", path, dict(zip(names, inputs, strict=True)))["value"]
        if said != score:
            raise UserError(f"{name} gives {said!r}, and the artifact here {score!r}; not attached")
    return f"attached, serving, {len(rows)} of {len(rows)} rows score as here"


def _wait_for_check(sonar: Sonar, target: Entry, identity: str, is_needed: bool) -> None:
    """Wait until sonar has checked a request by the new metric, if there are any requests."""
    before: list[str] = []
    quiet = 0
    try:
        for _ in range(PATIENCE):
            newest = sonar.newest(target["id"], 20)
            specs = {check.spec for one in newest for check in one.checks.values()}
            quiet = quiet + 1 if [one.id for one in newest] == before else 0
            if not is_needed or identity in specs or quiet >= QUIET:
                return
            before = [one.id for one in newest]
            time.sleep(PAUSE)
    except NoMonitoring as error:
        print(f"nothing will check by it: {show(str(error))}")
        return
    raise UserError("sonar does not check by the new metric yet: both watch, so attach again later")


def _read_servable(spec: Entry) -> tuple[str, str, str]:
    """Return the name of a metric's servable, its status and why, of either generation."""
    servable = spec["config"].get("servable") or {}
    status, message = servable.get("status"), servable.get("statusMessage")
    if isinstance(status, dict):
        status, message = [status.get(key) for key in ("status", "msg")]
    return str(servable.get("fullName") or ""), str(status or ""), str(message or "")


def _delete(manager: Manager, target: Entry, identity: str) -> None:
    """Remove a metric; the manager answers 500 where it did, and the container was gone before."""
    try:
        manager.call("DELETE", _path(identity))
    except UserError:
        if _attached(manager, target, "id", identity):
            raise


def _path(identity: str) -> str:
    return f"monitoring/metricspec/{quote(identity, safe='')}"


def _is_same(old: Entry, new: Entry, deployment: str | None) -> bool:
    used = (old.get("servable") or {}).get("deploymentConfigurationName")
    return deployment in (None, used) and all(old.get(key) == new[key] for key in new)


def _describe(config: Entry) -> str:
    operator = (config.get("thresholdCmpOperator") or {}).get("kind")
    if config.get("threshold") is None:
        return "no threshold: nothing is checked"
    return show(f"healthy if value {operator} {config.get('threshold')!r}")
