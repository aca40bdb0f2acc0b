"""Files and folders are replaced once they are complete, or not at all; tables and pages."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from html import unescape
from pathlib import Path

import pytest
from helpers import PNG

from knn_metric import files, tables
from knn_metric.cli import UserError
from knn_metric.package.payload import Payload
from knn_metric.page import write_page


class TestReplacingFile:
    def test_a_complete_file_or_the_old_one(self, tmp_path):
        """Also through a link: the file that it leads to is replaced."""
        path, link = tmp_path / "new" / "a.csv", tmp_path / "link"
        link.symlink_to(path)
        with files.replacing_file(link) as new:
            new.write_text("complete")
            assert not path.exists()
        with pytest.raises(TypeError), files.replacing_file(path) as new:
            new.write_bytes("text")
        assert path.read_text() == "complete"
        assert link.is_symlink()
        assert os.listdir(path.parent) == ["a.csv"]

    def test_the_newest_five_that_were_replaced_are_kept(self, tmp_path):
        path = tmp_path / "a"
        path.write_text("0")
        with pytest.raises(ZeroDivisionError), files.keeping_previous(path):
            raise ZeroDivisionError
        for number in (*range(1, 8), 7):  # an equal one takes no place
            with files.keeping_previous(path):
                path.write_text(str(number))
        kept = sorted(tmp_path.glob("a.*T*"))
        assert [one.read_text() for one in kept] == [*"23456"]
        assert sorted(tmp_path.iterdir()) == [path, *kept]

    def test_two_at_once_lose_none(self, tmp_path):
        path = tmp_path / "a"

        def replace(number):
            with files.keeping_previous(path):
                path.write_text(f"{number}")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(replace, range(4)))
        assert {one.read_text() for one in tmp_path.iterdir()} == {*"0123"}


class TestReplacingFolder:
    @pytest.fixture
    def folder(self, tmp_path):
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "old").touch()
        return tmp_path / "folder"

    def test_a_complete_folder_or_the_old_one(self, folder, monkeypatch):
        """A run that is killed leaves the old folder or the new one: there is no rename between."""
        monkeypatch.setattr(Path, "rename", None)
        with pytest.raises(ZeroDivisionError), files.replacing_folder(folder):
            raise ZeroDivisionError
        with files.replacing_folder(folder) as new:
            (new / "new").touch()
            assert os.listdir(folder) == ["old"]
        assert list(folder.parent.rglob("*")) == [folder, folder / "new"]
        (folder / "link").symlink_to(folder.parent)
        for name in ("link", "new"):  # whatever is there
            with files.replacing_folder(folder / name) as new:
                (new / "inside").touch()
            assert os.listdir(folder / name) == ["inside"]
        assert sorted(os.listdir(folder)) == ["link", "new"]

    def test_where_it_cannot_be_one_step(self, folder, monkeypatch):
        """The old folder comes back: at once if the new one cannot be moved, or with the next."""
        monkeypatch.setattr(files.ctypes, "CDLL", lambda _: None)
        with files.replacing_folder(folder) as new:
            (new / "new").touch()
        assert list(folder.parent.rglob("*")) == [folder, folder / "new"]
        rename = Path.rename

        def fail(path, target):
            if path.name.startswith(".tmp-"):
                raise OSError("disk full")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", fail)
        with pytest.raises(OSError, match="disk full"), files.replacing_folder(folder):
            pass
        assert os.listdir(folder) == ["new"]
        monkeypatch.undo()
        folder.rename(folder.with_name(".old-folder"))
        with pytest.raises(ZeroDivisionError), files.replacing_folder(folder):
            raise ZeroDivisionError
        assert list(folder.parent.rglob("*")) == [folder, folder / "new"]


WRITE = """\
import sys
from pathlib import Path
from knn_metric import files
with getattr(files, sys.argv[1])(Path(sys.argv[2])):
    print("writing", flush=True)
    input()
