"""What became of an upload is what the manager says, whatever hs says: by a stand-in for hs."""

import re
import sys
from contextlib import nullcontext

import pytest

from knn_metric.cli import UserError
from knn_metric.platform import hs as hs_module
from knn_metric.platform.manager import Manager

HS = """\
#!{python}
import sys, tarfile, requests
tarfile.open("payload", mode="w:gz").close()
files = {{"payload": open("payload", "rb"), "metadata": '{{"name": "metric", "runtime": {{}}}}'}}
if {uploads}:
    requests.post("{address}/api/v2/model/upload", files=files).raise_for_status()
sys.stdout.buffer.write(b"Step 1/4 \\xff\\n")
print("was applied successfully")
sys.exit({status})
"""


@pytest.mark.parametrize(
    ("built", "uploads", "status", "said"),
    [
        ("Released", True, 0, ""),
        ("Failed", True, 0, "metric:1 is Failed"),
        ("Assembling", True, 0, "metric:1 is Assembling"),
        ("Released", True, 255, "(exit status 255); metric:1 is Released all the same"),
        ("Released", False, 1, "(exit status 1)"),
        ("Released", False, 0, ""),
    ],
)
def test_an_upload(manager, tmp_path, monkeypatch, capfd, built, uploads, status, said):
    monkeypatch.setattr(hs_module, "PAUSE", 0)
    monkeypatch.setattr(hs_module, "LOOKS", 3)
    manager.built = built
    manager.add_version("other", 1)
    hs, address = tmp_path / "hs", manager.address
    hs.write_text(HS.format(python=sys.executable, address=address, uploads=uploads, status=status))
    hs.chmod(0o755)
    expected = "metric:1" if uploads else ""
    with pytest.raises(UserError, match=re.escape(said)) if said else nullcontext():
        assert hs_module.upload(str(hs), 3, tmp_path, Manager(address), "metric") == expected
    assert capfd.readouterr().out.startswith("Step 1/4 \ufffd\n")
