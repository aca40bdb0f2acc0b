"""Alarms of a live cluster, for the artifact at hand to explain."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from knn_metric.cli import UserError, show
from knn_metric.platform.metrics import Watched
from knn_metric.platform.sonar import Request, format_time

if TYPE_CHECKING:
    from portable_knn import PortableKNN

NEWEST = 10_000  # requests among which alarms are looked for


def find_alarms(
    target: str, cluster: str | None, identity: str | None, count: int, detector: PortableKNN
) -> list[tuple[str, list[float]]]:
    """Return the request of an id, or a target's last alarms: a title of each, and its features.

    Only metrics with the artifact's threshold count; that none has explains it is a UserError.
    """
    watched = Watched(target, cluster)
    if identity:
        what, requests = f"request {identity}", [_find(watched, identity)]
    else:
        what = f"alarm among the newest requests of {target}"
        requests = watched.sonar.newest(NEWEST)[::-1]
    matches = (match for one in requests for match in _match(one, detector, not identity))
    if found := list(islice(matches, count)):
        return found
    how = "`knn-metric train`, or --package"
    raise UserError(f"no {what} has a check with the threshold of the artifact here: {how}")


def _find(watched: Watched, identity: str) -> Request:
    request = watched.sonar.request(identity.lower())
    if request is None:
        raise UserError(f"no request {identity} of {watched.name}")
    if request.version not in (None, watched.target["id"]):
        raise UserError(f"request {identity} is not of {watched.name}, but of another version")
    if request.error:
        raise UserError(f"request {identity}: the target failed, {request.error}")
    return request


def _match(
    request: Request, detector: PortableKNN, alarms_only: bool
) -> Iterator[tuple[str, list[float]]]:
    from portable_knn.messages import read

    threshold = detector.threshold_
    for name, check in request.checks.items():
        if check.threshold != threshold or (alarms_only and check.value <= threshold):
            continue
        try:
            row = read(request.inputs, detector.feature_names_in_.tolist())
        except ValueError as error:
            raise UserError(f"request {request.id}: {error}") from error
        title = f"request {request.id}, {format_time(request.second)}, by {show(name)}"
        yield title, [float(number) for number in row]
