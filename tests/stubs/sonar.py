"""Sonar as release 3.0.3 answers: what it keeps of requests and their checks."""

FIRST_SECOND = 1_700_000_000


class Sonar:
    """Keeps a document for each request."""

    def __init__(self):
        self.documents = {}  # by the target's id, the oldest first

    def add(self, target, inputs, scores, thresholds):
        """Keep requests of a target, one a second.

        Parameters
        ----------
        target : dict
            The manager's version.
        inputs : list of dict
            Of each request; empty where the target failed.
        scores : dict of str to list of float or None
            By metric, the value of each request; None where the metric did not answer.
        thresholds : dict of str to float
            By metric.
        """
        documents = self.documents.setdefault(target["id"], [])
        for number, fields in enumerate(inputs):
            checks = {
                name: make_check(name, values[number], thresholds[name])
                for name, values in scores.items()
                if values[number] is not None
            }
            documents.append(make_document(target, fields, checks, len(documents)))

    def insert(self, target, documents):
        """Keep documents that come late."""
        self.documents[target] = sorted(self.documents[target] + documents, key=lambda d: d["_id"])

    def requests(self, target, limit, offset):
        return self.documents.get(target, [])[::-1][offset : offset + limit]

    def request(self, identity):
        documents = (one for listed in self.documents.values() for one in listed)
        return next((one for one in documents if one["_id"] == identity), None)


def spell(number, odd):
    """Write a 64-bit integer in one of the ways of Mongo's JSON."""
    return {"$numberLong": str(number)} if odd else number


def make_check(name, value, threshold):
    return {
        "check": value <= threshold,
        "description": name,
        "value": value,
        "threshold": threshold,
        "metricSpecId": f"spec-of-{name}",
    }


def make_document(target, fields, checks, number):
    odd, second = number % 2 == 1, FIRST_SECOND + number
    passed = [check["check"] for check in checks.values()]
    return {
        **{name: spell(code, odd) for name, code in fields.items()},
        **{f"_hs_{name}_score": None for name in fields},
        "_hs_raw_checks": {name: [] for name in fields},
        "_hs_metric_checks": checks,
        "_hs_latency": 0.004,
        "_hs_error": None if fields else "INTERNAL KeyError('age')",
        "_hs_score": None,
        "_hs_overall_score": sum(passed) / len(passed) if passed else None,
        "_hs_model_version_id": spell(target["id"], odd),
        "_hs_model_name": target["model"]["name"],
        "_hs_model_incremental_version": spell(target["modelVersion"], odd),
        "_hs_request_id": f"request-{number}",
        "_hs_timestamp": spell(1000 * second, odd),
        "_hs_year": 2023,
        "_hs_month": 11,
        "_hs_day": 14,
        "_id": f"{second:08x}{number:016x}",
    }
