"""Train on two Pythons, serve on six, beside the packages of the released images: `make matrix`.

Interpreters come from PATH or pyenv. One that is not installed is skipped by name.
"""

import os
import re
import shutil
import subprocess

import nox

from knn_metric.files import ROOT
from knn_metric.platform.releases import HS, IMAGES

MATRIX = ROOT / ".nox" / "matrix"
# Nearly half of pip's time goes into byte code of modules that these sessions never import.
QUICKLY = ("--quiet", "--no-compile")
TRAINERS = ("3.11", "3.13")
SERVERS = [
    ("3.6", "2.2.0"),
    ("3.6", "2.4.3"),
    ("3.7", "2.4.3"),
    ("3.8", "2.4.3"),
    ("3.7", "3.0.3"),
    ("3.8", "3.0.3"),
    ("3.11", None),
    ("3.12", None),
    ("3.13", None),
]

nox.options.sessions = ["train", "serve", "hs"]
nox.options.default_venv_backend = "venv"  # virtualenv no longer makes a Python 3.6
nox.options.error_on_missing_interpreters = False
nox.options.envdir = str(ROOT / ".nox")
if shutil.which("pyenv"):  # its shims run only the versions that are named
    listed = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True)
    versions = [line for line in listed.stdout.split() if re.fullmatch(r"3\.[\d.]+", line)]
    os.environ["PYENV_VERSION"] = ":".join(versions)


@nox.session(python=TRAINERS)
def train(session):
    """Train an artifact, and score every row of the data with it."""
    session.chdir(ROOT)
    session.install(*QUICKLY, "--editable", ".")
    data = "uci" if (ROOT / "data" / "adult.data").exists() else "sample"
    package = MATRIX / f"trained-{session.python}"
    shutil.rmtree(package, ignore_errors=True)
    session.run("knn-metric", "new", str(package), "--for", "examples/adult")
    plot = package / "knn_comparison.png"
    session.run(
        "knn-metric", "train", "--data", data, "--package", str(package), "--plot", str(plot)
    )
    session.run("python", "tests/compat/matrix.py", "score", str(package), data)


@nox.session
@nox.parametrize(("python", "image"), SERVERS)
def serve(session, image):
    """Serve each trained artifact beside an image's packages, and compare the scores."""
    session.chdir(ROOT)
    if not MATRIX.exists():
        session.error("no artifact: none of the training interpreters is installed")
    install_image(session, image, *QUICKLY)
    session.run("python", "tests/compat/matrix.py", "compare", str(MATRIX), *IMAGES.get(image, ()))
    if session.python != "3.6":  # `make bench` serves beside an image's packages, by this command
        imports = "import knn_metric.__main__, knn_metric.files, knn_metric.tables"
        session.run("python", "-c", imports, env={"PYTHONPATH": "scripts"})


@nox.session(python=["3.7", "3.8"])
def image(session):
    """Make the environment of release 3.0.3's image, with what `knn-metric serve` needs besides."""
    session.chdir(ROOT)
    install_image(session, "3.0.3", "--quiet")
    session.install("--quiet", "grpcio-health-checking", "grpcio-reflection", *IMAGES["3.0.3"])
    imports = "import knn_metric.platform.server"
    session.run("python", "-c", imports, env={"PYTHONPATH": "scripts"})


@nox.session(python="3.8")
@nox.parametrize("generation", list(HS))
def hs(session, generation):
    """Install a released hs command line, which tests/compat/test_hs.py uploads with."""
    session.install("--quiet", *HS[generation])  # with byte code: it is started often
    session.run("hs", "--help", silent=True)


def install_image(session, image, *options):
    """Install what an image holds, then requirements.txt on top as the platform does."""
    if session.python == "3.6":  # its own pip 18 does not know the wheels
        session.install(*options, "pip==21.3.1")
    session.install(*options, "wheel")
    if image:
        session.install(*options, *IMAGES[image])
    session.install(*options, "-r", "requirements.txt")
    session.run("python", "-m", "pip", "check")
