"""What a package installs, held against what its image has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from knn_metric.contract import Contract
from knn_metric.platform.releases import IMAGE, IMAGE_NUMPY, IMAGE_OWNS, LAST_BESIDE_NUMPY


def read_requirements(folder: Path) -> list[str]:
    path = folder / "requirements.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [text for line in lines if (text := line.split("#")[0].strip())]


def problems_of_install(contract: Contract, requirements: list[str]) -> Iterator[str]:
    command = contract.install_command or ""
    if not command.strip().isprintable():
        yield "install-command has a line break or another control character"
    if requirements and "requirements.txt" not in command:
        yield "install-command does not install requirements.txt, which the function needs"
    if requirements and "requirements.txt" not in contract.payload:
        yield "the payload has no requirements.txt, which install-command needs"


def problems_of_requirements(requirements: list[str], runtime: str) -> Iterator[str]:
    image = IMAGE.fullmatch(runtime)
    for text in requirements:
        try:
            yield from _problems_of_requirement(Requirement(text), image[1] if image else None)
        except InvalidRequirement:
            yield f"{text!r} is not a requirement that can be checked"


def _problems_of_requirement(requirement: Requirement, python: str | None) -> Iterator[str]:
    name = canonicalize_name(requirement.name)
    pin = re.fullmatch(r"==([\w.*+!]+)", str(requirement.specifier))
    if name in IMAGE_OWNS:
        yield f"{name} is the image's own and must stay as it is"
    if not pin:
        yield f"{requirement.name} is not pinned: expected ==VERSION, got {requirement.specifier}"
        return
    environment = {"python_version": python or ""}
    if python is None or (requirement.marker and not requirement.marker.evaluate(environment)):
        return
    last = LAST_BESIDE_NUMPY.get(name, {}).get(python)
    if name == "numpy" and pin[1] != IMAGE_NUMPY:
        yield f"numpy {pin[1]} replaces the image's own: expected {IMAGE_NUMPY}"
    elif last and Version(pin[1].rstrip(".*")) > Version(last):
        beside = f"numpy {IMAGE_NUMPY} on Python {python}"
        yield f"{name} {pin[1]} breaks the image: {last} is the last beside {beside}"
