"""The payload of a package: which files it is, copied as hs packs them, and what is wrong."""

import os
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from knn_metric.contract import Contract
from knn_metric.detection.detectors import load_detector
from knn_metric.files import artifact_path, command, copy_file, make_readable, shorten, temporary
from knn_metric.platform.metrics import describe_artifact
from knn_metric.platform.releases import generation_of_image

# Bytes that the manager takes in a request, and what is kept for its other parts.
UPLOAD_LIMITS = {2: 1_073_741_824, 3: 200_000_000}
OTHER_PARTS = 1_000_000
# What versions, editors and keys leave in folders, which is nobody's business.
PRIVATE = re.compile(
    r"\.(git|hg|svn|ssh|aws|kube|docker|gnupg|netrc|npmrc|pypirc|pgpass)|_netrc|\.git-credentials|"
    r"\.env(rc|\..*)?|.*\.env|.*\.sw[a-p]|.*~|#.*#|.*\.(pem|key|p12|pfx|jks|keystore|kdbx|ppk)|"
    r"id_(rsa|dsa|ecdsa|ed25519)(\..*)?|.*credentials(\.(json|ya?ml|ini|csv))?",
    re.IGNORECASE,
)


class Payload:
    """The files of a package that its payload names, without what Python wrote beside."""

    def __init__(self, folder: Path, entries: Iterable[str]) -> None:
        self.root = os.path.realpath(folder)
        self.files: dict[str, Path] = {}  # by the name within the package
        self.problems: list[str] = []  # why something that is named is not among them
        self.entries = [Path(entry) for entry in dict.fromkeys(entries)]
        for entry in self.entries:
            if not entry.parts:
                self.problems.append(f"'{entry}' is the whole package: name files and folders")
            elif not os.path.lexists(folder / entry):
                self.problems.append(describe_missing(folder, str(entry)))
            else:
                self._visit(folder / entry, str(entry), ())

    def _visit(self, path: Path, name: str, parents: tuple[str, ...]) -> None:
        """Take a file, or what lies in a folder; a link counts as what it leads to."""
        real = os.path.realpath(path)
        problem = ""
        leads_to = Path(os.path.relpath(real, self.root))
        if any(map(PRIVATE.fullmatch, (*Path(name).parts, *leads_to.parts))):
            problem = "is private or a leftover, and would be uploaded"
        elif os.path.commonpath([self.root, real]) != self.root:
            problem = "is a link out of the package"
        elif real in (self.root, *parents):
            problem = "is a link to a folder that it lies in"
        elif path.is_dir():
            for inside in sorted(path.iterdir()):
                if inside.name != "__pycache__":
                    self._visit(inside, f"{name}/{inside.name}", (*parents, real))
        elif not path.is_file():
            problem = "is no regular file"
        elif path.name.startswith("."):
            problem = "begins with a dot, and the platform leaves it out"
        else:
            self.files[name] = path
        if problem:
            self.problems.append(f"{name} {problem}")

    def copy(self, to: Path, flat: bool = False) -> None:
        """Copy the files; flat is as hs 2.x packs: each entry under the last part of its path."""
        for name, path in self.files.items():
            entry = next(one for one in self.entries if one in (Path(name), *Path(name).parents))
            copy_file(path, to / (Path(name).relative_to(entry.parent) if flat else name))


def problems_of_payload(folder: Path, contract: Contract, platform: int | None) -> Iterator[str]:
    payload = Payload(folder, contract.payload)
    yield from payload.problems
    yield from _problems_of_training_data(folder, contract)
    limit = UPLOAD_LIMITS[platform or generation_of_image(contract.runtime)]
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w:gz", dereference=True) as tar:
            for name, path in payload.files.items():
                tar.add(path, arcname=name)
        size = file.tell()
    if size > limit - OTHER_PARTS:
        yield f"{size:,} bytes packed, and the manager takes {limit:,} with the request's rest"


def _problems_of_training_data(folder: Path, contract: Contract) -> Iterator[str]:
    """Say why the platform could not hold live requests against the file that is uploaded."""
    data = contract.training_data
    if data is None or "://" in data:
        return
    if not (folder / data).is_file():
        yield f"training-data {describe_missing(folder, data)}"
        return
    with (folder / data).open("rb") as file:
        header = file.readline().decode("utf-8", "replace").strip().split(",")
    fields = [field.name for field in (*contract.inputs, *contract.outputs)]
    if header != fields:
        # What is in the file may be nobody's business.
        yield f"training-data {data} does not begin with {','.join(fields)}"


def describe_missing(folder: Path, entry: str) -> str:
    """Say what makes a missing file: the package's own train.py, or `train` for a metric."""
    if Path(entry).suffix not in (".joblib", ".csv", ".json"):
        return f"{entry} is missing"
    script = folder / "train.py"
    line = f"`python {shorten(script)}`" if script.exists() else command("train", folder)
    return f"{entry} is missing: {line} makes it"


@contextmanager
def staging(folder: Path, contract: Contract) -> Iterator[Path]:
    """Yield a copy of what is uploaded, its serving.yaml with what `attach` asks as metadata.

    It lies in the package's folder, where hs still finds the repository that it describes.
    """
    definition = yaml.safe_load((folder / "serving.yaml").read_text(encoding="utf-8"))
    # What YAML takes for a truth or a number is a name.
    definition |= {"name": contract.name, "runtime": contract.runtime}
    definition["payload"] = list(contract.payload)
    definition["contract"] = {
        "name": contract.function,
        "inputs": {field.name: field.definition for field in contract.inputs},
        "outputs": {field.name: field.definition for field in contract.outputs},
    }
    if contract.training_data and "://" not in contract.training_data:
        definition["training-data"] = str((folder / contract.training_data).resolve())
    if artifact_path(folder).exists():
        described = describe_artifact(folder, load_detector(folder))
        definition["metadata"] = {**(definition.get("metadata") or {}), **described}
    with temporary(folder / "upload", Path.mkdir) as staged:
        Payload(folder, contract.payload).copy(staged)
        text = yaml.safe_dump(definition, sort_keys=False, allow_unicode=True)
        (staged / "serving.yaml").write_text(text, encoding="utf-8")
        for path in staged.rglob("*"):
            make_readable(path)
        yield staged
