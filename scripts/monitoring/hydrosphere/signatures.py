"""Contracts as the manager gives them back, of either generation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from monitoring.cli import UserError
from monitoring.contract import NUMPY_NAMES, TYPES, Field

# Where serving.yaml has another name for a type than the platform's DT_... in small letters.
YAML_NAMES = {"float64": "double", "float32": "float"}


def read_signature(version: dict[str, Any]) -> tuple[list[Field], list[str]]:
    """Read the inputs and outputs of a version, in order.

    Returns
    -------
    fields : list of Field
    others : list of str
        What is no field that serving.yaml could have here: maps and unknown types, described.

    Raises
    ------
    UserError
        If the version has no contract.
    """
    signature = version.get("modelSignature") or (version.get("modelContract") or {}).get("predict")
    if not signature:
        raise UserError("the version has no contract")
    fields, others = [], []
    for one in (*signature.get("inputs", ()), *signature.get("outputs", ())):
        name, kind = one["name"], str(one.get("dtype", "")).removeprefix("DT_").lower()
        if one.get("subfields") or NUMPY_NAMES.get(kind, kind) not in TYPES:
            others.append(f"{name}: {'a map' if one.get('subfields') else kind or 'no type'}")
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


def format_inputs(fields: Sequence[Field], others: Sequence[str] = ()) -> Iterator[str]:
    """Yield the lines of a metric's inputs as serving.yaml has them.

    What a metric cannot take is left out, with a comment.
    """
    yield "  inputs:"
    for field in fields:
        if not field.is_number:
            yield f"    # {field.name} is left out: a metric cannot take {field.shape} {field.type}"
            continue
        yield f"    {field.name}:"
        yield "      shape: scalar"
        yield f"      type: {field.type}"
        if field.profile != "none":
            yield f"      profile: {field.profile}"
    for other in others:
        yield f"    # {other} is left out: a metric takes scalar numbers"
