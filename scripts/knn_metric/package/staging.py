"""The package as it is uploaded: a copy whose serving.yaml has the image and the metadata."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from knn_metric.detection.detectors import load_detector
from knn_metric.files import artifact_path
from knn_metric.package.payload import copy_payload
from knn_metric.platform.manager import describe_artifact


@contextmanager
def staging(folder: Path, runtime: str | None = None) -> Iterator[Path]:
    """Yield a copy of what is uploaded, in a folder that is gone afterwards.

    Its serving.yaml has the image, if one is given, and as metadata what `attach` asks about.
    Within the package's folder hs still finds the repository that it describes.
    """
    definition = yaml.safe_load((folder / "serving.yaml").read_text(encoding="utf-8"))
    if runtime:
        definition["runtime"] = runtime
    training_data = definition.get("training-data")
    if training_data and "://" not in training_data:
        definition["training-data"] = str((folder / training_data).resolve())
    artifact = artifact_path(folder)
    if artifact.exists():
        described = describe_artifact(artifact, load_detector(artifact))
        definition["metadata"] = {**(definition.get("metadata") or {}), **described}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".upload-") as name:
        staged = Path(name)
        copy_payload(folder, definition["payload"], staged)
        (staged / "serving.yaml").write_text(yaml.safe_dump(definition, sort_keys=False))
        yield staged