"""


@pytest.mark.parametrize("function", ["replacing_file", "replacing_folder"])
def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path, function):
    """And what is written at the same time stays: a folder by one process only."""
    path, beside = tmp_path / "a [1]", tmp_path / "a [1]-2"
    line = [sys.executable, "-c", WRITE, function]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with ExitStack() as stack:
        processes = (subprocess.Popen([*line, at], **pipes) for at in (path, beside))
        killed, other = map(stack.enter_context, processes)
        for one in (killed, other):
            assert one.stdout.readline() == b"writing\n"
        if function == "replacing_folder":
            words = r"a \[1\] is being written by another process$"
            with pytest.raises(UserError, match=words), files.replacing_folder(path):
                pass
        killed.kill()
        killed.wait()
        assert len(os.listdir(tmp_path)) == 2
        with getattr(files, function)(path):
            assert len(os.listdir(tmp_path)) == 2
        assert path.exists()
        other.communicate(b"\n")
    assert sorted(os.listdir(tmp_path)) == ["a [1]", "a [1]-2"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o027, 0o640)])
def test_modes_are_the_umasks(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        with files.replacing_file(tmp_path / "file"):
            pass
        with files.replacing_folder(tmp_path / "folder") as new:
            (new / "part").touch()
    finally:
        os.umask(before)
    folder = tmp_path / "folder"
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "file", folder / "part", folder)]
    assert modes == [mode, mode, 0o777 & ~mask]


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["file/a.csv"], "Not a directory"),
        (["folder"], "Is a directory"),
        (["fifo.png"], "Is no regular file"),
        (["link"], "{}/file is read"),
        (["a.png", "folder/../a.png"], "{}/a.png is written too"),
    ],
)
def test_what_cannot_be_written(tmp_path, names, problem):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo.png")
    files.require_writable(tmp_path / "new" / "folder" / "a.csv")
    assert not (tmp_path / "new").exists()
    paths = [tmp_path / name for name in names]
    with pytest.raises(UserError) as caught:
        files.require_writable(*paths, inputs=[f"{tmp_path}/file"])
    assert str(caught.value) == f"{paths[-1]} cannot be written: {problem.format(tmp_path)}"


def test_where_modes_cannot_be_set(detector, tmp_path, monkeypatch):
    """As on a Windows drive: an artifact is saved, and a payload is copied."""

    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    detector.save(tmp_path / "artifact")
    Payload(files.ROOT, ("src/",)).copy(tmp_path / "copy")
    assert (tmp_path / "copy" / "src" / "func_main.py").exists()


def test_a_table_and_a_page(tmp_path):
    """Columns are aligned; a page is one file, and nothing in it is taken for markup."""
    rows = [["rows", "alarms", "field"], ["<b>a</b>", "-", "-"], ["b & c", "5.1%", "age"]]
    table = "rows      alarms  field\n<b>a</b>       -  -\nb & c       5.1%  age"
    assert tables.format_table(rows, "<><") == table
    fields = tables.format_fields({"data": "uci", "threshold_": "4.2"})
    assert fields == "data        uci\nthreshold_  4.2"
    page, picture = tmp_path / "a.html", tmp_path / "a.png"
    picture.write_bytes(PNG)
    write_page(page, "of $x & <y>", {"data": "x.csv, <script>"}, {"By row": rows}, [picture])
    text = page.read_text()
    assert text.count("of $x &amp; &lt;y&gt;") == 2
    assert "x.csv, &lt;script&gt;" in text
    cells = re.findall(r'<td(?: class="(.*?)")?>([^<\n]*)', text)
    assert [unescape(cell) for _, cell in cells] == [*rows[1], *rows[2]]
    assert [kind for kind, _ in cells] == ["", "number", ""] * 2
    assert re.findall(r'(?:src|href)="(.*?)[,"]', text) == ["data:image/png;base64"]
