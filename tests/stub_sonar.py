"""Sonar as release 3.0.3 answers: what it keeps of requests that were really served."""

from lib import census
from lib.replay import ALARM, Outcome

FIRST_SECOND = 1_700_000_000


class Sonar:
    """Keeps a document for each request, and counts them in batches."""

    def __init__(self, batch_size=100):
        self.batch_size = batch_size
        self.documents = {}  # by the target's id, the oldest first

    def add(self, outcomes, target, threshold, every=1, second=FIRST_SECOND):
        """Check a target's requests as the metric of each name judged them.

        Parameters
        ----------
        outcomes : dict of str to list of Outcome
            By name of the metric, all lists of the same requests.
        target : dict
            The manager's version.
        threshold : float
        every, second : int
            Epoch second of the first request, and how far the next ones are apart.
        """
        documents = self.documents.setdefault(target["id"], [])
        for number, requests in enumerate(zip(*outcomes.values(), strict=True)):
            checks = dict(zip(outcomes, requests, strict=True))
            when = second + number * every
            documents.append(make_document(checks, target, threshold, number, when))

    def requests(self, target, limit, offset):
        return self.documents.get(target, [])[::-1][offset : offset + limit]

    def aggregates(self, target, limit, offset, since=None, till=None):
        found = self.documents.get(target, [])
        starts = range(0, len(found), self.batch_size)
        batches = [
            make_batch(found[start : start + self.batch_size], odd=number % 2 == 1)
            for number, start in enumerate(starts)
        ]
        seconds = [int(document["_id"][:8], 16) for document in found]
        kept = [
            batch
            for batch in batches[::-1]
            if (since is None or int(batch["_hs_first_id"][:8], 16) >= since)
            and (till is None or int(batch["_hs_last_id"][:8], 16) <= till)
        ]
        return {
            "count": len(kept),
            "minDate": min(seconds, default=None),
            "maxDate": max(seconds, default=None),
            "results": kept[offset : offset + limit],
        }


def spell(number, odd):
    """Write a 64-bit integer in one of the ways of Mongo's JSON."""
    return {"$numberLong": str(number)} if odd else number


def make_document(outcomes, target, threshold, number, second):
    odd = number % 2 == 1
    first = next(iter(outcomes.values()))
    answered = len(first.sent) == len(census.FEATURES)
    names = census.FEATURES if answered else ()
    fields = dict(zip(names, first.sent, strict=False))
    scores = [outcome.result != ALARM for outcome in outcomes.values() if outcome.is_scored]
    identity = f"{second:08x}{number:016x}"
    return {
        **{name: spell(code, odd) for name, code in fields.items()},
        **{f"_hs_{name}_score": None for name in fields},
        "_hs_raw_checks": {name: [] for name in census.FEATURES},
        "_hs_metric_checks": {
            name: make_check(name, outcome, threshold)
            for name, outcome in outcomes.items()
            if outcome.is_scored
        },
        "_hs_latency": 0.004,
        "_hs_error": None if answered else first.reason,
        "_hs_score": None,
        "_hs_overall_score": sum(scores) / len(scores) if scores else None,
        "_hs_model_version_id": spell(target["id"], odd),
        "_hs_model_name": target["model"]["name"],
        "_hs_model_incremental_version": spell(target["modelVersion"], odd),
        "_hs_request_id": f"request-{number}",
        "_hs_timestamp": spell(1000 * second, odd),
        "_hs_year": 2023,
        "_hs_month": 11,
        "_hs_day": 14,
        "_id": identity,
    }


def make_check(name, outcome: Outcome, threshold):
    return {
        "check": outcome.result != ALARM,
        "description": name,
        "value": outcome.value,
        "threshold": threshold,
        "metricSpecId": f"spec-of-{name}",
    }


def make_batch(documents, odd):
    """Count documents as sonar's increments do: a metric that never answered has no entry."""
    counts = {}
    for document in documents:
        for name, check in document["_hs_metric_checks"].items():
            checked, passed = counts.get(name, (0, 0))
            counts[name] = checked + 1, passed + check["check"]
    batch = {
        "_id": f"{documents[0]['_id'][:8]}f{documents[0]['_id'][9:]}",
        "_hs_first_id": documents[0]["_id"],
        "_hs_last_id": documents[-1]["_id"],
        "_hs_requests": spell(len(documents), odd),
        "_hs_request_ids": [document["_hs_request_id"] for document in documents],
        "_hs_model_version_id": documents[0]["_hs_model_version_id"],
        "_hs_model_name": documents[0]["_hs_model_name"],
        **{name: {"checks": 0, "passed": 0} for name in census.FEATURES},
    }
    if counts:
        batch["_hs_metrics"] = {
            name: {"checked": spell(checked, odd), "passed": spell(passed, odd)}
            for name, (checked, passed) in counts.items()
        }
    return batch
