"""Sonar as release 3.0.3 answers: what it keeps of requests and their checks."""

import uuid

FAILED = "io.grpc.StatusRuntimeException: UNAVAILABLE: io exception"
FIRST_SECOND = 1_700_000_000


def identify(place):
    return f"{FIRST_SECOND + place:08x}{place:016x}"


class Sonar:
    def __init__(self):
        self.documents = {}  # by the target's id, the oldest first

    def add(self, target, inputs, scores, thresholds):
        """Keep requests of a target, one a second; one without inputs is one in which it failed.

        Scores are lists by metric, with None where the metric did not answer.
        """
        documents = self.documents.setdefault(target["id"], [])
        for number, fields in enumerate(inputs):
            checks = {
                name: {
                    "check": values[number] <= thresholds[name],
                    "description": name,
                    "value": values[number],
                    "threshold": thresholds[name],
                    "metricSpecId": f"spec-of-{name}",
                }
                for name, values in scores.items()
                if values[number] is not None
            }
            passed, place = [check["check"] for check in checks.values()], len(documents)
            document = {
                **fields,
                **{f"_hs_{name}_score": None for name in fields},
                "_hs_raw_checks": {name: [] for name in fields or ("age",)},
                "_hs_metric_checks": checks,
                "_hs_latency": 4.0,
                "_hs_error": None if fields else FAILED,
                "_hs_score": None,
                "_hs_overall_score": sum(passed) / len(passed) if passed else None,
                "_hs_model_version_id": target["id"],
                "_hs_model_name": "",
                "_hs_model_incremental_version": target["modelVersion"],
                "_hs_request_id": str(uuid.UUID(int=place)),
                "_hs_timestamp": 1000 * (FIRST_SECOND + place),
                **{"_hs_year": 2023, "_hs_month": 11, "_hs_day": 14},
                "_id": identify(place),
            }
            documents.append(document)

    def requests(self, target, limit, offset):
        return self.documents.get(target, [])[::-1][offset : offset + limit]

    def request(self, identity):
        documents = (one for listed in self.documents.values() for one in listed)
        return next((one for one in documents if one["_id"] == identity), None)
