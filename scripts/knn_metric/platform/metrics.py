"""Metrics on a target model: attached above the artifact's threshold, proven, and detached."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from knn_metric.cli import UserError, show
from knn_metric.contract import lost_by_sonar
from knn_metric.platform.manager import (
    Entry,
    Gateway,
    HTTPProblem,
    Manager,
    name_version,
    read_signature,
)
from knn_metric.platform.sonar import Sonar
from knn_metric.tables import format_table

if TYPE_CHECKING:
    from portable_knn import PortableKNN

# The check passes, that is no alarm, when `value <operator> threshold`.
OPERATOR = "LessEq"
SERVING = "Serving"  # the status of a servable that answers
PAUSE = 1.0  # seconds between two looks
PATIENCE = 120  # looks until a servable must answer, and until sonar must check by it
QUIET = 30  # looks without a new request, after which no check is waited for


class Watched:
    """A target model, and the metrics that the manager has of it."""

    def __init__(self, manager: Manager, reference: str) -> None:
        self.manager, self.target = manager, manager.version(reference)
        self.name = name_version(self.target)

    def attach(
        self, metric: Entry, name: str, detector: PortableKNN, deployment: str | None, dry_run: bool
    ) -> None:
        """Let a metric alarm above the detector's threshold.

        It is created unless it is there, must score the detector's own rows exactly as here, and
        takes the place of others of its name once sonar checks by it.
        """
        require_same_fields(self.target, metric)
        threshold, operator = float(detector.threshold_), {"kind": OPERATOR}
        config: Entry = {"modelVersionId": metric["id"], "threshold": threshold}
        config["thresholdCmpOperator"] = operator
        specs = self._specs("name", name)
        own = next((one for one in specs if _is_same(one["config"], config, deployment)), None)
        others = [spec for spec in specs if spec is not own]
        if deployment:
            config["deploymentConfigName"] = deployment
        body = {"name": name, "modelVersionId": self.target["id"], "config": config}
        if dry_run and own is None:
            print(f"POST {show(self.manager.url('monitoring/metricspec'))}")
            print(json.dumps(body, indent=2))
        elif not dry_run:
            self._replace(own, body, others, detector)
        if own or not dry_run:
            already = " already" if own else ""
            where = f"{show(name)} ({name_version(metric)}) is attached to {self.name}{already}"
            print(f"{where}: {_describe(config)}")

    def detach(self, name: str, dry_run: bool) -> None:
        specs = self._specs("name", name)
        for spec in specs:
            if dry_run:
                print(f"DELETE {show(self.manager.url(_path(spec['id'])))}")
            else:
                self._delete(spec["id"])
                print(f"{show(name)} is detached from {self.name}")
        if not specs:
            print(f"{show(name)} is not attached to {self.name}")

    def table(self) -> str:
        versions = self.manager.versions()
        rows = ["metric version servable status threshold".split()]
        for spec in self.manager.metrics(self.target):
            version = _name_metric(spec, versions)
            servable = [show(text) if text else "-" for text in _read_servable(spec)[:2]]
            rows.append([show(spec["name"]), version, *servable, _describe(spec["config"])])
        return format_table(rows, "<<<<<")

    def _specs(self, key: str, value: str) -> list[Entry]:
        return [spec for spec in self.manager.metrics(self.target) if spec[key] == value]

    def _delete(self, identity: str) -> None:
        """Remove a metric; the manager answers 500 where it did, and the container was gone."""
        try:
            self.manager.call("DELETE", _path(identity))
        except UserError:
            if self._specs("id", identity):
                raise

    def _replace(
        self, own: Entry | None, body: Entry, others: list[Entry], detector: PortableKNN
    ) -> None:
        """Let the new metric, which may be there already, prove itself before the others go."""
        versions = self.manager.versions()
        for spec in others:
            version = _name_metric(spec, versions)
            print(f"replacing {show(spec['name'])} ({version}): {_describe(spec['config'])}")
        created = own or self.manager.call("POST", "monitoring/metricspec", body)
        try:
            print(self._prove(created["id"], detector))
        except BaseException as error:
            if own is None and self._specs("id", created["id"]):
                self._delete(created["id"])
            if not isinstance(error, UserError):
                raise
            what = "it is not attached" if own is None else "it stays attached"
            raise UserError(f"{error}; {what}") from error
        try:
            self._wait_for_check(created["id"], bool(others))
        except HTTPProblem as error:
            if error.status not in Sonar.REFUSALS:
                stays = ", and what it replaces stays" if others else ""
                raise UserError(f"it is attached{stays}: {error}") from error
            print(f"nothing will check by it: {show(str(error))}")
        for spec in others:
            self._delete(spec["id"])

    def _prove(self, identity: str, detector: PortableKNN) -> str:
        """Ask a metric's servable for the detector's own rows; say how it fared."""
        for _ in range(PATIENCE):
            specs = self._specs("id", identity)
            if not specs:
                raise UserError(f"{self.manager.address} lists no {identity}, which it created")
            name, status, message = _read_servable(specs[0])
            if not name:
                return "what it answers is not proven, since the manager names no servable"
            if status == SERVING:
                break
            if sys.stdout.isatty():
                print(show(f"{name} is {status}, {message}"))
            time.sleep(PAUSE)
        else:
            raise UserError(f"{name} is {status} after {PATIENCE} seconds, {message}")
        gateway, path = Gateway(self.manager.address), f"servable/{quote(name, safe='')}"
        names, rows = detector.feature_names_in_.tolist(), detector.self_test_rows_.tolist()
        for row, score in zip(rows, detector.self_test_scores_.tolist(), strict=True):
            inputs = [int(number) if number.is_integer() else number for number in row]
            with gateway.reading():
                said = gateway.call("POST", path, dict(zip(names, inputs, strict=True)))["value"]
            if said != score:
                raise UserError(f"{name} gives {said!r}, and the artifact here {score!r}")
        return f"attached, serving, {len(rows)} of {len(rows)} rows score as here"

    def _wait_for_check(self, identity: str, is_needed: bool) -> None:
        """Wait until sonar has checked a request by the new metric, if there are any requests."""
        sonar, quiet = Sonar(self.manager.address, self.target), 0
        before: list[str] = []
        for _ in range(PATIENCE):
            newest = sonar.newest(20)
            specs = {check.spec for one in newest for check in one.checks.values()}
            ids = [one.id for one in newest]
            quiet = quiet + 1 if ids == before else 0
            if not is_needed or identity in specs or quiet >= QUIET:
                return
            before = ids
            time.sleep(PAUSE)
        what = "sonar does not check by the new metric yet: both watch, so attach again later"
        raise UserError(what)


def require_same_fields(target: Entry, metric: Entry) -> None:
    """Refuse a target that does not have what the metric takes, or whose requests are lost."""
    known = {field.name: field for field in read_signature(target)[0]}
    taken = read_signature(metric, ("inputs",))[0]
    whose = f"{name_version(target)} cannot be watched by {name_version(metric)}: "
    if lost := ", ".join(lost_by_sonar(known)):
        raise UserError(f"{whose}sonar keeps no request with fields of such names: {lost}")
    problems = []
    for field in taken:
        theirs = known.get(field.name)
        if theirs is None:
            problems.append(f"{field.name} is missing")
        elif (theirs.type, theirs.dims) != (field.type, field.dims):
            there, here = (f"{one.type} {list(one.dims) or ''}".strip() for one in (theirs, field))
            problems.append(f"{field.name} is {there}, and the metric takes {here}")
    if problems:
        raise UserError(f"{whose}{', '.join(problems)}")


def require_same_artifact(metric: Entry, ours: dict[str, str]) -> None:
    """Refuse to give a version the threshold of another artifact than it was uploaded with.

    Ours is what `describe_artifact` says of the one here.
    """
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


def _name_metric(spec: Entry, versions: dict[object, Entry]) -> str:
    return name_version(versions.get(spec["config"].get("modelVersionId")))


def _read_servable(spec: Entry) -> tuple[str, str, str]:
    """Return the name of a metric's servable, its status and why, of either generation."""
    servable = spec["config"].get("servable") or {}
    status, message = servable.get("status"), servable.get("statusMessage")
    if isinstance(status, dict):
        status, message = [status.get(key) for key in ("status", "msg")]
    return str(servable.get("fullName") or ""), str(status or ""), str(message or "")


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
