"""UCI's census income ("Adult") data: the format of its files, and the encoding of its fields.

Source: Becker, B. & Kohavi, R. (1996), Adult, UCI Machine Learning Repository,
doi 10.24432/C5XW20, licence CC BY 4.0. The encoding is the one that reproduces the threshold
Hydrosphere published for this metric, 4.236688464332743, to the last digit.
"""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from knn_metric.cli import SAMPLE, UserError
from knn_metric.data.sources import kind_of, name_of, opening
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
    records = []
    for position, line in enumerate(content.decode("utf-8", "replace").split("\n"), start=1):
        if line.strip() and not line.startswith("|"):
            record = tuple(field.strip() for field in line.strip().rstrip(".").split(","))
            if problem := next(_find_problems(record), None):
                raise UserError(f"{path}:{position}: {problem}")
            records.append(record)
    if not records:
        raise UserError(f"{path}: no rows")
    return records


def _find_problems(record: Sequence[str]) -> Iterator[str]:
    if record[0].lower() == COLUMNS[0]:
        yield "a header, which UCI's file has none of: delete this line"
    if len(record) != len(COLUMNS):
        yield f"expected {len(COLUMNS)} columns, got {len(record)}"
    for name, field in zip(COLUMNS, record, strict=False):
        if name in CATEGORIES:
            if field not in CATEGORIES[name]:
                yield f"unknown {name} {field!r}"
        elif not (field.isascii() and field.isdigit() and len(field) < 10):
            yield f"{name} must be a whole number below 1,000,000,000, got {field!r}"


# What UCI's numbers reach from and to, with room: columns in another order leave it.
RANGES = {"age": (15, 120), "education_num": (1, 16), "hours_per_week": (1, 168)}
RANGES |= {"capital_gain": (0, 999_999), "capital_loss": (0, 9_999)}


def encode(
    records: Sequence[Sequence[str]], source: str
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return `FEATURES` of raw fields as the contract's inputs carry them; and raw amounts."""
    columns = dict(zip(COLUMNS, zip(*records, strict=True), strict=True))
    numbers = {name: np.array(columns[name], np.int64) for name in RANGES}
    odd = [
        f"{name} is from {column.min():,} to {column.max():,}, expected {low:,} to {high:,}"
        for (name, column), (low, high) in zip(numbers.items(), RANGES.values(), strict=True)
        if column.min() < low or column.max() > high
    ]
    if odd:
        print(f"{source}: {'; '.join(odd)}: are the columns in UCI's order?", file=sys.stderr)
    codes = dict(numbers)
    for name, high in HIGH_ABOVE.items():
        amounts = numbers[name]
        codes[name] = np.select([amounts == 0, amounts <= high], [NONE, LOW], HIGH)
    for name, known in CATEGORIES.items():
        codes[name] = np.array([known[field] for field in columns[name]])
    values = np.column_stack([codes[name] for name in FEATURES]).astype(np.float64)
    return values, {name: numbers[name].astype(np.float64) for name in HIGH_ABOVE}


def name_path(path: Path) -> str:
    return f"./{path.name}" if path.name in ("uci", SAMPLE) else name_of(path.name)


def is_census(data: str) -> bool:
    """Tell whether data are UCI's file, the sample, or a file that begins with UCI's 15 cells."""
    if data in ("uci", SAMPLE):
        return True
    if not Path(data).is_file() or kind_of(data) not in (None, "csv"):
        return False
    with open(data, "rb") as file:
        lines = [file.readline(10_000).decode("utf-8", "replace") for _ in range(10)]
    first = next((line for line in lines if line.strip() and not line.startswith("|")), "")
    cells = [cell.strip() for cell in first.lower().split(",")]
    is_row = cells[1:2] and cells[1] in map(str.lower, CATEGORIES["workclass"])
    return len(cells) == len(COLUMNS) and (is_row or cells[:3] == [*COLUMNS[:3]])


def read_content(data: str) -> tuple[bytes, Path]:
    """Return the content and the path of a file in UCI's format; UCI's own is downloaded once."""
    path = {"uci": UCI_PATH, SAMPLE: SAMPLE_PATH}.get(data, Path(data))
    is_new = data == "uci" and not path.exists()
    url, advice = str(path), "delete it to download it again"
    if is_new:
        url, advice = UCI_URL, "name another file with --data path/to/adult.data, or --data sample"
    try:
        with opening(url) as file:
            parts = tqdm(
                iter(partial(file.read, 2**16), b""), path.name, disable=not is_new or None
            )
            content = b"".join(parts)
        sha256 = hashlib.sha256(content).hexdigest()
        if data == "uci" and sha256 != UCI_SHA256:
            raise UserError(f"{url}: SHA-256 {sha256}, expected {UCI_SHA256}")
    except UserError as error:
        if data != "uci":
            raise
        raise UserError(f"{error}: {advice}") from error
    if is_new:
        with replacing_file(path) as new:
            new.write_bytes(content)
    return content, path
