"""A watched target: its metrics, and the requests that are new."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from knn_metric.cli import UserError, complain
from knn_metric.detection.detectors import load_detector
from knn_metric.detection.verdict import parse_calibration
from knn_metric.files import artifact_path
from knn_metric.live.metric import Failures, Metric
from knn_metric.platform.manager import Entry, name_version
from knn_metric.platform.metrics import OPERATOR, Watched
from knn_metric.platform.sonar import MARGIN, Request, format_time

if TYPE_CHECKING:
    from portable_knn import PortableKNN

LEAST_SILENCE = 60  # seconds without a request that say nothing
# Sonar calls no metric for 180 seconds after its start.
RESTART = 200  # seconds at most without a check of any metric
RESTARTS = 3600  # seconds between two restarts, at least; what comes more often is a fault
FEW = 3  # requests in a row, of which a failing metric makes no alert


class Gap:
    """Holds requests that no metric has checked until it is clear whether sonar was restarted."""

    def __init__(self) -> None:
        self._held: list[Request] = []
        self._is_outage = self._has_checks = False
        self._last = -RESTARTS  # the second in which the last restart ended
        self.notes: list[str] = []

    @property
    def is_open(self) -> bool:
        return len(self._held) > FEW

    def take(self, requests: list[Request]) -> list[Request]:
        """Return the requests that metrics are to take now."""
        taken = []
        for request in requests:
            if request.checks or request.unread:
                taken += [*self._end(), request]
                self._has_checks, self._is_outage = True, False
            elif request.error or self._is_outage:
                taken.append(request)
            else:
                self._held.append(request)
                if request.second - self._held[0].second > RESTART:
                    taken += self._held
                    self._held, self._is_outage = [], True
        return taken

    def _end(self) -> list[Request]:
        held, self._held = self._held, []
        if len(held) <= FEW or not self._has_checks or held[-1].second - self._last < RESTARTS:
            return held
        self._last = held[-1].second
        count, begin = f"{len(held):,} requests", format_time(held[0].second)
        without = f"{count} from {begin} on have no check of any metric, and are left out"
        self.notes = [f"sonar was started anew: {without}"]
        return []


class Monitor:
    """Reads a target's requests and follows its metrics: one of that name, or all.

    The artifact of the package at hand is used where there is one; one that is asked for must be
    there for `watch` to say more, and must load.
    """

    def __init__(
        self, target: str, metric: str | None, cluster: str | None, package: Path | None
    ) -> None:
        watched = Watched(target, cluster)
        self.target, self.sonar = target, watched.sonar
        with watched.manager.reading():
            versions = watched.manager.versions()
            detector = _load(package)
            specs = {str(spec["name"]): spec for spec in watched.specs()}
            self.metrics = []
            for name, spec in specs.items():
                own = versions.get(spec["config"].get("modelVersionId"), {})
                if metric in (None, name, name_version(own)):
                    self.metrics.append(_make_metric(spec, own, watched, detector))
        if not specs:
            raise UserError(f"no metric on {target}: `knn-metric attach {target}` attaches one")
        if not self.metrics:
            names = ", ".join(specs)
            raise UserError(f"no metric {metric} on {target}, there is {names}")
        self.failures = Failures(self.metrics[0].calibration["rejected"])
        self.newest = 0  # the second of the newest request
        self._first = self._count = 0
        self._gap = Gap()
        self._known: dict[str, None] | None = None  # the ids of the newest requests, once it looked
        self._oldest = ""  # the id before which nothing is new

    def read(self, count: int, since: float = 0) -> list[Request]:
        """Read the requests that are new, at first the newest `count`, and take them in."""
        known = self._known or {}

        def is_new(request: Request) -> bool:
            is_known = request.id in known or request.id <= self._oldest
            return not is_known and request.second >= since

        new = self.sonar.newest(count if self._known is None else None, is_new)
        if new and not self._count:
            self._first, self._oldest = new[0].second, new[0].id
        self._count += len(new)
        self.newest = max([self.newest, *(request.second for request in new)])
        self.failures.add(new)
        taken = self._gap.take(new)
        for metric in self.metrics:
            metric.is_waiting = self._gap.is_open
            metric.add(taken)
        self._known = known | dict.fromkeys(request.id for request in new)
        for old in list(self._known)[: -count - MARGIN]:
            del self._known[old]
            self._oldest = max(self._oldest, old)
        return new

    @property
    def streams(self) -> list[Metric]:
        """The metrics, and the target where it failed."""
        return [*self.metrics, *([self.failures] if self.failures.error else [])]

    @property
    def notes(self) -> list[str]:
        """What is to be known of the requests as a whole; each begins with words of its own."""
        notes = list(self._gap.notes)
        if self._gap.is_open:
            notes.append(
                "no check yet of the newest requests: sonar was started anew, or they are an alert"
                f" {RESTART} seconds after the first"
            )
        usual = (self.newest - self._first) / max(self._count - 1, 1)
        if self._count > 1 and time.time() - self.newest > max(10 * usual, LEAST_SILENCE):
            notes.append(
                f"no new request: the newest is of {format_time(self.newest)}, though one came"
                f" every {usual:.1f} seconds: the target has no traffic, or sonar keeps none"
            )
        return notes


def _load(package: Path | None) -> PortableKNN | None:
    """Load what is at hand; what cannot be loaded takes no verdict back unless that is asked."""
    folder = package or Path()
    try:
        return load_detector(folder) if artifact_path(folder).exists() else None
    except UserError as error:
        if package is not None:
            raise
        complain(str(error))
        return None


def _make_metric(
    spec: Entry, version: Entry, watched: Watched, detector: PortableKNN | None
) -> Metric:
    """Make a metric with the calibration that its version was uploaded with, else the one here."""
    config, metadata = spec["config"], version.get("metadata") or {}
    remarks = []
    if config.get("threshold") is None:
        remarks.append("it has no threshold: nothing is checked, `knn-metric attach` anew")
    operator = (config.get("thresholdCmpOperator") or {}).get("kind", OPERATOR)
    if operator != OPERATOR:
        remarks.append(
            f"attached the wrong way round, with {operator} in place of {OPERATOR}: `knn-metric"
            " attach` attaches it anew; here a score above the threshold is an alarm"
        )
    try:
        watched.require_fields(version)
    except UserError as error:
        remarks.append(str(error))
    limits = (config.get("threshold"), metadata.get("artifact.threshold"), "inf")
    threshold = float(next(one for one in limits if one is not None))
    own = detector if detector is not None and detector.threshold_ == threshold else None
    known = metadata.get("artifact.calibration")
    calibration = parse_calibration(known) if known else own.calibration_ if own else {}
    return Metric(str(spec["name"]), threshold, calibration, own, remarks)
