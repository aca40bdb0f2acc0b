"""Fetch a file, and keep it only if it is the right one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import requests
from tqdm import tqdm

from knn_metric.cli import UserError
from knn_metric.files import replacing_file

TIMEOUT = 30  # seconds, to connect and between two blocks


def download(url: str, path: Path, sha256: str) -> None:
    """Fetch a file and move it into place once its SHA-256 is right.

    Raises
    ------
    UserError
        If the server cannot be reached, or sends something else; nothing is left behind.
    """
    try:
        with replacing_file(path) as new:
            received = _fetch(url, new)
            if received != sha256:
                raise UserError(f"{url}: SHA-256 {received}, expected {sha256}")
    except requests.RequestException as error:
        status = getattr(error.response, "status_code", None)
        reason = f"HTTP {status}" if status else type(error).__name__
        raise UserError(f"cannot download {url} ({reason})") from error


def _fetch(url: str, path: Path) -> str:
    digest = hashlib.sha256()
    with requests.get(url, stream=True, timeout=TIMEOUT) as response, path.open("wb") as file:
        response.raise_for_status()
        size = int(response.headers.get("Content-Length", 0)) or None
        with tqdm(total=size, unit="B", unit_scale=True, desc=path.name, disable=None) as bar:
            for block in response.iter_content(65536):
                file.write(block)
                digest.update(block)
                bar.update(len(block))
    return digest.hexdigest()
