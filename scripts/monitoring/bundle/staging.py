"""The package as it is uploaded, laid out in a folder: with the artifact of either distance."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from monitoring.bundle.payload import copy_payload
from monitoring.cli import UserError
from monitoring.contract import Contract
from monitoring.detection.detectors import load_detector
from monitoring.files import ARTIFACT, PUBLISHED, artifact_path, copy_file
from monitoring.hydrosphere.manager import describe_artifact


def model_name(folder: Path, distance: str = PUBLISHED) -> str:
    """Return the name of a package's model, which is that of its metric too."""
    name = Contract.read(folder).name
    return name if distance == PUBLISHED else f"{name}_{distance}"


@contextmanager
def staging(folder: Path, distance: str) -> Iterator[Path]:
    """Yield a package that has the artifact of a distance: the folder itself, or a copy."""
    if distance == PUBLISHED:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix=".upload-", dir=folder) as staged:
        stage(folder, Path(staged), distance)
        yield Path(staged)


def stage(
    folder: Path, staged: Path, distance: str = PUBLISHED, runtime: str | None = None
) -> None:
    """Copy what is uploaded, with the image and what `make metric` asks about in serving.yaml.

    Within the package's folder hs still finds the repository that it describes.

    Raises
    ------
    UserError
        If there is no artifact of another distance than the published one.
    """
    definition = yaml.safe_load((folder / "serving.yaml").read_text(encoding="utf-8"))
    copy_payload(folder, definition["payload"], staged)
    definition["name"] = model_name(folder, distance)
    if runtime:
        definition["runtime"] = runtime
    training_data = definition.get("training-data")
    if training_data and "://" not in training_data:
        definition["training-data"] = str((folder / training_data).resolve())
    artifact = artifact_path(folder, distance)
    if artifact.exists():
        copy_file(artifact, staged / ARTIFACT)
        described = describe_artifact(artifact, load_detector(artifact))
        definition["metadata"] = {**(definition.get("metadata") or {}), **described}
    elif distance != PUBLISHED:
        raise UserError(f"{artifact}: No such file: `make train DISTANCE={distance}` makes it")
    (staged / "serving.yaml").write_text(yaml.safe_dump(definition, sort_keys=False))
