"""Contracts as the manager gives them back, of either generation."""

from __future__ import annotations

from typing import Any

from knn_metric.cli import UserError
from knn_metric.contract import NUMPY_NAMES, TYPES, Field

# Where serving.yaml has another name for a type than the platform's DT_... in small letters.
YAML_NAMES = {"float64": "double", "float32": "float"}


def read_signature(version: dict[str, Any]) -> tuple[list[Field], list[str]]:
    """Read the inputs and outputs of a version, and why others, maps and unknown types, are not."""
    signature = version.get("modelSignature") or (version.get("modelContract") or {}).get("predict")
    if not signature:
        raise UserError("the version has no contract")
    fields, others = [], []
    for one in (*signature.get("inputs", ()), *signature.get("outputs", ())):
        name, kind = one["name"], str(one.get("dtype", "")).removeprefix("DT_").lower()
        if one.get("subfields") or NUMPY_NAMES.get(kind, kind) not in TYPES:
            found = "a map" if one.get("subfields") else kind or "a field without a type"
            others.append(f"{name}: a metric cannot take {found}")
            continue
        profile = str(one.get("profile") or "none").lower()
        fields.append(
            Field(name, YAML_NAMES.get(kind, kind), _read_dims(one.get("shape")), profile)
        )
    return fields, others


def _read_dims(shape: dict[str, Any] | None) -> tuple[int, ...]:
    """Read 3.x's ``{"dims": [2]}`` or 2.x's ``{"dim": [{"size": 2}]}``."""
    dims = (shape or {}).get("dims")
    if dims is None:
        dims = [dim["size"] for dim in (shape or {}).get("dim") or ()]
    return tuple(map(int, dims))
