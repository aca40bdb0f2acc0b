"""UCI's census income ("Adult") data: the format of its files, and the encoding of its fields.

Source: Becker, B. & Kohavi, R. (1996), Adult, UCI Machine Learning Repository,
doi 10.24432/C5XW20, licence CC BY 4.0. The encoding is the one that reproduces the threshold
Hydrosphere published for this metric, 4.236688464332743, to the last digit.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import requests
from tqdm import tqdm

from knn_metric.cli import UserError
from knn_metric.data.rows import Rows
from knn_metric.data.sources import kind_of
from knn_metric.files import ROOT, replacing_file

UCI_PATH = ROOT / "data" / "adult.data"
SAMPLE_PATH = ROOT / "data" / "census_sample.csv"
UCI_URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/adult/adult.data"
UCI_SHA256 = "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d"

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
IS_CODE = tuple(name not in NUMBERS for name in FEATURES)
# What each code stands for; a code may stand for several categories.
LABELS = CATEGORIES | {
    name: {f"above {amount:,}": HIGH, "low": LOW, "none": NONE}
    for name, amount in HIGH_ABOVE.items()
}

# Ways in which a pipeline of census rows breaks, in the vocabulary of corruptions, and what each
# stands for in practice.
CORRUPTIONS = {
    "age-in-months": ("scale:age:12", "a unit changes"),
    "hours-per-month": (f"scale:hours_per_week:{52 / 12}", "a unit changes"),
    "age-missing": ("fill:age:0", "a default of 0"),
    "age-hours-swapped": ("swap:age:hours_per_week", "two fields change places"),
    "country-shuffled": ("shuffle:country", "a join gone wrong"),
    "gain-in-dollars": ("raw:capital_gain", "a step left out: amounts, not codes"),
    "classes-flipped": ("flip:classes", "the model's answers change meaning"),
    "classes-constant": ("fill:classes:1", "the model answers 1 to all"),
    "classes-random": ("random:classes", "the model answers at random"),
    "marital-shuffled": ("shuffle:marital_status", "a join gone wrong"),
    "codes-shifted": ("shift:relationship", "a category is inserted, relationship's codes move"),
    "rows-mixed": ("mix", "a join gone wrong in every column"),
    "codes-zeroed": (
        f"zero-codes:{':'.join(name for name in CATEGORIES if name != 'classes')}",
        "an encoder is fitted anew on every request",
    ),
    "sex-flipped": ("flip:sex", "two codes change places"),
    "country-new": ("fill:country:99", "a code that training never saw"),
}


def read(content: bytes, path: Path | str) -> list[tuple[str, ...]]:
    """Read and check rows in UCI's format, adult.test's comment line and dotted labels included.

    A UserError names the file, the line and the field that is wrong.
    """
    records: list[tuple[str, ...]] = []
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


TIMEOUT = 30  # seconds, to connect and between two blocks
# What UCI's numbers reach from and to, with room: columns in another order leave it.
RANGES = {"age": (15, 120), "education_num": (1, 16), "hours_per_week": (1, 168)}
RANGES |= {"capital_gain": (0, 999_999), "capital_loss": (0, 9_999)}


def encode(records: Sequence[Sequence[str]], source: str, sha256: str) -> Rows:
    """Turn raw fields into the codes that the contract's inputs carry, as `Rows` of `FEATURES`."""
    columns = dict(zip(COLUMNS, zip(*records, strict=True), strict=True))
    if odd := "; ".join(_describe_ranges(columns)):
        print(f"{source}: {odd}: are the columns in UCI's order?", file=sys.stderr)
    codes = [_encode_column(name, columns[name]) for name in FEATURES]
    return Rows(
        names=FEATURES,
        values=np.array(codes, dtype=np.float64).T.copy(),
        is_code=IS_CODE,
        types=("int64",) * len(FEATURES),
        source=source,
        sha256=sha256,
        corruptions=CORRUPTIONS,
        raw={name: np.array(columns[name], dtype=np.float64) for name in HIGH_ABOVE},
        is_published=True,
    )


