"""Contracts as the manager gives them back, of either generation."""

from __future__ import annotations

from typing import Any

from knn_metric.contract import NUMPY_NAMES, TYPES, Field

# Where serving.yaml has another name for a type than the platform's DT_... in small letters.
YAML_NAMES = {"float64": "double", "float32": "float"}


def read_signature(
    version: dict[str, Any], kinds: tuple[str, ...] = ("inputs", "outputs")
) -> tuple[list[Field], list[str]]:
    """Read a version's fields, and why others, maps and unknown types, are none."""
    contract = version.get("modelContract") or {}  # of 2.x
    signature = version.get("modelSignature") or contract.get("predict") or {}
    fields, others = [], []
    for one in (field for kind in kinds for field in signature.get(kind, ())):
        name, kind = one["name"], str(one.get("dtype", "")).removeprefix("DT_").lower()
        if one.get("subfields") or NUMPY_NAMES.get(kind, kind) not in TYPES:
            found = "a map" if one.get("subfields") else kind or "a field without a type"
            others.append(f"{name}: a metric cannot take {found}")
            continue
        shape = one.get("shape") or {}  # 3.x's {"dims": [2]}, or 2.x's {"dim": [{"size": 2}]}
        dims = shape.get("dims") or [dim["size"] for dim in shape.get("dim") or ()]
        profile = str(one.get("profile") or "none").lower()
        fields.append(Field(name, YAML_NAMES.get(kind, kind), tuple(map(int, dims)), profile))
    return fields, others
