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
    dumped = yaml.safe_dump(described, sort_keys=False, allow_unicode=True)
    template = (ROOT / "serving.yaml").read_text(encoding="utf-8")
    line = yaml.safe_dump({"name": name}, allow_unicode=True).strip()
    named = re.sub("^name: .*$", lambda _: line, template, flags=re.MULTILINE)
    block = textwrap.indent(dumped, "  ")
    text = re.sub(r"^  inputs:\n(?:    .*\n)+", lambda _: block, named, flags=re.MULTILINE)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src", folder / "src", ignore=ignore)
    copy_file(ROOT / "requirements.txt", folder / "requirements.txt")
    with replacing_file(folder / "serving.yaml") as new:
        new.write_text(text, encoding="utf-8")
