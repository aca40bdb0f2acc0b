"""Files are fetched from a server on loopback, whole or not at all."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from helpers import ROW

from knn_metric.cli import UserError
from knn_metric.data.census import download


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
        download(f"{server}/adult.data", path, self.sha256)
        assert path.read_text() == ROW
        assert [path] == list(path.parent.iterdir())

    @pytest.mark.parametrize(
        ("page", "sha256", "problem"),
        [
            ("adult.data", "0" * 64, "expected 0000"),
            ("short", sha256, "cannot download"),
            ("missing", sha256, "HTTP 404"),
        ],
    )
    def test_a_failure_leaves_what_was_there(self, server, tmp_path, page, sha256, problem):
        path = tmp_path / "adult.data"
        for before in ([], [path]):
            with pytest.raises(UserError, match=problem) as caught:
                download(f"{server}/{page}", path, sha256)
            assert len(str(caught.value).splitlines()) == 1
            assert list(tmp_path.iterdir()) == before
            path.write_text("old")
        assert path.read_text() == "old"
