"""Alarms of a live cluster, for the artifact at hand to explain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from knn_metric.cli import UserError, show
from knn_metric.platform.hs import selected_cluster
from knn_metric.platform.manager import Manager
from knn_metric.platform.sonar import Request, Sonar, format_time

if TYPE_CHECKING:
    from portable_knn import PortableKNN

NEWEST = 10_000  # requests among which alarms are looked for

Alarm = tuple[str, list[float]]  # a title, and its features


def find_alarms(
    target: str,
    cluster: str | None,
    identity: str | None,
    count: int,
    detector: PortableKNN,
) -> Iterator[Alarm]:
    """Yield a request of an id, or the last alarms, by each metric with the artifact's threshold.

    Parameters
    ----------
    target : str
        NAME:VERSION.
    cluster : str or None
        Its address (default: the one that hs has selected).
    identity : str or None
        Of one request.
    count : int
        Of alarms, if there is no identity.
    detector : PortableKNN
        The artifact at hand.

    Raises
    ------
    UserError
        If there is no such request, or none that the artifact here explains.
    """
    manager = Manager(cluster or selected_cluster())
    sonar = Sonar(manager.address)
    if identity:
        found = list(_match(sonar.request(identity), detector, alarms_only=False))
    else:
        with manager.reading():
            version = manager.version(target)["id"]
        newest = sonar.newest(version, NEWEST)[::-1]
        alarms = (alarm for one in newest for alarm in _match(one, detector, alarms_only=True))
        found = [alarm for _, alarm in zip(range(count), alarms, strict=False)]
    if not found:
        what = f"request {identity}" if identity else f"alarm among the newest requests of {target}"
        raise UserError(
            f"no {what} has a check with the threshold of the artifact here: `knn-metric train`, or"
            " --artifact"
        )
    yield from found


def _match(request: Request, detector: PortableKNN, alarms_only: bool) -> Iterator[Alarm]:
    from portable_knn.messages import read

    for name, check in request.checks.items():
        if check.threshold != detector.threshold_ or (alarms_only and not check.is_alarm):
            continue
        try:
            row = read(request.inputs, detector.feature_names_in_.tolist())
        except ValueError as error:
            raise UserError(f"request {request.id}: {error}") from error
        title = f"request {request.id}, {format_time(request.second)}, by {show(name)}"
        yield title, [float(number) for number in row]
