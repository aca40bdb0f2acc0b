"""The UCI census income ("Adult") data set: fetch, read and encode it.

Source: Becker, B. & Kohavi, R. (1996), Adult, UCI Machine Learning Repository,
doi 10.24432/C5XW20, licence CC BY 4.0. The encoding is the one that reproduces the threshold
Hydrosphere published for this metric, 4.236688464332743, to the last digit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten as shorten_text

from lib.command import ROOT, UserError, replacing, shorten

import numpy as np
import requests
from tqdm import tqdm

UCI_PATH = ROOT / "data" / "adult.data"
SAMPLE_PATH = ROOT / "data" / "census_sample.csv"
UCI_URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/adult/adult.data"
UCI_SHA256 = "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d"
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
HIGH, LOW, NONE = range(3)  # codes of an amount; none is 2
FEATURES = tuple(name for name in COLUMNS if name not in ("fnlwgt", "education_num"))
NUMBERS = ("age", "hours_per_week")  # all other features are codes


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


def load(data: str) -> Census:
    """Read a data file, downloading UCI's if it is asked for and not there.

    Parameters
    ----------
    data : str
        ``'uci'`` for data/adult.data, ``'sample'`` for data/census_sample.csv, or a path.

    Raises
    ------
    UserError
        If the file cannot be fetched, verified or read.
    """
    if data == "uci" and not UCI_PATH.exists():
        try:
            download(UCI_URL, UCI_PATH, UCI_SHA256)
        except UserError as error:
            raise UserError(
                f"{error}; save it as {shorten(UCI_PATH)}, or name another file with"
                " --data=path/to/adult.data, or --data=sample"
            ) from error
    path = {"uci": UCI_PATH, "sample": SAMPLE_PATH}.get(data, Path(data))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    sha256 = hashlib.sha256(content).hexdigest()
    if data == "uci" and sha256 != UCI_SHA256:
        raise UserError(
            f"{path}: SHA-256 {sha256}, expected {UCI_SHA256}: delete it to download it again"
        )
    return Census(read(content, path), _name_source(path, sha256), sha256)


def _name_source(path: Path, sha256: str) -> str:
    """Name the source by content, so that a copy of the sample is still the sample."""
    if sha256 == UCI_SHA256:
        return "uci"
    if SAMPLE_PATH.exists() and sha256 == hashlib.sha256(SAMPLE_PATH.read_bytes()).hexdigest():
        return "sample"
    return f"./{path.name}" if path.name in ("uci", "sample") else path.name


def download(url: str, path: Path, sha256: str) -> None:
    """Fetch a file and move it into place once its SHA-256 is right.

    Raises
    ------
    UserError
        If the server cannot be reached, or sends something else; nothing is left behind.
    """
    try:
        with replacing(path) as new:
            received = _fetch(url, new)
            if received != sha256:
                raise UserError(f"{url}: SHA-256 {received}, expected {sha256}: not the UCI file")
    except requests.RequestException as error:
        status = getattr(error.response, "status_code", None)
        reason = f"HTTP {status}" if status else type(error).__name__
        raise UserError(f"cannot download {url} ({reason})") from error


def _fetch(url: str, path: Path) -> str:
    digest = hashlib.sha256()
    with requests.get(url, stream=True, timeout=TIMEOUT) as response, path.open("wb") as file:
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
    UserError
        Names the file, the line and the field that is wrong.
    """
    records = []
    for position, line in enumerate(content.decode("utf-8", "replace").split("\n"), start=1):
        if line.strip() and not line.startswith("|"):
            fields = tuple(field.strip() for field in line.strip().rstrip(".").split(","))
            problem = _problem(fields, is_first=not records)
            if problem:
                raise UserError(f"{path}:{position}: {problem}")
            records.append(fields)
    if not records:
        raise UserError(f"{path}: no rows")
    return records


def _problem(fields: Sequence[str], is_first: bool) -> str | None:
    if is_first and fields[0].lower() == COLUMNS[0]:
        return "a header, which UCI's file has none of: delete this line"
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


def describe_code(name: str, code: float) -> str:
    """Put a feature's number into words: ``'4 Private'``; a number stays as it is."""
    if name in NUMBERS:
        return f"{code:.15g}"
    names = _names_of_codes(name).get(code, ["unknown"])
    return f"{code:.15g} {shorten_text(', '.join(names), 32, placeholder=' ...')}"


def _names_of_codes(name: str) -> dict[int, list[str]]:
    if name in HIGH_ABOVE:
        return {HIGH: [f"above {HIGH_ABOVE[name]:,}"], LOW: ["low"], NONE: ["none"]}
    names: dict[int, list[str]] = {}
    for category, code in CATEGORIES[name].items():
        names.setdefault(code, []).append(category)
    return names
