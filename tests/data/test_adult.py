"""UCI's format and the encoding of its fields."""

import pytest
from helpers import CODES, ROW

from knn_metric.cli import UserError
from knn_metric.data import census
from knn_metric.data.census import load_census


def read(text):
    return census.read(text.encode(), "people.csv")


def encode(text):
    return census.encode(read(text), "people.csv", "ab").values


class TestRead:
    def test_rows_and_the_blank_line_at_the_end(self):
        assert len(read(f"{ROW}\n{ROW}\n\n")) == 2

    def test_the_test_files_comment_and_dotted_labels(self):
        text = f"|1x3 Cross validator\r\n{ROW}.\r\n"
        assert encode(text).tolist() == [CODES]

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            (ROW.rsplit(",", 1)[0], "expected 15 columns, got 14"),
            (ROW + ", 1", "expected 15 columns, got 16"),
            (ROW[:60], "expected 15 columns, got 7"),
            (ROW.replace("State-gov", "Stategov"), "unknown workclass 'Stategov'"),
            (ROW.replace("<=50K", "50K"), "unknown classes '50K'"),
            (ROW.replace("White", ""), "unknown race ''"),
            (ROW.replace("39,", "39.5,"), "age must be a whole number below 1,000,000,000"),
            (ROW.replace("39,", "-39,"), "age must be a whole number"),
            (ROW.replace("39,", "²,"), "age must be a whole number"),
            (ROW.replace(" 40,", " ?,"), "hours_per_week must be a whole number"),
            (ROW.replace("2000", "9" * 30), "capital_gain must be a whole number"),
        ],
    )
    def test_a_bad_line_is_named(self, line, problem):
        with pytest.raises(UserError, match=r"^people\.csv:2: ") as caught:
            read(f"{ROW}\n{line}\n{ROW}\n")
        assert problem in str(caught.value)

    def test_a_header_is_called_one(self):
        header = ", ".join(census.COLUMNS).title()
        with pytest.raises(UserError, match=r"^people\.csv:1: a header, .*: delete this line$"):
            read(f"{header}\n{ROW}\n")

    @pytest.mark.parametrize("text", ["", "\n\n", "|1x3 Cross validator\n"])
    def test_no_rows(self, text):
        with pytest.raises(UserError, match=r"^people\.csv: no rows$"):
            read(text)

    def test_bytes_that_are_not_text(self):
        with pytest.raises(UserError, match=r"^people\.csv:1: "):
            census.read(bytes(range(128, 256)), "people.csv")


class TestEncode:
    def test_a_row(self):
        rows = census.encode(read(ROW), "people.csv", "ab")
        assert rows.values.tolist() == [CODES]
        assert (rows.names, rows.source, rows.sha256) == (census.FEATURES, "people.csv", "ab")
        pairs = zip(rows.names, rows.is_code, strict=True)
        assert [name for name, is_code in pairs if not is_code] == ["age", "hours_per_week"]
        raw = {name: column.tolist() for name, column in rows.raw.items()}
        assert raw == {"capital_gain": [2000], "capital_loss": [0]}

    @pytest.mark.parametrize(
        ("name", "codes"),
        [
            ("capital_gain", {0: 2, 1: 1, 7298: 1, 7299: 0, 99999: 0}),
            ("capital_loss", {0: 2, 1: 1, 1887: 1, 1888: 0}),
        ],
    )
    def test_capital(self, name, codes):
        for number, code in codes.items():
            pair = f"{number}, 0," if name == "capital_gain" else f"0, {number},"
            (row,) = encode(ROW.replace("2000, 0,", pair))
            assert row[census.FEATURES.index(name)] == code

    def test_codes_have_no_gaps(self):
        for codes, number in zip(
            census.CATEGORIES.values(), (9, 7, 4, 9, 6, 5, 2, 11, 2), strict=True
        ):
            assert set(codes.values()) == set(range(number))


def test_numbers_in_other_columns_are_noted(tmp_path, capsys):
    """Age and hours, gain and loss, each in the other's place."""
    lines = census.SAMPLE_PATH.read_text().splitlines()[:300]
    path = tmp_path / "swapped.data"
    for one, other in ((0, 12), (10, 11)):
        rows = [line.split(",") for line in lines]
        for row in rows:
            row[one], row[other] = row[other], row[one]
        path.write_text("\n".join(",".join(row) for row in rows))
        load_census(str(path))
        line = capsys.readouterr().err
        assert line.startswith("swapped.data: ")
        assert line.endswith("are the columns in UCI's order?\n")
    load_census("sample")
    assert capsys.readouterr().err == ""
