"""What became of an upload is what the manager says, whatever hs says: by a stand-in for hs."""

import os
import re
from contextlib import nullcontext

import pytest
from helpers import make_home

from knn_metric.cli import UserError
from knn_metric.platform import hs as hs_module
from knn_metric.platform.hs import selected_cluster

HS = r"""#!/bin/sh
printf 'Step 1/4 \377 \033[2J http://me:secret@host\n'
echo a warning >&2
echo was applied successfully
exit {}
"""


@pytest.mark.parametrize(
    ("built", "uploads", "status", "said"),
    [
        ("Released", True, 0, ""),
        ("Failed", True, 0, "metric:1 is Failed"),
        ("Assembling", True, 0, "metric:1 is still Assembling after 0 minutes"),
        ("Released", True, 255, "(exit status 255); metric:1 is Released all the same"),
        ("Released", False, 1, "(exit status 1)"),
        ("Released", False, 0, ""),
    ],
)
def test_an_upload(manager, tmp_path, monkeypatch, capfd, built, uploads, status, said):
    run_aloud = hs_module.run_aloud

    def run_and_upload(line, folder):
        if uploads:
            manager.add_version("metric", 1, status=built)
        return run_aloud(line, folder)

    for name, one in {"PAUSE": 0, "LOOKS": 3, "run_aloud": run_and_upload}.items():
        monkeypatch.setattr(hs_module, name, one)
    manager.add_version("other", 1)
    hs = tmp_path / "hs"
    hs.write_text(HS.format(status))
    hs.chmod(0o755)
    expected = "metric:1" if uploads else ""
    with pytest.raises(UserError, match=re.escape(said)) if said else nullcontext():
        assert hs_module.upload(str(hs), 3, tmp_path, manager.address, "metric") == expected
    said = capfd.readouterr()
    assert "3.x\nStep 1/4 \ufffd \\x1b[2J http://***@host\na warning\n" in said.out
    assert said.err == ""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", make_home(tmp_path, 2, "http://two.example")["HOME"])
    return tmp_path / "home" / hs_module.CONFIGS[2]


def test_the_cluster_is_that_of_either_configuration(config, tmp_path):
    assert selected_cluster() == selected_cluster(2) == "http://two.example"
    make_home(tmp_path, 3, "http://three.example")
    assert selected_cluster(3) == "http://three.example"
    words = r"http://three\.example and http://two\.example: say which with --cluster ADDRESS"
    with pytest.raises(UserError, match=words):
        selected_cluster()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"clusters: []\ncurrent-cluster: null\n", "no cluster is selected"),
        (b"[", r"config\.yaml cannot be read, ParserError"),
        (b"clusters: \xe9", r"config\.yaml cannot be read: byte 10 is not UTF-8"),
        (b"{clusters: [{name: a, cluster: {server: 7}}], current-cluster: a}", "a server, got 7"),
    ],
)
def test_no_cluster_is_selected(content, words, config):
    config.write_bytes(content)
    with pytest.raises(UserError, match=words):
        selected_cluster()


def test_a_pipe_and_no_home(config, monkeypatch):
    config.unlink()
    os.mkfifo(config)
    with pytest.raises(UserError, match=r"config\.yaml cannot be read: it is no regular file"):
        selected_cluster()
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # a user without an entry
    with pytest.raises(UserError, match="not determine home directory: --cluster says which"):
        selected_cluster()
