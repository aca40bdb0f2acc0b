"""The reader, the encoding, the split, and the download from a server on loopback."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lib import census, origin
from lib.command import UserError

import numpy as np
import pytest
from helpers import CODES, ROW, assert_one_line, run

import evaluate
import shadow
import train


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
def test_split_is_the_published_one(rows, test_size, seed):
    order = np.random.RandomState(seed).permutation(len(rows))
    n_held_out = int(np.ceil(test_size * len(rows)))
    training, held_out = origin.split(rows, test_size, seed)
    np.testing.assert_array_equal(held_out, rows[order[:n_held_out]])
    np.testing.assert_array_equal(training, rows[order[n_held_out:]])


def test_too_few_rows_to_split():
    with pytest.raises(UserError, match="1 rows cannot be split"):
        origin.split(np.zeros((1, 13)))


@pytest.fixture(scope="module")
def data():
    return census.load("sample")


class TestOrigin:
    @pytest.mark.parametrize(("test_size", "seed"), [(0.2, 0), (0.5, 3)])
    def test_what_a_model_was_not_trained_on(self, data, test_size, seed):
        """By the artifact's own split: with another one it would be rows that it knows."""
        detector, scores = train.fit(data, test_size, seed)
        rest = census.encode(origin.hold_out(data, detector.origin_).records)
        np.testing.assert_array_equal(detector.decision_function(rest), scores)
        training = origin.split(census.encode(data.records), test_size, seed)[0]
        np.testing.assert_array_equal(detector.training_rows_, training)

    def test_another_file_is_taken_whole(self, data):
        another = {**origin.describe_origin(data, 0.2, 0), "sha256": "another"}
        assert origin.hold_out(data, another) is data

    def test_rows_that_training_had_are_counted(self, data, tmp_path):
        """In a part of the file, with other line ends: nothing tells it from the file but rows."""
        detector, _ = train.fit(data)
        part = tmp_path / "part.csv"
        lines = census.SAMPLE_PATH.read_text().splitlines()[:1000]
        part.write_text("\r\n".join(lines))
        traffic = origin.hold_out(census.load(str(part)), detector.origin_)
        known = set(map(tuple, detector.training_rows_.tolist()))
        equal = sum(tuple(row) in known for row in census.encode(traffic.records).tolist())
        assert equal > 800
        assert origin.describe_traffic(traffic, detector) == (
            f"part.csv, 1,000 rows, {equal:,} of them equal to a training row"
        )
        held_out = origin.hold_out(data, detector.origin_)
        described = origin.describe_traffic(held_out, detector)
        assert described.startswith("sample, 1,400 rows held out by training, ")

    @pytest.mark.parametrize(
        ("old", "new", "refused"),
        [
            (None, "sample", False),
            ("sample", "uci", False),
            ("uci", "uci", False),
            ("mine.csv", "yours.csv", False),
            ("uci", "sample", True),
            ("uci", "adult.test", True),
            ("mine.csv", "uci", True),
            (origin.UNKNOWN, "uci", False),
            (origin.UNKNOWN, "mine.csv", False),
            (origin.UNKNOWN, "sample", True),
        ],
    )
    def test_kinds_of_data(self, old, new, refused, tmp_path):
        data = census.Census([], new, "")
        if refused:
            with pytest.raises(UserError, match=f"trained on {old}, and {new} would replace it"):
                origin.require_same_kind(tmp_path / "model.joblib", old, data)
        else:
            origin.require_same_kind(tmp_path / "model.joblib", old, data)


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

    @pytest.mark.parametrize("name", ["uci", "sample"])
    def test_a_name_does_not_make_it_uci_or_the_sample(self, name, tmp_path):
        (tmp_path / name).write_text(ROW)
        assert census.load(str(tmp_path / name)).source == f"./{name}"

    def test_uci_goes_by_its_content(self, uci):
        data = census.load(str(uci))
        assert (data.source, len(data.records)) == ("uci", 32561)

    def test_an_altered_uci_file_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(census, "UCI_PATH", tmp_path / "adult.data")
        census.UCI_PATH.write_text(ROW)
        with pytest.raises(UserError, match="delete it to download it again"):
            census.load("uci")

    @pytest.mark.parametrize(
        ("name", "problem"), [("none.csv", "No such file"), (".", "Is a directory")]
    )
    def test_an_unreadable_file(self, tmp_path, name, problem):
        with pytest.raises(UserError, match=problem):
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
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
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
        with pytest.raises(UserError, match=problem) as caught:
            census.download(f"{server}/{page}", path, sha256)
        assert len(str(caught.value).splitlines()) == 1
        assert list(tmp_path.iterdir()) == []

    def test_a_failure_leaves_the_old_file(self, server, tmp_path):
        path = tmp_path / "adult.data"
        path.write_text("old")
        with pytest.raises(UserError):
            census.download(f"{server}/adult.data", path, "0" * 64)
        assert path.read_text() == "old"

    @pytest.mark.parametrize(
        ("main", "options"),
        [
            (train.main, "--out {0}/a.joblib --plot {0}/a.png"),
            (evaluate.main, "--artifact {1} --plot {0}/a.png"),
            (shadow.main, "--artifact {1} --reports {0}"),
        ],
    )
    def test_offline_says_what_to_type(self, main, options, artifact, tmp_path, monkeypatch):
        monkeypatch.setattr(census, "UCI_PATH", tmp_path / "adult.data")
        monkeypatch.setattr(census, "UCI_URL", "http://127.0.0.1:1/adult.data")
        result = run(main, "--data", "uci", *options.format(tmp_path, artifact).split())
        words = "with --data=path/to/adult.data, or --data=sample"
        assert_one_line(result, "ConnectionError", words)


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("age", 39, "39"),
        ("age", 3.5, "3.5"),
        ("workclass", 4, "4 Private"),
        ("workclass", 99, "99 unknown"),
        ("workclass", 4.5, "4.5 unknown"),
        ("classes", 1, "1 >50K"),
        ("capital_gain", 0, "0 above 7,298"),
        ("capital_loss", 2, "2 none"),
        ("education", 0, "0 Assoc-acdm, Assoc-voc"),
        ("country", 1, "1 Canada, England, India, ..."),
    ],
)
def test_a_code_in_words(name, code, words):
    assert census.describe_code(name, code) == words
