"""Install the pinned requirements into .venv, by the Python that runs this.

examples:
  setup.py        what `make setup` does, with the first Python that it finds
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from monitoring import cli

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv"
INSTALLED = FOLDER / "installed"  # written last; the Makefile looks at its age and content
REQUIREMENTS = [ROOT / "requirements.txt", ROOT / "requirements-dev.txt"]
IDENTITY = f"{sys.version} {sys.base_prefix}\n"


@cli.entry
def main(argv: Sequence[str] | None = None) -> None:
    cli.make_parser(__file__, __doc__).parse_args(argv)
    if Path(sys.prefix) == FOLDER:
        raise cli.UserError("this Python is that of .venv, which is installed anew: `make setup`")
    with locked(ROOT):
        if not is_installed():
            install()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time into a folder: the second would clear what the first installs."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def is_installed() -> bool:
    """Tell whether another make has installed what is pinned meanwhile."""
    if not INSTALLED.exists() or INSTALLED.read_text() != IDENTITY:
        return False
    return INSTALLED.stat().st_mtime >= max(file.stat().st_mtime for file in REQUIREMENTS)


def install() -> None:
    program = f"installing the pinned requirements into .venv with {sys.executable}"
    print(f"{program}, about a minute", flush=True)
    venv.create(FOLDER, clear=True, symlinks=True, with_pip=True)
    pip = [str(FOLDER / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    # The second puts src/ and scripts/ on the path.
    for what in (["-r", str(REQUIREMENTS[-1])], ["--no-deps", "--editable", str(ROOT)]):
        result = subprocess.run([*pip, "install", *what])
        if result.returncode:
            raise cli.UserError(f"pip failed (exit status {result.returncode})")
    INSTALLED.write_text(IDENTITY)


if __name__ == "__main__":
    sys.exit(main())
