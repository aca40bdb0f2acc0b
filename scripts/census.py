"""The UCI census income ("Adult") data set: fetch, read, encode and split it.

Source: Becker, B. & Kohavi, R. (1996), Adult, UCI Machine Learning Repository,
doi 10.24432/C5XW20, licence CC BY 4.0. The encoding is the one that reproduces the threshold
Hydrosphere published for this metric, 4.236688464332743, to the last digit.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import requests
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
UCI_PATH = ROOT / "data" / "adult.data"
SAMPLE_PATH = ROOT / "data" / "census_sample.csv"
UCI_URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/adult/adult.data"
UCI_SHA256 = "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d"
TEST_SIZE, SEED = 0.2, 0  # the split behind the published figures
TIMEOUT = 30  # seconds, to connect and between two blocks

COLUMNS = tuple(
    "age workclass fnlwgt education education_num marital_status occupation relationship race sex"
    " capital_gain capital_loss hours_per_week country classes".split()
)


def _number_groups(groups: str) -> dict[str, int]:
    """Map each category to the position of its group; spaces part categories, bars groups."""
    return {name: code for code, group in enumerate(groups.split("|")) for name in group.split()}


CATEGORIES = {
    "workclass": _number_groups(
        "? | Federal-gov | Local-gov | Never-worked | Private | Self-emp-inc | Self-emp-not-inc"
        " | State-gov | Without-pay"
    ),
    "education": _number_groups(
        "Assoc-acdm Assoc-voc | Bachelors | Doctorate"
        " | Preschool 1st-4th 5th-6th 7th-8th 9th 10th 11th 12th"
        " | HS-grad Some-college | Masters | Prof-school"
    ),
    "marital_status": _number_groups(
        "Married-AF-spouse Married-civ-spouse | Never-married"
        " | Divorced Married-spouse-absent Separated | Widowed"
    ),
    "occupation": _number_groups(
        "? | Adm-clerical"
        " | Craft-repair Farming-fishing Handlers-cleaners Machine-op-inspct Transport-moving"
        " | Armed-Forces | Protective-serv Tech-support | Prof-specialty | Sales"
        " | Other-service Priv-house-serv | Exec-managerial"
    ),
    "relationship": _number_groups(
        "Husband | Not-in-family | Other-relative | Own-child | Unmarried | Wife"
    ),
    "race": _number_groups("Amer-Indian-Eskimo | Asian-Pac-Islander | Black | Other | White"),
    "sex": _number_groups("Female | Male"),
    "country": _number_groups(
        "? | Canada England India Ireland Scotland | China Hong Taiwan"
        " | France Germany Holand-Netherlands Italy | Greece Hungary Poland Portugal South"
        " | Dominican-Republic Guatemala Haiti Honduras Jamaica Mexico Nicaragua"
        " Outlying-US(Guam-USVI-etc) Puerto-Rico Trinadad&Tobago"
        " | Cuba Iran Japan | Cambodia Laos Philippines Thailand Vietnam"
        " | Columbia Ecuador El-Salvador Peru | United-States | Yugoslavia"
    ),
    "classes": _number_groups("<=50K | >50K"),
}
# Above the median of the positive amounts in adult.data, in dollars, an amount counts as high.
HIGH_ABOVE = {"capital_gain": 7298, "capital_loss": 1887}
NONE, LOW, HIGH = 2, 1, 0
FEATURES = tuple(name for name in COLUMNS if name not in ("fnlwgt", "education_num"))


class DataError(Exception):
    """The data cannot be had or read; the message is one line for the user."""


@dataclass(frozen=True)
class Census:
    """A data file, read.

    Attributes
    ----------
    records : list of tuple of str, length n
        The raw fields of each row, in the order of `COLUMNS`.
    source : str
        ``'uci'``, ``'sample'`` or the name of another file.
    sha256 : str
        Of the file, in hexadecimal.
    """

    records: list[tuple[str, ...]]
    source: str
    sha256: str


def load(data: str = "uci") -> Census:
    """Read a data file, downloading UCI's if it is asked for and not there.

    Parameters
    ----------
    data : str
        ``'uci'`` for data/adult.data, ``'sample'`` for data/census_sample.csv, or a path.

    Raises
    ------
    DataError
        If the file cannot be fetched, verified or read.
    """
    if data == "uci" and not UCI_PATH.exists():
        download(UCI_URL, UCI_PATH, UCI_SHA256)
    path = {"uci": UCI_PATH, "sample": SAMPLE_PATH}.get(data, Path(data))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    sha256 = hashlib.sha256(content).hexdigest()
    if data == "uci" and sha256 != UCI_SHA256:
        raise DataError(
            f"{path}: SHA-256 {sha256}, expected {UCI_SHA256}: delete it to download it again"
        )
    return Census(read(content, path), _name_source(path, sha256), sha256)


def _name_source(path: Path, sha256: str) -> str:
    """Name the source by content, so that a copy of the sample is still the sample."""
    if sha256 == UCI_SHA256:
        return "uci"
    if SAMPLE_PATH.exists() and sha256 == hashlib.sha256(SAMPLE_PATH.read_bytes()).hexdigest():
        return "sample"
    return path.name


def download(url: str, path: Path, sha256: str) -> None:
    """Fetch a file and move it into place once its SHA-256 is right.

    Raises
    ------
    DataError
        If the server cannot be reached, or sends something else; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            received = _fetch(url, file)
        if received != sha256:
            raise DataError(f"{url}: SHA-256 {received}, expected {sha256}: not the UCI file")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except requests.RequestException as error:
        status = getattr(error.response, "status_code", None)
        reason = f"HTTP {status}" if status else type(error).__name__
        raise DataError(
            f"cannot download {url} ({reason}): save the file as {path}, or train on the sample"
        ) from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def _fetch(url: str, file) -> str:
    digest = hashlib.sha256()
    with requests.get(url, stream=True, timeout=TIMEOUT) as response:
        response.raise_for_status()
        size = int(response.headers.get("Content-Length", 0)) or None
        with tqdm(total=size, unit="B", unit_scale=True, desc="adult.data", disable=None) as bar:
            for block in response.iter_content(65536):
                file.write(block)
                digest.update(block)
                bar.update(len(block))
    return digest.hexdigest()


