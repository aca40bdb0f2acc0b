"""A watched target: its metrics, and the requests that are new."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knn_metric.cli import UserError, complain, show
from knn_metric.live.metric import Metric
from knn_metric.platform.hs import selected_cluster
from knn_metric.platform.manager import Manager
from knn_metric.platform.sonar import Request, Sonar

if TYPE_CHECKING:
    from portable_knn import PortableKNN

LONGEST_PAUSE = 10  # times the usual one


class Monitor:
    """Reads a target's requests and follows its metrics.

    Parameters
    ----------
    target : str
        NAME:VERSION.
    metric : str, optional
        The name of one metric (default: all that are attached).
    cluster : str, optional
        Its address (default: the one that hs has selected).
    artifact : Path, optional
        The trained detector at hand.
    strict : bool
        Whether it is an error if it cannot be loaded; else that is noted.

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
            specs = [spec for spec in manager.metrics(version) if metric in (None, spec["name"])]
            metadata = manager.metadata_by_id()
            found = [_read_spec(spec, metadata) for spec in specs]
        if not found:
            raise UserError(_describe_lack(manager, version, target, metric))
        detector = load_artifact(artifact, strict)
        self.metrics = [_make_metric(*one, detector) for one in found]
        self._known: frozenset[str] = frozenset()

    def read(self, count: int, since: float = 0) -> list[Request]:
        """Read requests that are new, the newest `count` at most, and take them into account."""
        new = self.sonar.newest(self.id, count, since, self._known)
        for metric in self.metrics:
            metric.add(new)
        self._known |= {request.id for request in new}
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


def _read_spec(
    spec: dict[str, Any], metadata: Mapping[object, Mapping[str, str]]
) -> tuple[str, float, dict[str, Any] | None]:
    """Return a metric's name, its threshold, and the calibration that it was uploaded with."""
    config = spec.get("config") or {}
    known = metadata.get(config.get("modelVersionId"), {}).get("artifact.calibration")
    calibration = dict(json.loads(known)) if known else None
    return str(spec["name"]), float(config.get("threshold") or 0), calibration


def _describe_lack(
    manager: Manager, version: dict[str, Any], target: str, metric: str | None
) -> str:
    with manager.reading():
        names = [show(str(spec["name"])) for spec in manager.metrics(version)]
    if not names:
        return f"no metric on {target}: `knn-metric attach {target}` attaches one"
    return f"no metric {metric} on {target}, there is {', '.join(names)}"


def _make_metric(
    name: str, threshold: float, calibration: dict[str, Any] | None, detector: PortableKNN | None
) -> Metric:
    if detector is None or detector.threshold_ != threshold:
        return Metric(name, threshold, calibration)
    return Metric(name, threshold, calibration or detector.calibration_ or None, detector)
