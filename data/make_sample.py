"""Draw data/census_sample.csv: synthetic people, from frequencies measured on the UCI file.

examples:
  python data/make_sample.py                       measure UCI's adult.data, downloaded once
  python data/make_sample.py --data adult.data     measure a file you already have
"""

import sys
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from knn_metric import cli, files
from knn_metric.data import census
from knn_metric.data.census import read_content

Record = tuple[str, ...]
# Each column is drawn given the columns beside it, the most telling first; the last ones are left
# out where fewer than FEWEST UCI rows share them all. STEPS groups numbers that are given.
GIVEN: dict[str, tuple[str, ...]] = {
    "relationship": (),
    "sex": ("relationship",),
    "marital_status": ("relationship", "sex"),
    "age": ("marital_status", "relationship", "sex"),
    "country": (),
    "race": ("country", "relationship"),
    "education": ("age", "country", "sex"),
    "occupation": ("education", "sex", "age"),
    "workclass": ("occupation", "age", "education"),
    "hours_per_week": ("age", "occupation", "sex", "workclass"),
    "classes": ("marital_status", "education", "age", "hours_per_week", "occupation"),
    "capital_gain": ("classes", "age", "education"),
    "capital_loss": ("classes", "capital_gain", "age"),
    "education_num": ("education",),
    "fnlwgt": ("race", "sex"),
}
STEPS = {"age": 5, "hours_per_week": 10, "capital_gain": 5000, "capital_loss": 1000}
FEWEST = 30


@cli.entry
def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.Parser(__doc__, prog="make_sample.py")
    option = parser.add_argument
    what = "a file in UCI's format (default: uci, which is downloaded once)"
    option("--data", default="uci", metavar="PATH", help=what)
    parser.number("--rows", int, 1, 1_000_000, default=7000, help="people to draw")
    parser.number("--seed", int, 0, 2**32 - 1, default=0, help="of the draws")
    option("--out", type=Path, default=census.SAMPLE_PATH, help="file to write")
    arguments = parser.parse_args(argv)
    real = census.read(*read_content(arguments.data))
    people = draw_people(real, arguments.rows, np.random.default_rng(arguments.seed))
    with files.replacing_file(arguments.out) as new:
        new.write_text("".join(", ".join(person) + "\n" for person in people))
    print(f"{len(people)} synthetic people in {arguments.out}")


def draw_people(real: Sequence[Record], count: int, random: np.random.Generator) -> list[Record]:
    """Draw people column by column, none of whom equals a row of `real`."""
    frequencies: dict[str, dict[Record, list[str]]] = {name: defaultdict(list) for name in GIVEN}
    for record in real:
        person = dict(zip(census.COLUMNS, record, strict=True))
        for name, values in frequencies.items():
            key = group(name, person)
            for depth in range(len(key) + 1):
                values[key[:depth]].append(person[name])
    draws = (draw_person(frequencies, random) for _ in range(10 * count))
    known = set(real)
    new = (person for person in draws if person not in known)
    people = list(tqdm(islice(new, count), "drawing", count, disable=None, leave=False))
    if len(people) < count:
        raise cli.UserError(f"{len(real)} rows are too few to draw {count} other people from")
    return people


def group(name: str, person: dict[str, str]) -> Record:
    """Return what a person has in the columns that `name` is drawn given."""
    steps = {one: STEPS.get(one) for one in GIVEN[name]}
    return tuple(str(int(person[one]) // by) if by else person[one] for one, by in steps.items())


def draw_person(
    frequencies: dict[str, dict[Record, list[str]]], random: np.random.Generator
) -> Record:
    person: dict[str, str] = {}
    for name, values in frequencies.items():
        key = group(name, person)
        while key and len(values.get(key, ())) < FEWEST:
            key = key[:-1]
        person[name] = values[key][random.integers(len(values[key]))]
    # UCI's weights are close to fingerprints of their rows, and the encoding does not use them.
    person["fnlwgt"] = str(round(int(person["fnlwgt"]), -3))
    return tuple(person[name] for name in census.COLUMNS)


if __name__ == "__main__":
    sys.exit(main())
