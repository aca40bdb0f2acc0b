"""Alarms of a live cluster, for the artifact at hand to explain."""

from knn_metric.cli import UserError, show
from knn_metric.platform.metrics import Watched
from knn_metric.platform.sonar import Request, format_time
from portable_knn import PortableKNN
from portable_knn.messages import read

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
    threshold, names = detector.threshold_, detector.feature_names_in_.tolist()
    found: list[tuple[str, list[float]]] = []
    for request in requests:
        for name, check in request.checks.items():
            is_meant = check.threshold == threshold and (identity or check.value > threshold)
            if len(found) == count or not is_meant:
                continue
            try:
                row = read(request.inputs, names)
            except ValueError as error:
                raise UserError(f"request {request.id}: {error}") from error
            title = f"request {request.id}, {format_time(request.second)}, by {show(name)}"
            found.append((title, [float(number) for number in row]))
    if not found:
        how = "`knn-metric train`, or --package"
        raise UserError(f"no {what} has a check with the threshold of the artifact here: {how}")
    return found


def _find(watched: Watched, identity: str) -> Request:
    request = watched.sonar.request(identity.lower())
    if request is None:
        raise UserError(f"no request {identity} of {watched.name}")
    if request.version not in (None, watched.target["id"]):
        raise UserError(f"request {identity} is not of {watched.name}, but of another version")
    if request.error:
        raise UserError(f"request {identity}: the target failed, {request.error}")
    return request