def _describe_ranges(columns: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Say which columns of numbers cannot be what their name says."""
    for name, (low, high) in RANGES.items():
        numbers = [int(field) for field in columns[name]]
        if min(numbers) < low or max(numbers) > high:
            found = f"{min(numbers):,} to {max(numbers):,}"
            yield f"{name} is from {found}, expected {low:,} to {high:,}"


def _encode_column(name: str, fields: Sequence[str]) -> list[int]:
    if name in CATEGORIES:
        return [CATEGORIES[name][field] for field in fields]
    numbers, high = map(int, fields), HIGH_ABOVE.get(name)
    if high is None:
        return list(numbers)
    return [NONE if n == 0 else LOW if n <= high else HIGH for n in numbers]


def load_census(data: str) -> Rows:
    """Read UCI's file, the sample, or another file in UCI's format; `load_rows` says the rest."""
    content, path = read_content(data)
    sha256 = hashlib.sha256(content).hexdigest()
    return encode(read(content, path), _name_source(path, sha256), sha256)


def is_census(data: str) -> bool:
    """Tell whether data are UCI's file, the sample, or a file that begins with UCI's 15 cells."""
    if data in ("uci", "sample"):
        return True
    if not Path(data).is_file() or kind_of(data) not in (None, "csv"):
        return False
    with open(data, "rb") as file:
        lines = [file.readline(10_000).decode("utf-8", "replace") for _ in range(10)]
    first = next((line for line in lines if line.strip() and not line.startswith("|")), "")
    cells = [cell.strip() for cell in first.split(",")]
    return len(cells) == len(COLUMNS) and (
        cells[1] in CATEGORIES["workclass"] or cells[0].lower() == COLUMNS[0]
    )


def read_content(data: str) -> tuple[bytes, Path]:
    """Return the content and the path of a file in UCI's format."""
    path = {"uci": UCI_PATH, "sample": SAMPLE_PATH}.get(data, Path(data))
    if data == "uci" and not path.exists():
        try:
            download(UCI_URL, path, UCI_SHA256)
        except UserError as error:
            advice = "name another file with --data path/to/adult.data, or --data sample"
            raise UserError(f"{error}: {advice}") from error
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    sha256 = hashlib.sha256(content).hexdigest()
    if data == "uci" and sha256 != UCI_SHA256:
        raise UserError(
            f"{path}: SHA-256 {sha256}, expected {UCI_SHA256}: delete it to download it again"
        )
    return content, path


def _name_source(path: Path, sha256: str) -> str:
    """Name the source by content, so that a copy of the sample is still the sample."""
    if sha256 == UCI_SHA256:
        return "uci"
    if SAMPLE_PATH.exists() and sha256 == hashlib.sha256(SAMPLE_PATH.read_bytes()).hexdigest():
        return "sample"
    return name_path(path)


def name_path(path: Path) -> str:
    return f"./{path.name}" if path.name in ("uci", "sample") else path.name


def download(url: str, path: Path, sha256: str) -> None:
    """Fetch a file and move it into place once its SHA-256 is right; else leave nothing behind."""
    digest = hashlib.sha256()
    try:
        with (
            replacing_file(path) as new,
            requests.get(url, stream=True, timeout=TIMEOUT) as response,
            new.open("wb") as file,
        ):
            response.raise_for_status()
            size = int(response.headers.get("Content-Length", 0)) or None
            with tqdm(total=size, unit="B", unit_scale=True, desc=new.name, disable=None) as bar:
                for block in response.iter_content(65536):
                    file.write(block)
                    digest.update(block)
                    bar.update(len(block))
            if digest.hexdigest() != sha256:
                raise UserError(f"{url}: SHA-256 {digest.hexdigest()}, expected {sha256}")
    except requests.RequestException as error:
        status = getattr(error.response, "status_code", None)
        reason = f"HTTP {status}" if status else type(error).__name__
        raise UserError(f"cannot download {url} ({reason})") from error
