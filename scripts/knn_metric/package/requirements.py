"""What a package installs, held against what its image has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from knn_metric.contract import Contract
from knn_metric.platform.releases import IMAGE, IMAGE_NUMPY, IMAGE_OWNS, LAST_BESIDE_NUMPY


def read_requirements(path: Path) -> list[Requirement | str]:
    """Return each requirement of a file, or its text where it is none that can be read."""
    lines = path.read_text().splitlines() if path.exists() else []
    texts = [line.split("#")[0].strip() for line in lines]
    return [_parse_requirement(text) for text in texts if text]


def _parse_requirement(text: str) -> Requirement | str:
    try:
        return Requirement(text)
    except InvalidRequirement:
        return text


def problems_of_install(contract: Contract, requirements: list[Requirement | str]) -> Iterator[str]:
    if requirements and "requirements.txt" not in str(contract.install_command):
        yield "install-command does not install requirements.txt, which the function needs"
    if requirements and "requirements.txt" not in contract.payload:
        yield "the payload has no requirements.txt, which install-command needs"


def problems_of_requirements(requirements: list[Requirement | str], runtime: str) -> Iterator[str]:
    image = IMAGE.fullmatch(runtime)
    for requirement in requirements:
        if isinstance(requirement, str):
            yield f"{requirement!r} is not a requirement that can be checked"
        else:
            yield from _problems_of_requirement(requirement, image[1] if image else None)


def _problems_of_requirement(requirement: Requirement, python: str | None) -> Iterator[str]:
    name = re.sub(r"[-_.]+", "-", requirement.name).lower()
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
        yield (
            f"{name} {pin[1]} breaks the image: "
            f"{last} is the last beside numpy {IMAGE_NUMPY} on Python {python}"
        )
