"""What files may hold: of each format the rows that are read, and why others are not."""

import bz2
import gzip
import json
import lzma
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from helpers import WRITERS, read_all
from pyarrow import parquet

from knn_metric.cli import UserError
from knn_metric.data import cells, text
from knn_metric.data.cells import NO_TIME, PROBLEMS, read_numbers
from portable_knn import messages

LONG = "y" * 2_000_000
FAILED = '{"_hs_error": "x"}\n'
LATE = [json.dumps({"age": n} | ({"note": 5} if n > 1500 else {})) for n in range(1600)]
ODD_JSON = ['{"age": 1}', "", '{"age": 3', "[1, 2]", "[" * 100_000, r'{"age": "\ud83d"}']
# Of a file by its name the content; of each row the age, or age and note, or why it is not read.
ROWS = {
    "quotes.csv": ('age,note\n1,"a\n""b"""\n2,6" pipe\n', [(1, 'a\n"b"'), (2, '6" pipe')]),
    "returns.csv": (
        'age,note\r\n1,a\rb\r\n2,"c\rd\r\ne"\r\n3,f\r\n',
        [(1, "a\rb"), (2, "c\rd\r\ne"), (3, "f")],
    ),
    "bytes.csv": (
        b"age,note\n1,caf\xe9\n\xe92,x\n3,x,\xe9\n5,x\n",
        [(1, "caf\ufffd"), "age: not numeric", "expected 2 cells, got 3", (5, "x")],
    ),
    "long.csv": (f'age,note\n1,"{LONG}"\n2,x\n', [(1, LONG), (2, "x")]),
    "errors.csv": (
        "age,_hs_error\n1,NA\n2,\\N\n3,NULL\n4,None\n5,\n6,broken\n",
        [1, 2, 3, 4, 5, "the target failed"],
    ),
    "numbers.csv": ("age\n38\n 38 \n+3.8e1\n", [38, 38, 38]),
    "others.csv": (
        "age\n 38 \n+3.8e1\nx\n0x26\n.5\n",
        [38, 38, "age: not numeric", "age: not numeric", "age: expected a whole number, got a"],
    ),
    "odd.jsonl": (
        "\n".join([*ODD_JSON, r'{"age": 2, "note": "\ud83d"}']),
        [(1, None), *["no JSON object: "] * 3, "age: not numeric", (2, "?")],
    ),
    "late.jsonl": ("\n".join(LATE), [(n, "5" if n > 1500 else None) for n in range(1600)]),
    "late_fields.jsonl": (FAILED * 1100 + '{"age": 7}', [*["the target failed"] * 1100, 7]),
    "no_fields.jsonl": (FAILED, ["the target failed"]),
    "a.csv.gz": (gzip.compress(b"age\n1\n"), [1]),
    "a.jsonl.bz2": (bz2.compress(b'{"age": 1}'), [1]),
    "a.csv.xz": (lzma.compress(b"age\n1\n"), [1]),
    "largest.parquet": (  # the largest integer, which is no double
        pa.table({"age": [2**63 - 1, -(2**63), 2**62]}),
        ["age: expected a number within the contract's type", -(2**63), 2**62],
    ),
    "view.parquet": (  # a type that pyarrow cannot filter
        pa.table({"age": [39, None], "note": pa.array(["a", "b"], pa.string_view())}),
        [(39, "a"), "age: missing"],
    ),
    "bool.parquet": (pa.table({"age": [True]}), [1]),
    "float32.parquet": (pa.table({"age": pa.array([1.0], pa.float32())}), [1]),
    "uint8.parquet": (pa.table({"age": pa.array([1], pa.uint8())}), [1]),
    "text.parquet": (pa.table({"age": pa.array(["1"]).dictionary_encode()}), [1]),
    "decimal.parquet": (pa.table({"age": pa.array([1]).cast(pa.decimal128(25, 2))}), [1]),
}


def write(content, path):
    if isinstance(content, pa.Table):
        parquet.write_table(content, path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("rows_per_block", [7, 10_000])
@pytest.mark.parametrize("name", ROWS)
def test_rows_and_reasons(name, rows_per_block, tmp_path):
    content, outcomes = ROWS[name]
    write(content, tmp_path / name)
    keep = ["note"] if isinstance(outcomes[0], tuple) else []
    part = read_all(tmp_path, "age", keep=keep, rows=rows_per_block)
    found = part.values[:, 0].tolist()
    found = list(zip(found, part.kept["note"].to_pylist(), strict=True)) if keep else found
    numbers = {row: one for row, one in enumerate(outcomes) if not isinstance(one, str)}
    assert dict(zip(part.kept["row"].to_pylist(), found, strict=True)) == numbers
    reasons = {row["row"]: row["reason"] for row in part.rejected.to_pylist()}
    assert len(part) == len(outcomes) == len(numbers) + len(reasons)
    assert all(reason.startswith(outcomes[row]) for row, reason in reasons.items())


def to_parquet(*columns):
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table([[1]] * len(columns), names=columns), sink)
    return sink.getvalue().to_pybytes()


