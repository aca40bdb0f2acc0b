"""The package of a metric, written for the fields of a model."""

import re
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from knn_metric.cli import UserError
from knn_metric.contract import Field
from knn_metric.files import ROOT, copy_file, replacing_file


def select_inputs(fields: Iterable[Field]) -> tuple[list[Field], list[str]]:
    """Return the fields that a metric can take, and why each other one is left out."""
    inputs: dict[str, Field] = {}
    left_out = []
    for field in fields:
        if not field.is_number:
            left_out.append(f"{field.name}: a metric cannot take {field.shape} {field.type}")
        elif field.name in inputs:
            left_out.append(f"{field.name}, the answer: an input has this name")
        else:
            inputs[field.name] = field
    return list(inputs.values()), left_out


def write_package(folder: Path, name: str, inputs: Sequence[Field]) -> None:
    """Write a package that is ready to train; raise UserError if it has no inputs or is there."""
    if not inputs:
        raise UserError("the model has no scalar numbers, and a metric takes nothing else")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder} is there already: name a new folder, or an empty one")
    described = {"inputs": {field.name: field.definition for field in inputs}}
    line, block = (
        yaml.safe_dump(one, sort_keys=False, allow_unicode=True)
        for one in ({"name": name}, described)
    )
    text = (ROOT / "serving.yaml").read_text(encoding="utf-8")
    text = re.sub("(?m)^name: .*\n", lambda _: line, text)
    text = re.sub(r"(?m)^  inputs:\n(?:    .*\n)+", lambda _: textwrap.indent(block, "  "), text)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    copy_file(ROOT / "requirements.txt", folder / "requirements.txt")
    with replacing_file(folder / "serving.yaml") as new:
        new.write_text(text, encoding="utf-8")
