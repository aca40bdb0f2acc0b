"""Files and folders are replaced once they are complete, or not at all."""

import os
from pathlib import Path

import pytest
from helpers import copy_package, run

from knn_metric import files
from knn_metric.cli import UserError
from knn_metric.contract import Contract
from knn_metric.package.payload import Payload


class TestReplacingFile:
    def test_a_complete_file(self, tmp_path):
        path = tmp_path / "new" / "a.csv"
        with files.replacing_file(path) as new:
            new.write_text("complete")
            assert not path.exists()
        assert path.read_text() == "complete"
        assert path.stat().st_mode & 0o777 == 0o644
        assert os.listdir(path.parent) == ["a.csv"]

    def test_a_failure_leaves_the_old_one(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text("old")
        with pytest.raises(TypeError), files.replacing_file(path) as new:
            new.write_bytes("text")
        assert path.read_text() == "old"
        assert os.listdir(tmp_path) == ["a.csv"]

    def test_the_previous_one_is_kept(self, tmp_path):
        path, previous = tmp_path / "a", tmp_path / "a.previous"
        path.write_text("old")
        previous.write_text("older")
        with pytest.raises(ZeroDivisionError), files.keeping_previous(path):
            raise ZeroDivisionError
        assert previous.read_text() == "older"
        with files.keeping_previous(path):
            path.write_text("new")
        assert previous.read_text() == "old"


class TestReplacingFolder:
    @pytest.fixture
    def folder(self, tmp_path):
        folder = tmp_path / "folder"
        folder.mkdir()
        (folder / "old").touch()
        return folder

    def test_a_complete_folder(self, folder):
        with files.replacing_folder(folder) as new:
            (new / "new").touch()
            assert os.listdir(folder) == ["old"]
        assert os.listdir(folder) == ["new"]
        assert folder.stat().st_mode & 0o755 == 0o755
        assert os.listdir(folder.parent) == ["folder"]

    def test_a_failure_leaves_the_old_one(self, folder):
        with pytest.raises(ZeroDivisionError), files.replacing_folder(folder):
            raise ZeroDivisionError
        assert os.listdir(folder) == ["old"]
        assert os.listdir(folder.parent) == ["folder"]

    def test_a_failure_at_the_moment_of_the_exchange_restores_the_old_one(
        self, folder, monkeypatch
    ):
        rename = Path.rename

        def fail(path, target):
            if target == folder and "-old" not in path.name:
                raise OSError("disk full")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", fail)
        with pytest.raises(OSError, match="disk full"), files.replacing_folder(folder) as new:
            (new / "new").touch()
        assert os.listdir(folder) == ["old"]
        assert os.listdir(folder.parent) == ["folder"]


class TestRequireWritable:
    def test_what_can_be_written(self, tmp_path):
        files.require_writable(tmp_path / "new" / "folder" / "a.csv")
        assert os.listdir(tmp_path) == []

    def test_what_cannot(self, tmp_path):
        (tmp_path / "file").touch()
        (tmp_path / "folder").mkdir()
        os.mkfifo(tmp_path / "fifo.png")
        for name, words in (
            ("file/a.csv", "Not a directory"),
            ("folder", "Is a directory"),
            ("fifo.png", "Is no regular file"),
        ):
            with pytest.raises(UserError, match=words):
                files.require_writable(tmp_path / name)

    def test_an_input_and_a_link_to_it(self, tmp_path):
        data, link = tmp_path / "data.csv", tmp_path / "link.csv"
        data.touch()
        link.symlink_to(data)
        with pytest.raises(UserError) as caught:
            files.require_writable(link, inputs=[str(data)])
        assert str(caught.value) == f"{link} cannot be written: {data} is read"

    def test_another_output(self, tmp_path):
        with pytest.raises(UserError, match="is written too"):
            files.require_writable(tmp_path / "a.png", tmp_path / "b" / ".." / "a.png")


def test_where_modes_cannot_be_set(tmp_path, monkeypatch):
    """As on a Windows drive: training finishes, and a payload is copied."""

    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    folder = copy_package(tmp_path / "package")
    monkeypatch.setattr(os, "chmod", refuse)
    options = ("--package", folder, "--plot", tmp_path / "a.png")
    for _ in range(2):
        result = run("train", "--data", "sample", *options)
        assert (result.status, result.err) == (0, "")
    assert (folder / "monitoring_model.joblib.previous").exists()
    Payload(files.ROOT, Contract.read(files.ROOT).payload).copy(tmp_path / "copy")
    assert (tmp_path / "copy" / "src" / "func_main.py").exists()


def test_through_a_link_its_target_is_replaced(tmp_path):
    path, link = tmp_path / "model", tmp_path / "link"
    path.write_text("old")
    link.symlink_to(path)
    with files.replacing_file(link) as new:
        new.write_text("new")
    assert (path.read_text(), link.is_symlink()) == ("new", True)