def flip(content):
    """Damage two bytes in the middle."""
    middle = len(content) // 2
    damaged = bytes(byte ^ 255 for byte in content[middle : middle + 2])
    return content[:middle] + damaged + content[middle + 2 :]


OPEN = "age,sex,a\n" + "1,0,x\n" * 5 + '1,0,"oops\n' + "2,0,x\n" * 500
TEXT = b"age,sex\n" * 5000
# Of a file by its name the content, and words of what is said of it.
REFUSED = {
    "last_cell.csv": ('age,sex\n1,"6\\""\n2,"7\\""\n', "row 0, .* as two quotes"),
    "first_cell.csv": ('age,sex,a\n1,2,x\n"6\\"",0,x\n"7\\"",0,x', "row 1, .* as two quotes"),
    "open_quote.csv": (OPEN, "row 5, .* as two quotes"),
    "open_header.csv": ('age,sex,"a\n1,2,3\n', "a row from line 1 on .* is a quote missing"),
    "decimals.csv": ("age;sex\n" + "1;2,5\n" * 120_000, "expected commas between columns, got ';'"),
    "utf16.csv": ("age,sex\n1,2".encode("utf-16"), "ValueError: expected UTF-8, got UTF-16"),
    "semicolons.csv": ("age;sex\n1;2\n", "expected commas between columns, got ';'"),
    "headless.csv": ("39,1\n40,1\n", "expected a header that names the columns"),
    "header.csv": ("age\rx,sex\n1,2\n", "expected lines that end in LF or CRLF"),
    "returns.csv": ("age,sex\r1,2\r", "expected lines that end in LF or CRLF"),
    "twice.csv": ("age,sex,age\n1,2,3\n", "two columns are named age"),
    "twice.parquet": (to_parquet("age", "sex", "sex"), "two columns are named sex"),
    "others.csv": ("user,time\nx,y\n", "no column age, sex: the file's columns are user, time"),
    "no_rows.json": ('{"age": 1\n[1, 2]\n', "no line is a row, the first one is no JSON object: "),
    "lacking.csv": ("age,user\n1,2\n", "no column sex"),
    "lacking.jsonl": ('{"age": 1}', "no column sex"),
    "lacking.parquet": (to_parquet("age"), "no column sex"),
    "empty.parquet": (b"", "Parquet file size is 0"),
    "beginning.parquet": (to_parquet("age", "sex")[:100], "Parquet"),
    "end.parquet": (to_parquet("age", "sex")[-100:], ""),
    "damaged.csv.gz": (flip(gzip.compress(TEXT)), ""),
    "damaged.csv.bz2": (flip(bz2.compress(TEXT)), ""),
    "damaged.csv.xz": (flip(lzma.compress(TEXT)), ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_refused(name, tmp_path):
    """Among others, by one line that names it."""
    content, words = REFUSED[name]
    write(to_parquet("age", "sex"), tmp_path / "0.parquet")
    write(content, tmp_path / name)
    with pytest.raises(UserError, match=rf"^[^\n]*/{name}: [^\n]*{words}[^\n]*$") as caught:
        read_all(tmp_path, "age", "sex")
    assert len(str(caught.value)) < 400


def test_a_row_that_is_longer_than_what_is_read_at_once(tmp_path, monkeypatch):
    rows = [f"{number},{'x' * (3000 if number == 700 else 3)}" for number in range(1000)]
    write("\n".join(["age,note", *rows[:500], "1,2,3", *rows[500:]]), tmp_path / "a.csv")
    monkeypatch.setattr(text, "READ_AT_ONCE", 500)
    monkeypatch.setattr(text, "LONGEST", 8000)
    part = read_all(tmp_path, "age")
    assert part.values[:, 0].tolist() == list(range(1000))
    assert part.rejected["row"].to_pylist() == [500]
    assert part.kept["row"].to_pylist() == [n for n in range(1001) if n != 500]
    monkeypatch.setattr(text, "LONGEST", 1000)
    with pytest.raises(UserError, match=r"a.csv: a row from line 702 on does not end within"):
        read_all(tmp_path, "age")
    (tmp_path / "a.csv").unlink()
    write("\n".join(['{"age": 1}', "x" * 1000]), tmp_path / "a.jsonl")
    with pytest.raises(UserError, match=r"a.jsonl: ValueError: line 2 is longer than"):
        read_all(tmp_path, "age")


def test_a_header_that_is_longer_than_what_is_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "READ_AT_ONCE", 500)
    write(f"age,{'n' * 600}\n39,2\n", tmp_path / "a.csv")
    assert read_all(tmp_path, "age").values.tolist() == [[39]]


def test_json_that_has_no_column_which_is_asked_for(tmp_path):
    write('{"user": 1}\n' * 1001, tmp_path / "a.jsonl")
    assert read_all(tmp_path, "age").rejected["reason"].to_pylist() == ["age: missing"] * 1001


def test_fields_called_like_columns_that_are_written(tmp_path):
    write(pa.table({"reason": [[1]], "row": [2]}), tmp_path / "a.parquet")
    (rejected,) = read_all(tmp_path, "reason", "row").rejected.to_pylist()
    assert (rejected["reason (input)"], rejected["row (input)"]) == ("[1]", "2")
    assert (rejected["reason"], rejected["row"]) == ("reason: not numeric", 0)


def test_the_reasons_are_those_of_predict():
    assert cells.INT64_LIMIT == messages.INT64_LIMIT
    numbers = [np.nan, np.inf, 1e200, -1e19]
    _, problems = read_numbers(pa.chunked_array([numbers]))
    for number, problem in zip(numbers, problems, strict=True):
        with pytest.raises(ValueError, match=f"^age: {PROBLEMS[problem]}$"):
            messages.read({"age": number}, ["age"])


def test_decimals_are_the_nearest_doubles():
    text = [f"0.{digits}" for digits in ("1" * 60, "123456789" * 6, "3" * 70)]
    column = pa.chunked_array([pa.array(map(Decimal, text), pa.decimal256(76, 70))])
    values, problems = read_numbers(column)
    assert values.tolist() == [float(one) for one in text]
    assert not problems.any()


NOON = "1970-01-01 00:00:00.000"


@pytest.mark.parametrize(
    ("one", "other", "kept"),
    [
        (pa.array([7], pa.int8()), pa.array([123_456_789]), [7, 123_456_789]),
        (pa.array([7]), pa.array(["a"], pa.large_string()), ["7", "a"]),
        (pa.array([True]), pa.array([7]), ["true", "7"]),
        (pa.array([123_456_789]), pa.array([1.5], pa.float32()), ["123456789", "1.5"]),
        (pa.array([2**63], pa.uint64()), pa.array([-1]), [str(2**63), "-1"]),
        (*(pa.array([0], pa.timestamp("s", zone)) for zone in (None, "UTC")), [NOON, f"{NOON}Z"]),
    ],
)
def test_a_column_to_keep_of_two_files(one, other, kept, tmp_path):
    """It is widened without loss, which text always is."""
    for name, column in (("a", one), ("b", other)):
        write(pa.table({"age": [1], "note": column}), tmp_path / f"{name}.parquet")
    assert read_all(tmp_path, "age", keep=["note"]).kept["note"].to_pylist() == kept


@pytest.mark.parametrize("rows_per_block", [7, 129, 10_000])
@pytest.mark.parametrize("name", WRITERS)
def test_each_row_once(name, rows_per_block, tmp_path):
    """A request that stands twice is read where it comes first; what has no id is no copy."""
    firsts = [n for n in range(500) if n != 3 and not 300 <= n < 340]
    ids = [str({3: 2}.get(n, n if n < 300 else n - 40)) for n in range(500)]
    ids[400:402] = None, ""
    for file, first, last in (("x", 0, 320), ("y", 320, 500)):
        table = pa.table({"age": range(first, last), "_hs_request_id": ids[first:last]})
        (tmp_path / file).mkdir()
        WRITERS[name](table, tmp_path / file / name)
    part = read_all(tmp_path, "age", rows=rows_per_block)
    assert part.values[:, 0].tolist() == firsts
    assert part.kept["row"].to_pylist() == [n - 320 * (n >= 320) for n in firsts]
    assert (part.copies, len(part)) == (41, 500)


SECOND = 1_772_425_800
INSTANT = datetime.fromtimestamp(SECOND, UTC)
TIME = INSTANT.isoformat()
MANY = '{"at": null}\n' + f'{{"at": "{TIME}"}}\n' * 1500  # more than is looked at first


@pytest.mark.parametrize(
    ("name", "content", "option", "expected"),
    [
        ("a.parquet", {"when": pa.array([INSTANT], pa.timestamp("ns"))}, None, [SECOND]),
        ("a.parquet", {"when": pa.array([INSTANT], pa.timestamp("us", "UTC"))}, None, [SECOND]),
        ("a.parquet", {"_hs_timestamp": [1000 * SECOND], "at": [INSTANT]}, None, [SECOND]),
        ("a.csv", f"when,note\n{TIME},7\n", None, [SECOND]),
        ("a.csv", f"when,sent,age\n{TIME},{TIME},7\n", None, [NO_TIME]),
        ("a.csv", f"when,sent\n{TIME},{TIME}\nx,n/a\n", "sent", [SECOND, NO_TIME]),
        ("a.jsonl", f'{{"_hs_timestamp": {{"$date": "{TIME}"}}}}', None, [SECOND]),
        ("a.jsonl", MANY, None, [NO_TIME] + [SECOND] * 1500),
    ],
)
def test_the_column_of_times(name, content, option, expected, tmp_path):
    """The platform's, the only one that holds times, or the one that is named."""
    write(pa.table(content) if isinstance(content, dict) else content, tmp_path / name)
    features = ["age"] if "age" in content else []
    assert read_all(tmp_path, *features, time=option).times.tolist() == expected