def read(content: bytes, path: Path | str) -> list[tuple[str, ...]]:
    """Read and check rows in UCI's format, adult.test's comment line and dotted labels included.

    Parameters
    ----------
    content : bytes
        The file.
    path : Path or str
        Its name, for messages.

    Raises
    ------
    DataError
        Names the file, the line and the field that is wrong.
    """
    records = []
    for number, line in enumerate(content.decode("utf-8", "replace").split("\n"), start=1):
        if line.strip() and not line.startswith("|"):
            fields = tuple(field.strip() for field in line.strip().rstrip(".").split(","))
            problem = _find_problem(fields)
            if problem:
                raise DataError(f"{path}:{number}: {problem}")
            records.append(fields)
    if not records:
        raise DataError(f"{path}: no rows")
    return records


def _find_problem(fields: Sequence[str]) -> str | None:
    if len(fields) != len(COLUMNS):
        return f"expected {len(COLUMNS)} columns, got {len(fields)}"
    for name, field in zip(COLUMNS, fields, strict=True):
        if name in CATEGORIES:
            if field not in CATEGORIES[name]:
                return f"unknown {name} {field!r}"
        elif not (field.isascii() and field.isdigit() and len(field) < 10):
            return f"{name} must be a whole number below 1,000,000,000, got {field!r}"
    return None


def encode(records: Sequence[Sequence[str]]) -> np.ndarray:
    """Turn raw fields into the codes that the contract's inputs carry.

    Returns
    -------
    ndarray, shape (n, 13), dtype int64
        One column for each of `FEATURES`.
    """
    columns = dict(zip(COLUMNS, zip(*records, strict=True), strict=True))
    codes = [_encode_column(name, columns[name]) for name in FEATURES]
    return np.array(codes, dtype=np.int64).T.copy()


def _encode_column(name: str, fields: Sequence[str]) -> list[int]:
    if name in CATEGORIES:
        return [CATEGORIES[name][field] for field in fields]
    numbers = [int(field) for field in fields]
    if name in HIGH_ABOVE:
        high = HIGH_ABOVE[name]
        return [NONE if n == 0 else LOW if n <= high else HIGH for n in numbers]
    return numbers


def split(
    rows: np.ndarray, test_size: float = TEST_SIZE, seed: int = SEED
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows at random into a training and a held-out part.

    The same rows in the same order as scikit-learn's ``train_test_split(rows,
    test_size=test_size, random_state=seed)``, which the published figures were made with.

    Parameters
    ----------
    rows : ndarray, shape (n, ...)
    test_size : float
        Share of the held-out part, between 0 and 1; its size is rounded up.
    seed : int
        From 0 to 2**32 - 1.

    Returns
    -------
    training, held_out : ndarray
    """
    order = np.random.RandomState(seed).permutation(len(rows))
    n_held_out = int(np.ceil(test_size * len(rows)))
    return rows[order[n_held_out:]], rows[order[:n_held_out]]


def describe_origin(data: Census, test_size: float, seed: int) -> dict[str, str | float]:
    """Say where the training part of a split came from, for the artifact to keep as `origin_`."""
    return {"source": data.source, "sha256": data.sha256, "test_size": test_size, "seed": seed}


def find_unseen(data: Census, origin: dict[str, str | float]) -> np.ndarray:
    """Return the indices of the rows that a model of that origin did not train on.

    All rows of another file than the model's; of its own the part that its split held out.
    """
    indices = np.arange(len(data.records))
    if data.sha256 != origin["sha256"]:
        return indices
    return split(indices, origin["test_size"], origin["seed"])[1]
