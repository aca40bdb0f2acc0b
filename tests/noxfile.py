"""Train on two Pythons, serve on six, beside the packages of the released images: `make matrix`.

Interpreters come from PATH or pyenv. One that is not installed is skipped by name.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parents[1]
MATRIX = ROOT / ".nox" / "matrix"
UCI = ROOT.parent / "shared" / "census" / "adult.data"
TRAINERS = ("3.11", "3.13")
# What the images hold before requirements.txt is installed, by release; read off the images.
IMAGES = {
    "2.2.0": ("protobuf==3.11.3", "hydro-serving-grpc==2.1.0rc1", "requests==2.23.0"),
    "2.4.3": (
        "hydrosdk==2.3.2",
        "numpy==1.18.5",
        "pandas==1.0.5",
        "protobuf==3.13.0",
        "hydro-serving-grpc==2.2.1",
    ),
    "3.0.3": (
        "hydrosdk==3.0.3",
        "numpy==1.18.3",
        "pandas==1.1.5",
        "protobuf==3.17.3",
        "hydro-serving-grpc==3.0.3",
    ),
    "none": (),
}
SERVERS = [
    ("3.6", "2.2.0"),
    ("3.6", "2.4.3"),
    ("3.7", "2.4.3"),
    ("3.8", "2.4.3"),
    ("3.7", "3.0.3"),
    ("3.8", "3.0.3"),
    ("3.11", "none"),
    ("3.12", "none"),
    ("3.13", "none"),
]

nox.options.sessions = ["train", "serve"]
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
    package = MATRIX / session.python
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "src", package / "src", ignore=shutil.ignore_patterns("__pycache__"))
    session.install("--quiet", "-r", "requirements-dev.txt")
    data = str(UCI) if UCI.exists() else "sample"
    artifact, plot = package / "monitoring_model.joblib", package / "knn_comparison.png"
    program = ["python", "scripts/train.py", "--data", data, "--out", artifact, "--plot", plot]
    session.run(*map(str, program))
    session.run("python", "tests/matrix.py", "score", str(package), data)


@nox.session
@nox.parametrize(("python", "image"), SERVERS)
def serve(session, image):
    """Serve each trained artifact beside an image's packages, and compare the scores."""
    session.chdir(ROOT)
    packages = [MATRIX / python for python in TRAINERS if (MATRIX / python).exists()]
    if not packages:
        session.error("no artifact: none of the training interpreters is installed")
    install_image(session, image)
    for package in packages:
        session.run("python", "tests/matrix.py", "compare", str(package), *IMAGES[image])


@nox.session(python=["3.7", "3.8"])
def image(session):
    """Make the environment of release 3.0.3's image, with what scripts/serve.py needs besides."""
    session.chdir(ROOT)
    install_image(session, "3.0.3")
    session.install("--quiet", "grpcio-health-checking", *IMAGES["3.0.3"])


def install_image(session, image):
    """Install what an image holds, then requirements.txt on top as the platform does."""
    if session.python == "3.6":  # its own pip 18 does not know the wheels
        session.install("--quiet", "pip==21.3.1")
    session.install("--quiet", "wheel")
    if IMAGES[image]:
        session.install("--quiet", *IMAGES[image])
    session.install("--quiet", "-r", "requirements.txt")
    session.run("python", "-m", "pip", "check")
