"""Which files names, folders, globs, links and URLs mean: each file once, and only what is rows."""

import gzip
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pytest
from helpers import read_all
from pyarrow import parquet

from knn_metric.cli import UserError
from knn_metric.data import sources


@pytest.fixture(autouse=True)
def folder(tmp_path):
    write_ages(tmp_path / "day" / "a.parquet")
    return tmp_path / "day"


def write_ages(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table({"age": [1]}), path)


def test_links(folder, tmp_path):
    """Hard ones too; one that leads to itself is named."""
    (tmp_path / "latest").symlink_to("day")
    (tmp_path / "a.parquet").symlink_to("day/a.parquet")
    (folder / "up").symlink_to(tmp_path)
    write_ages(tmp_path / "elsewhere" / "b.parquet")
    os.link(tmp_path / "elsewhere" / "b.parquet", folder / "c.parquet")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    assert len(read_all(tmp_path, "age")) == len(read_all(folder, "age")) == 2
    (folder / "self.csv").symlink_to("self.csv")
    for name in (folder, folder / "*.csv"):
        with pytest.raises(UserError, match=r"self\.csv: Too many levels of symbolic links"):
            read_all(name, "age")


def test_odd_names_are_names(tmp_path):
    """`::` is no chain of fsspec's here, and `.csv` has no other ending."""
    write_ages(tmp_path / "a::b.parquet")
    (tmp_path / ".csv").write_text("age\n1\n")
    assert len(read_all(tmp_path / "a::b.parquet", "age")) == 1
    assert len(read_all(tmp_path / ".csv", "age")) == 1
    (tmp_path / os.fsdecode(b"caf\xe9.csv")).write_text("age\n1\n")
    kept = read_all(tmp_path / "caf*", "age").kept
    assert kept["file"].to_pylist() == [rf"{tmp_path}/caf\xe9.csv"]


@pytest.mark.parametrize(("name", "hidden"), [("", ["_SUCCESS", ".hidden.orc"]), ("/*", [])])
def test_what_is_not_read_is_named(name, hidden, folder, capsys):
    for other in ("b.orc", "c.orc", "README", *hidden):
        (folder / other).touch()
    assert len(read_all(f"{folder}{name}", "age")) == 1
    words = "files that are not read: 2 .orc, 1 no ending"
    assert capsys.readouterr().err == f"{folder}{name}: {words}\n"


def test_pipes_are_passed_over(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    assert len(read_all(tmp_path, "age")) == len(read_all(tmp_path / "*", "age")) == 1
    with pytest.raises(UserError, match="expected a file or a folder, got a pipe"):
        read_all(tmp_path / "pipe.csv", "age")


def test_names_of_partitions_are_decoded(tmp_path):
    for name in ("New%20York", "__HIVE_DEFAULT_PARTITION__"):
        write_ages(tmp_path / "cities" / f"city={name}" / "a.parquet")
    (tmp_path / "cities" / "city=a%2Fb").mkdir()
    (tmp_path / "cities" / "city=a%2Fb" / "a.jsonl").write_text('{"age": 1}')
    kept = read_all(tmp_path / "cities", "age", keep=["city"]).kept
    assert kept["city"].to_pylist() == ["New York", None, "a/b"]
    write_ages(tmp_path / "times" / "at=2026-11-24 13%3A00%3A00" / "a.parquet")
    assert read_all(tmp_path / "times", "age").times.tolist() == [1_795_525_200]


@pytest.mark.parametrize("name", ["", "*.parquet", "a.parquet", "at=1"])
@pytest.mark.parametrize("log", ["_delta_log", ".hoodie"])
def test_a_table_with_a_log(log, name, folder):
    (folder / log).mkdir()
    write_ages(folder / "at=1" / "a.parquet")
    with pytest.raises(UserError, match=rf"a table, whose {log} .*: expected plain Parquet"):
        read_all(folder / name, "age")


def test_scores_of_an_earlier_run_are_left_out(tmp_path, capsys):
    own = ["age", "file", "row"]
    for last in (["value", "alarm", "p_value", "top_feature"], ["line", "reason"]):
        names = [*own, *last]
        parquet.write_table(pa.table([[1]] * len(names), names), tmp_path / f"{last[0]}.parquet")
    assert len(read_all(tmp_path, "age")) == 1
    assert capsys.readouterr().err == "2 files of scores are not read\n"
    (tmp_path / "day" / "a.parquet").unlink()
    assert read_all(tmp_path, "age").kept["file"].to_pylist() == [f"{tmp_path}/value.parquet"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.parquet", r"nowhere\.parquet: No such file"),
        ("nowhere*", r"nowhere\*: no Parquet, CSV or JSON lines file"),
        ("empty", "empty: no Parquet, CSV or JSON lines file"),
        ("notes.txt", r"notes\.txt: .*expected a name that ends in"),
        ("s3://bucket/rows.parquet", r"s3://bucket/rows\.parquet: .*s3fs"),
        ("nothing://rows.parquet", "nothing"),
        ("zip://a.csv::/nowhere/a.zip", "unpack it first"),
    ],
)
def test_what_cannot_be_read(name, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=words):
        read_all(name, "age")


CSV = b"age,note\n" + (b"7," + b"x" * 600 + b"\n") * 10_000  # more than fsspec asks for at once


class Web(BaseHTTPRequestHandler):
    """Answers by the path that is asked for: the status, what is sent, and headers."""

    def do_GET(self):
        packed = gzip.compress(CSV, 1)
        status, content, headers = {
            "/a.csv": (200, CSV, {}),
            "/a.csv.gz": (200, packed, {}),
            "/packed.csv.gz": (200, packed, {"Content-Encoding": "gzip"}),
            "/cut.csv": (200, CSV, {"Content-Length": len(CSV) + 1}),
            "/chunks.csv": (200, b"5\r\nage\n7\r\n", {"Transfer-Encoding": "chunked"}),
            "/loop.csv": (302, b"", {"Location": self.path}),
            "/silent.csv": (0, b"", {}),
        }[self.path]
        if not status:
            self.server.ended.wait()
            return
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **headers}.items():
            if name != "Content-Length" or "Transfer-Encoding" not in headers:
                self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def web():
    with ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        server.ended = threading.Event()
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield f"http://me:secret@127.0.0.1:{server.server_port}"
        server.ended.set()
        server.shutdown()


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "packed.csv.gz"])
def test_text_of_a_web_server(name, web):
    """It sends whole files only, and may call a .gz packed for the way."""
    part = read_all(f"{web}/{name}", "age")
    assert part.values[:, 0].tolist() == [7] * 10_000
    assert part.kept["file"][0].as_py() == f"{web}/{name}".replace("me:secret", "***")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cut.csv", "ClientPayloadError: .*not completed"),
        ("chunks.csv", "ClientPayloadError: .*not completed"),
        ("loop.csv", "TooManyRedirects"),
        ("silent.csv", "SocketTimeoutError"),
    ],
)
def test_a_web_server_that_fails(name, words, web, monkeypatch):
    monkeypatch.setattr(sources, "PATIENCE", 0.5)
    with pytest.raises(UserError, match=rf"^http://\*\*\*@127[^\n]*{name}: {words}[^\n]*$"):
        read_all(f"{web}/{name}", "age")
