"""`upload`, with a stand-in for hs: what it says, and what it refuses."""

import shutil

import pytest
from helpers import assert_one_line, make_home, run

HS = """\
#!/bin/sh
case $1 in --help) echo '  upload   a model';; *) ls -A src; echo Success: uploaded;; esac
"""


@pytest.fixture
def upload(manager, tmp_path, monkeypatch):
    """Return a function that uploads a package to a cluster whose address has a password."""
    hs = tmp_path / "hs"
    hs.write_text(HS)
    hs.chmod(0o755)
    address = manager.address.replace("://", "://me:secret@")
    monkeypatch.setenv("HOME", make_home(tmp_path, 2, address)["HOME"])
    return lambda folder: run("upload", "--package", folder, "--hs", hs, "--allow-sample")


def test_passwords_are_not_shown(upload, manager, light_package, artifact):
    shutil.copy(artifact, light_package)
    result = upload(light_package)
    assert (result.status, result.err) == (0, "")
    assert f"to {manager.address.replace('://', '://***@')} with hs 2.x" in result.out
    manager.fail("GET ", 500)
    result = upload(light_package)
    assert_one_line(result, "://***@127.0.0.1")
    assert "secret" not in result.out + result.err


def test_private_files_are_refused(upload, light_package):
    (light_package / "src" / "\x1b[2J.pem").touch()
    (light_package / "src" / ".env").symlink_to("/etc/passwd")
    result = upload(light_package)
    refusal = "knn-metric upload: nothing was uploaded: the check found problems\n"
    assert (result.status, result.err) == (1, refusal)
    assert "FAIL  payload        src/\\x1b[2J.pem is private or a leftover" in result.out
    assert "FAIL  payload        src/.env is private or a leftover" in result.out
    assert not list(light_package.glob(".tmp-*"))
