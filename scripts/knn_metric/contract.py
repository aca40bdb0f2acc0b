"""serving.yaml as a class: a package's name, image and payload, and its function's fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from knn_metric.cli import UserError
from knn_metric.files import read_text

# Where serving.yaml has another name for a type than numpy.
NUMPY_NAMES = {"double": "float64", "float": "float32", "string": "str"}
YAML_NAMES = {numpy_name: name for name, numpy_name in NUMPY_NAMES.items()}
TYPES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 str".split()
CODE_PROFILES = ("categorical", "nominal", "ordinal")
NUMBER_PROFILES = ("numerical", "continuous", "interval", "ratio")
PROFILES = ("none", *CODE_PROFILES, *NUMBER_PROFILES, "image", "video", "audio", "text")


@dataclass(frozen=True)
class Field:
    """An input or output of the function."""

    name: str
    type: str  # as serving.yaml has it: 'int64', 'double', ...
    dims: tuple[int, ...] = ()  # the shape, empty for a scalar; -1 for any length
    profile: str = "none"  # what the numbers are: 'numerical', 'categorical', ...

    @property
    def numpy_type(self) -> Any:
        return np.dtype(NUMPY_NAMES.get(self.type, self.type)).type

    @property
    def is_number(self) -> bool:
        """Whether it is a scalar that a metric can take."""
        return not self.dims and self.numpy_type is not np.str_

    @property
    def holds_codes(self) -> bool:
        """Whether the numbers are codes of categories."""
        return self.profile in CODE_PROFILES

    @property
    def shape(self) -> list[int] | str:
        """The shape as serving.yaml has it."""
        return list(self.dims) or "scalar"

    @property
    def definition(self) -> dict[str, Any]:
        """What serving.yaml has under the field's name."""
        profile = {} if self.profile == "none" else {"profile": self.profile}
        return {"shape": self.shape, "type": self.type, **profile}


@dataclass(frozen=True)
class Contract:
    """What serving.yaml says of a package."""

    name: str  # of the model
    runtime: str  # the image that the function runs in
    payload: tuple[str, ...]  # files and folders to upload
    install_command: str | None
    training_data: str | None
    function: str  # its name in func_main
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.inputs)

    def find_other_fields(self, features: Sequence[str]) -> str:
        """Return what is wrong with an artifact of some features beside this contract, or ''."""
        names = self.input_names
        if list(features) == list(names):
            return ""
        parts = {
            "it lacks": [name for name in names if name not in features],
            "serving.yaml lacks": [name for name in features if name not in names],
        }
        differences = "; ".join(f"{what} {', '.join(own)}" for what, own in parts.items() if own)
        return (
            "was trained on other fields than serving.yaml has: train again"
            f" ({differences or 'the same ones are in another order'})"
        )

    def require_numbers(self) -> None:
        """Raise UserError if an input is none that a metric can take."""
        for one in self.inputs:
            if not one.is_number:
                raise UserError(
                    f"input {one.name} is {one.shape} {one.type}, and a metric takes scalar"
                    " numbers: `knn-metric new` writes its package without it"
                )

    def name_kinds(self, names: Iterable[str]) -> dict[str, str]:
        """Return numpy's name of each field's type; a double where the contract has no such."""
        kinds = {field.name: np.dtype(field.numpy_type).name for field in self.inputs}
        return {name: kinds.get(name, "float64") for name in names}

    @classmethod
    def read(cls, folder: Path, runtime: str | None = None) -> Contract:
        """Read the serving.yaml of a package's folder, or one that is named itself.

        A runtime that is given replaces the one that is read. A UserError says what is missing,
        malformed, or of a type that the platform does not know.
        """
        path = folder if folder.is_file() else folder / "serving.yaml"
        if not path.exists():
            raise UserError(f"{path} is not there: name the folder of a package")
        text = read_text(path)
        try:
            return _parse(yaml.load(text, _Loader), runtime)
        except KeyError as error:
            raise UserError(f"{path} cannot be read: it has no {error.args[0]}") from error
        except (yaml.YAMLError, AttributeError, RecursionError, TypeError, ValueError) as error:
            problem = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"{path} cannot be read: {problem}") from error


class _Loader(yaml.SafeLoader):
    """Takes each scalar for the text that it is, as a field may be named no or 12."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (as yaml has it)
        first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key, times in Counter(key.value for key in keys).items():
            if times > 1:
                raise ValueError(f"{key} stands twice")
        for one in keys:
            if not one.tag.endswith(":merge"):
                one.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


def _parse(definition: Any, runtime: str | None) -> Contract:
    if not isinstance(definition, dict):
        raise ValueError("it holds no fields by name")
    definition = {"install-command": None, "training-data": None, **definition}
    payload = _take(definition, "payload", list)
    for entry in payload:
        if Path(entry).is_absolute() or ".." in Path(entry).parts:
            raise ValueError(f"payload: {entry} is outside the package")
    signature = _take(definition, "contract", dict)
    inputs, outputs = (
        tuple(_parse_field(*one) for one in (_take(signature, side, dict, None) or {}).items())
        for side in ("inputs", "outputs")
    )
    return Contract(
        _take(definition, "name", str),
        runtime or _take(definition, "runtime", str),
        tuple(payload),
        _take(definition, "install-command", str, None),
        _take(definition, "training-data", str, None),
        _take(signature, "name", str),
        inputs,
        outputs,
    )


def _take(mapping: dict[str, Any], key: str, kind: type, *others: None) -> Any:
    value = mapping[key]
    if not isinstance(value, kind) and value not in others:
        raise ValueError(f"{key} is {value!r}, expected a {kind.__name__}")
    return value


def _parse_field(name: str, field: dict[str, Any]) -> Field:
    shape = [] if field["shape"] == "scalar" else field["shape"]
    if not isinstance(shape, list):
        raise ValueError(f"{name} has shape {shape!r}, expected scalar or a list")
    parsed = Field(name, field["type"], tuple(map(int, shape)), field.get("profile") or "none")
    if parsed.profile not in PROFILES:
        expected = ", ".join(PROFILES)
        raise ValueError(f"{name} has profile {parsed.profile!r}, expected one of {expected}")
    if NUMPY_NAMES.get(parsed.type, parsed.type) not in TYPES:
        names = [*(kind for kind in TYPES if kind not in NUMPY_NAMES.values()), *NUMPY_NAMES]
        raise ValueError(f"{name} has type {parsed.type!r}, expected one of {', '.join(names)}")
    return parsed


def lost_by_sonar(names: Iterable[str]) -> list[str]:
    """Say which fields or metrics have names that sonar's database takes for a path."""
    lost = "has a dot or begins with $: sonar loses every request with such a name"
    return [f"{name} {lost}" for name in names if "." in name or name.startswith("$")]
