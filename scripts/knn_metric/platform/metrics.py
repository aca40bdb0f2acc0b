"""Metrics on a target model: attached above the artifact's threshold, proven, and detached."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from knn_metric.cli import UserError, show
from knn_metric.contract import lost_by_sonar
from knn_metric.files import artifact_path
from knn_metric.platform.hs import selected_cluster
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
SPECS = "monitoring/metricspec"
PAUSE = 1.0  # seconds between two looks
PATIENCE = 120  # looks until a servable must answer, and until sonar must check by it
QUIET = 30  # looks without a new request, after which no check is waited for


class Watched:
    """A target model of a cluster: what the manager knows of it, its requests, its metrics."""

    def __init__(self, reference: str, cluster: str | None) -> None:
        self.manager = Manager(cluster or selected_cluster())
        self.target = self.manager.version(reference)
        self.name = name_version(self.target)
        with self.manager.reading():
            self.fields, self.others = read_signature(self.target)
            self.sonar = Sonar(self.manager.address, self.target)

    def specs(self, key: str = "", value: str = "") -> list[Entry]:
        """List the metrics, those with a value if one is given."""
        listed = self.manager.call("GET", f"{SPECS}/modelversion/{self.target['id']}")
        return [spec for spec in listed if not key or spec[key] == value]

    def attach(
        self, metric: Entry, name: str, detector: PortableKNN, deployment: str | None, dry_run: bool
    ) -> None:
        """Let a metric alarm above the detector's threshold.

        It is created unless it is there, must score the detector's own rows exactly as here, and
        takes the place of others of its name once sonar checks by it.
        """
        self.require_fields(metric)
        config: Entry = {"modelVersionId": metric["id"], "threshold": float(detector.threshold_)}
        config["thresholdCmpOperator"] = {"kind": OPERATOR}
        specs = self.specs("name", name)
        own = next((one for one in specs if _is_same(one["config"], config, deployment)), None)
        if deployment:
            config["deploymentConfigName"] = deployment
        body = {"name": name, "modelVersionId": self.target["id"], "config": config}
        if dry_run and own is None:
            print(f"POST {show(self.manager.url(SPECS))}")
            print(json.dumps(body, indent=2))
            return
        if not dry_run:
            self._replace(own, body, [spec for spec in specs if spec is not own], detector)
        where = f"{show(name)} ({name_version(metric)}) is attached to {self.name}"
        print(f"{where}{' already' if own else ''}: {_describe(config)}")

    def detach(self, name: str, dry_run: bool) -> None:
        specs = self.specs("name", name)
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
        for spec in self.specs():
            version = _name_metric(spec, versions)
            servable = [show(text) or "-" for text in _read_servable(spec)[:2]]
            rows.append([show(spec["name"]), version, *servable, _describe(spec["config"])])
        return format_table(rows, "<<<<<")

    def require_fields(self, metric: Entry) -> None:
        """Refuse a target that does not have what a metric takes, or whose requests are lost."""
        known = {field.name: field for field in self.fields}
        problems = lost_by_sonar(known)
        for field in read_signature(metric, ("inputs",))[0]:
            theirs = known.get(field.name)
            if theirs is None:
                problems.append(f"{field.name} is missing")
            elif (theirs.type, theirs.dims) != (field.type, field.dims):
                there, here = (f"{one.shape} {one.type}" for one in (theirs, field))
                problems.append(f"{field.name} is {there}, and the metric takes {here}")
        if problems:
            whose = f"{self.name} cannot be watched by {name_version(metric)}"
            raise UserError(f"{whose}: {', '.join(problems)}")

    def _delete(self, identity: str) -> None:
        """Remove a metric; the manager answers 500 where it did, and the container was gone."""
        try:
            self.manager.call("DELETE", _path(identity))
        except UserError:
            if self.specs("id", identity):
                raise

    def _replace(
        self, own: Entry | None, body: Entry, others: list[Entry], detector: PortableKNN
    ) -> None:
        """Let the new metric, which may be there already, prove itself before the others go."""
        versions = self.manager.versions()
        for spec in others:
            version = _name_metric(spec, versions)
            print(f"replacing {show(spec['name'])} ({version}): {_describe(spec['config'])}")
        created = own or self.manager.call("POST", SPECS, body)
        try:
            print(self._prove(created["id"], detector))
        except BaseException as error:
            if own is None and self.specs("id", created["id"]):
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
            specs = self.specs("id", identity)
            if not specs:
                raise UserError(f"{self.manager.address} lists no {identity}, which it created")
            name, status, message = _read_servable(specs[0])
            if not name:
                return "what it answers is not proven, since the manager names no servable"
            if status == "Serving":
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
        quiet, before = 0, [""]
        for _ in range(PATIENCE):
            newest = self.sonar.newest(20)
            specs = {check.spec for one in newest for check in one.checks.values()}
            ids = [one.id for one in newest]
            quiet = quiet + 1 if ids == before else 0
            if not is_needed or identity in specs or quiet >= QUIET:
                return
            before = ids
            time.sleep(PAUSE)
        what = "sonar does not check by the new metric yet: both watch, so attach again later"
        raise UserError(what)


def describe_artifact(package: Path, artifact: PortableKNN) -> dict[str, str]:
    """Return the metadata by which an uploaded version is known to hold this artifact."""
    digest = hashlib.sha256(artifact_path(package).read_bytes()).hexdigest()
    described = {"artifact.sha256": digest, "artifact.threshold": repr(float(artifact.threshold_))}
    if artifact.calibration_:
        described["artifact.calibration"] = json.dumps(artifact.calibration_)
    return described


def require_same_artifact(metric: Entry, package: Path, artifact: PortableKNN) -> None:
    """Refuse to give a version the threshold of another artifact than it was uploaded with."""
    name, ours = name_version(metric), describe_artifact(package, artifact)
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
    return f"{SPECS}/{quote(identity, safe='')}"


def _is_same(old: Entry, new: Entry, deployment: str | None) -> bool:
    used = (old.get("servable") or {}).get("deploymentConfigurationName")
    return deployment in (None, used) and all(old.get(key) == new[key] for key in new)


def _describe(config: Entry) -> str:
    operator = (config.get("thresholdCmpOperator") or {}).get("kind")
    if config.get("threshold") is None:
        return "no threshold: nothing is checked"
    return show(f"healthy if value {operator} {config.get('threshold')!r}")
