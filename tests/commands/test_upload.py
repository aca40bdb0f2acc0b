"""`upload`, with a stand-in for hs: where to, what, what it says, and what it refuses."""

import os

import pytest
import yaml
from helpers import assert_one_line, make_home, run

from knn_metric.contract import Contract
from knn_metric.package.payload import staging

HS = """\
#!/bin/sh
case $1 in --help) echo '  upload   a model';; *) ls -A src; echo Success: uploaded;; esac
"""


@pytest.fixture
def upload(manager, tmp_path, monkeypatch):
    hs = tmp_path / "hs"
    hs.write_text(HS)
    hs.chmod(0o755)
    address = manager.address.replace("://", "://me:secret@")
    monkeypatch.setenv("HOME", make_home(tmp_path, 2, address)["HOME"])
    return lambda folder: run("upload", "--package", folder, "--hs", hs, "--allow-sample")


@pytest.mark.usefixtures("checked")
def test_passwords_are_not_shown(upload, manager, package):
    result = upload(package)
    assert (result.status, result.err) == (0, "")
    assert f"to {manager.address.replace('://', '://***@')} with hs 2.x" in result.out
    manager.fail("GET ", 500)
    result = upload(package)
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


@pytest.mark.parametrize("data", ["s3://bucket/known.csv", "data/known.csv"])
def test_what_hs_reads(data, light_package):
    """Training data is found, names are texts, and everybody may read it, whatever the umask."""
    path = light_package / "serving.yaml"
    definition = yaml.safe_load(path.read_text()) | {"training-data": data, "name": 7}
    inputs = definition["contract"]["inputs"]
    definition["contract"]["inputs"] = {"no": inputs.pop("age"), **inputs}
    path.write_text(yaml.safe_dump(definition, sort_keys=False).replace("'no':", "no:"))
    (light_package / "classifier.json").unlink()
    (light_package / "requirements.txt").chmod(0o600)
    before = os.umask(0o077)
    try:
        contract = Contract.read(light_package)
        with staging(light_package, contract) as folder:
            staged = yaml.safe_load((folder / "serving.yaml").read_text())
            modes = [path.stat().st_mode for path in folder.rglob("*")]
    finally:
        os.umask(before)
    assert all(mode & 0o444 == 0o444 for mode in modes)
    assert staged["training-data"] == (data if ":" in data else str(light_package / data))
    assert (staged["name"], list(staged["contract"]["inputs"])[:2]) == ("7", ["no", "workclass"])
