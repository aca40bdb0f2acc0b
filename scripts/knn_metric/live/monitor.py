"""A watched target: its metrics, and the requests that are new."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knn_metric.cli import UserError, complain, show
from knn_metric.live.metric import Metric
from knn_metric.platform.hs import selected_cluster
from knn_metric.platform.manager import Manager
from knn_metric.platform.sonar import MARGIN, Request, Sonar

if TYPE_CHECKING:
    from portable_knn import PortableKNN

LONGEST_PAUSE = 10  # times the usual one


class Monitor:
    """Reads a target's requests and follows its metrics: one of that name, or all.

    The artifact at hand is used where it is there; `strict` makes it an error if it cannot be
    loaded, which is noted else.

    Raises
    ------
    UserError
        If there is no such model or metric, or the cluster does not answer.
    """

    def __init__(
        self,
        target: str,
        metric: str | None = None,
        cluster: str | None = None,
        artifact: Path | None = None,
        strict: bool = True,
    ) -> None:
        manager = Manager(cluster or selected_cluster())
        self.target = target
        self.cluster = manager.address
        self.sonar = Sonar(manager.address)
        with manager.reading():
            version = manager.version(target)
            self.id: int = version["id"]
            specs = {str(spec["name"]): spec["config"] for spec in manager.metrics(version)}
            versions = manager.versions()
            detector = load_artifact(artifact, strict)
            self.metrics = [
                _make_metric(name, config, versions, detector)
                for name, config in specs.items()
                if metric in (None, name)
            ]
        if not specs:
            hint = f"`knn-metric attach {target}` attaches one"
            raise UserError(f"no metric on {target}: {hint}")
        if not self.metrics:
            names = ", ".join(map(show, specs))
            raise UserError(f"no metric {metric} on {target}, there is {names}")
        self.newest = 0  # the second of the newest request
        self._known: dict[str, None] = {}
        self._oldest = ""  # the id before which nothing is new

    def read(self, count: int, since: float = 0) -> list[Request]:
        """Read the requests that are new, at first the newest `count`, and take them in."""

        def is_new(request: Request) -> bool:
            is_known = request.id in self._known or request.id <= self._oldest
            return not is_known and request.second >= since

        new = self.sonar.newest(self.id, None if self._known else count, is_new)
        if new and not self._known:
            self._oldest = new[0].id
        self.newest = max([self.newest, *(request.second for request in new)])
        for metric in self.metrics:
            metric.add(new)
        self._known |= dict.fromkeys(request.id for request in new)
        for old in list(self._known)[: -count - MARGIN]:
            del self._known[old]
            self._oldest = max(self._oldest, old)
        return new

    def follow(self, count: int, pause: float) -> Iterator[UserError | None]:
        """Yield None whenever there are new requests, and what goes wrong once; never end."""
        wait, waiting = pause, False
        while True:
            try:
                if (self.read(count) or waiting) and self._known:
                    yield None
                wait, waiting = pause, False
            except UserError as error:
                if not waiting:
                    yield error
                wait, waiting = min(2 * wait, LONGEST_PAUSE * pause), True
            time.sleep(wait)


def load_artifact(path: Path | None, strict: bool) -> PortableKNN | None:
    """Load what is at hand; what cannot be loaded takes no verdict back unless that is asked."""
    if path is None or not path.exists():
        return None
    # What loads it is not there where `watch` runs by itself.
    from knn_metric.detection.detectors import load_detector

    try:
        return load_detector(path)
    except UserError as error:
        if strict:
            raise
        complain(str(error))
        return None


def _make_metric(
    name: str,
    config: dict[str, Any],
    versions: dict[object, dict[str, Any]],
    detector: PortableKNN | None,
) -> Metric:
    """Make a metric with the calibration that its version was uploaded with, else the one here."""
    metadata = versions.get(config.get("modelVersionId"), {}).get("metadata") or {}
    known = metadata.get("artifact.calibration")
    calibration = dict(json.loads(known)) if known else None
    threshold = float(config.get("threshold") or 0)
    if detector is None or detector.threshold_ != threshold:
        return Metric(name, threshold, calibration)
    return Metric(name, threshold, calibration or detector.calibration_ or None, detector)
