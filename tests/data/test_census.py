"""UCI's format, the encoding of its fields, and where its files are from."""

import hashlib
import shutil

import pytest
from helpers import CODES, ROW, serving_files

from knn_metric.cli import UserError
from knn_metric.data import census
from knn_metric.data.rows import load_census

SHA256 = hashlib.sha256(ROW.encode()).hexdigest()


def encode(text):
    return census.encode(census.read(text.encode(), "people.csv"), "people.csv")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (ROW.rsplit(",", 1)[0], "expected 15 columns, got 14"),
        (ROW + ", 1", "expected 15 columns, got 16"),
        (ROW.replace("State-gov", "Stategov"), "unknown workclass 'Stategov'"),
        (ROW.replace("White", ""), "unknown race ''"),
        (ROW.replace("39,", "39.5,"), "age must be a whole number below 1,000,000,000"),
        (ROW.replace("39,", "²,"), "age must be a whole number"),
        (ROW.replace(" 40,", " ?,"), "hours_per_week must be a whole number"),
        (ROW.replace("2000", "9" * 30), "capital_gain must be a whole number"),
        (", ".join(census.COLUMNS).title(), "a header, .*: delete this line$"),
        ("\xff", "expected 15 columns, got 1"),
    ],
)
def test_a_bad_line_is_named(line, problem):
    content = f"|1x3\n{line}\n{ROW}".encode("utf-8" if "²" in line else "latin-1")
    with pytest.raises(UserError, match=rf"^people\.csv:2: .*{problem}"):
        census.read(content, "people.csv")


@pytest.mark.parametrize("text", ["", "\n\n", "|1x3 Cross validator\n"])
def test_no_rows(text):
    with pytest.raises(UserError, match=r"^people\.csv: no rows$"):
        encode(text)


class TestEncode:
    def test_comments_dotted_labels_and_blank_lines(self):
        values, raw = encode(f"|1x3 Cross validator\r\n{ROW}.\r\n{ROW}\n\n")
        assert values.tolist() == [CODES, CODES]
        amounts = {name: column.tolist() for name, column in raw.items()}
        assert amounts == {"capital_gain": [2000] * 2, "capital_loss": [0] * 2}

    def test_capital_and_codes_without_gaps(self):
        pairs = (0, 0), (1, 1), (7298, 1887), (7299, 1888), (99999, 9999)
        lines = [ROW.replace("2000, 0,", f"{gain}, {loss},") for gain, loss in pairs]
        values, _ = encode("\n".join(lines))
        for name in ("capital_gain", "capital_loss"):
            assert values[:, census.FEATURES.index(name)].tolist() == [2, 1, 1, 0, 0]
        for codes in census.CATEGORIES.values():
            assert set(codes.values()) == set(range(max(codes.values()) + 1))

    @pytest.mark.parametrize(("one", "other"), [(0, 12), (10, 11)])
    def test_numbers_in_other_columns_are_noted(self, one, other, capsys):
        """Age and hours, gain and loss, each in the other's place."""
        rows = [line.split(",") for line in census.SAMPLE_PATH.read_text().splitlines()]
        encode("\n".join(map(",".join, rows)))
        assert capsys.readouterr().err == ""
        for row in rows:
            row[one], row[other] = row[other], row[one]
        encode("\n".join(map(",".join, rows)))
        line = capsys.readouterr().err
        assert line.startswith("people.csv: ")
        assert line.endswith("are the columns in UCI's order?\n")


class TestLoad:
    def test_the_published_files_go_by_their_content(self, uci, tmp_path):
        rows = load_census(str(uci))
        assert (rows.source, len(rows)) == ("uci", 32561)
        copy = shutil.copy(census.SAMPLE_PATH, tmp_path / "mine.csv")
        assert load_census(str(copy)).source == "sample"

    def test_a_header_of_15_names_may_be_anothers(self, tmp_path):
        platforms = [*census.FEATURES, "_hs_request_id", "_hs_timestamp"]
        for names in (census.COLUMNS, platforms, map(str, range(15))):
            (tmp_path / "rows.csv").write_text(", ".join(names))
            assert census.is_census(str(tmp_path / "rows.csv")) == (names is census.COLUMNS)

    @pytest.mark.parametrize("source", ["mine.csv", "./uci", "./sample"])
    def test_another_file_goes_by_its_name(self, source, tmp_path):
        path = tmp_path / source.removeprefix("./")
        path.write_text(ROW)
        rows = load_census(str(path))
        assert (rows.source, rows.sha256) == (source, SHA256)

    def test_a_copy_of_ucis_file(self, tmp_path, monkeypatch):
        """It is downloaded whole or not at all; one that was altered is not used."""
        path = tmp_path / "data" / "adult.data"
        monkeypatch.setattr(census, "UCI_PATH", path)
        (tmp_path / "adult.data").write_text(ROW)
        with serving_files(tmp_path) as address:
            for url, words in (
                ("http://127.0.0.1:1/adult.data", "Connect call failed"),
                (f"{address}/adult.data", f"SHA-256 {SHA256}, expected {census.UCI_SHA256}"),
                (f"{address}/gone", "FileNotFoundError"),
            ):
                monkeypatch.setattr(census, "UCI_URL", url)
                with pytest.raises(UserError, match=rf"^[^\n]*{words}[^\n]*--data sample$"):
                    load_census("uci")
                assert not path.exists()
            monkeypatch.setattr(census, "UCI_SHA256", SHA256)
            monkeypatch.setattr(census, "UCI_URL", f"{address}/adult.data")
            assert load_census("uci").source == "uci"
        assert path.read_text() == ROW
        path.write_text("old")
        with pytest.raises(UserError, match="delete it to download it again"):
            load_census("uci")
