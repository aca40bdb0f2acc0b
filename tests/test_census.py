"""The reader, the encoding, the split, and the download from a server on loopback."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

import census

ROW = "39, State-gov, 77000, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, \
Male, 2000, 0, 40, United-States, <=50K"
CODES = [39, 7, 1, 1, 1, 1, 4, 1, 1, 2, 40, 9, 0]


def read(text):
    return census.read(text.encode(), "people.csv")


class TestRead:
    def test_rows_and_the_blank_line_at_the_end(self):
        assert len(read(f"{ROW}\n{ROW}\n\n")) == 2

    def test_the_test_files_comment_and_dotted_labels(self):
        text = f"|1x3 Cross validator\r\n{ROW}.\r\n"
        assert census.encode(read(text)).tolist() == [CODES]

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
        with pytest.raises(census.DataError, match=r"^people\.csv:2: ") as caught:
            read(f"{ROW}\n{line}\n{ROW}\n")
        assert problem in str(caught.value)

    @pytest.mark.parametrize("text", ["", "\n\n", "|1x3 Cross validator\n"])
    def test_no_rows(self, text):
        with pytest.raises(census.DataError, match=r"^people\.csv: no rows$"):
            read(text)

    def test_bytes_that_are_not_text(self):
        with pytest.raises(census.DataError, match=r"^people\.csv:1: "):
            census.read(bytes(range(128, 256)), "people.csv")


class TestEncode:
    def test_a_row(self):
        codes = census.encode(read(ROW))
        assert codes.tolist() == [CODES]
        assert codes.dtype == np.int64

    @pytest.mark.parametrize(("gain", "code"), [(0, 2), (1, 1), (7298, 1), (7299, 0), (99999, 0)])
    def test_capital_gain(self, gain, code):
        row = census.encode(read(ROW.replace("2000", str(gain))))[0]
        assert row[census.FEATURES.index("capital_gain")] == code

    @pytest.mark.parametrize(("loss", "code"), [(0, 2), (1, 1), (1887, 1), (1888, 0)])
    def test_capital_loss(self, loss, code):
        row = census.encode(read(ROW.replace("2000, 0,", f"0, {loss},")))[0]
        assert row[census.FEATURES.index("capital_loss")] == code

    @pytest.mark.parametrize(
        ("feature", "number"),
        [
            ("workclass", 9),
            ("education", 7),
            ("marital_status", 4),
            ("occupation", 9),
            ("relationship", 6),
            ("race", 5),
            ("sex", 2),
            ("country", 11),
            ("classes", 2),
        ],
    )
    def test_codes_have_no_gaps(self, feature, number):
        assert set(census.CATEGORIES[feature].values()) == set(range(number))


@pytest.mark.parametrize(("test_size", "seed"), [(0.2, 0), (0.25, 7), (0.001, 2**32 - 1)])
def test_split_is_scikit_learns(rows, test_size, seed):
    expected = train_test_split(rows, test_size=test_size, random_state=seed)
    for part, expected_part in zip(census.split(rows, test_size, seed), expected, strict=True):
        np.testing.assert_array_equal(part, expected_part)


class TestLoad:
    def test_a_copy_of_the_sample_is_still_the_sample(self, tmp_path):
        copy = tmp_path / "mine.csv"
        copy.write_bytes(census.SAMPLE_PATH.read_bytes())
        assert census.load(str(copy)).source == "sample"

    def test_another_file_goes_by_its_name(self, tmp_path):
        path = tmp_path / "mine.csv"
        path.write_text(ROW)
        data = census.load(str(path))
        assert data.source == "mine.csv"
        assert data.sha256 == hashlib.sha256(ROW.encode()).hexdigest()

    def test_uci_goes_by_its_content(self, uci):
        data = census.load(str(uci))
        assert (data.source, len(data.records)) == ("uci", 32561)

    def test_an_altered_uci_file_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(census, "UCI_PATH", tmp_path / "adult.data")
        census.UCI_PATH.write_text(ROW)
        with pytest.raises(census.DataError, match="delete it to download it again"):
            census.load("uci")

    @pytest.mark.parametrize(
        ("name", "problem"), [("none.csv", "No such file"), (".", "Is a directory")]
    )
    def test_an_unreadable_file(self, tmp_path, name, problem):
        with pytest.raises(census.DataError, match=problem):
            census.load(str(tmp_path / name))


class Handler(BaseHTTPRequestHandler):
    """Serve one row; /short promises more than it sends, anything else is not there."""

    def do_GET(self):
        found = self.path in ("/adult.data", "/short")
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(ROW) + 100 * (self.path == "/short")))
        self.end_headers()
        self.wfile.write(ROW.encode())

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class TestDownload:
    sha256 = hashlib.sha256(ROW.encode()).hexdigest()

    def test_it_lands_in_a_new_folder(self, server, tmp_path):
        path = tmp_path / "data" / "adult.data"
        census.download(f"{server}/adult.data", path, self.sha256)
        assert path.read_text() == ROW
        assert [path] == list(path.parent.iterdir())

    @pytest.mark.parametrize(
        ("page", "sha256", "problem"),
        [
            ("adult.data", "0" * 64, "not the UCI file"),
            ("short", sha256, "cannot download"),
            ("missing", sha256, "HTTP 404"),
        ],
    )
    def test_a_failure_leaves_nothing(self, server, tmp_path, page, sha256, problem):
        path = tmp_path / "adult.data"
        with pytest.raises(census.DataError, match=problem) as caught:
            census.download(f"{server}/{page}", path, sha256)
        assert len(str(caught.value).splitlines()) == 1
        assert list(tmp_path.iterdir()) == []

    def test_a_failure_leaves_the_old_file(self, server, tmp_path):
        path = tmp_path / "adult.data"
        path.write_text("old")
        with pytest.raises(census.DataError):
            census.download(f"{server}/adult.data", path, "0" * 64)
        assert path.read_text() == "old"

    def test_offline_says_what_to_do(self, server, tmp_path):
        with pytest.raises(census.DataError, match=r"ConnectionError.*train on the sample"):
            census.download("http://127.0.0.1:1/adult.data", tmp_path / "adult.data", "")
