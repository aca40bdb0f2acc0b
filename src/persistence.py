"""Objects as files that load everywhere: plain Python values and ``.npy`` bytes, and no code."""

import contextlib
import hashlib
import io
import os
import pickle
import tempfile
import zlib
from pathlib import Path

import numpy as np


def write(value, path):
    """Write an object to `path` as a file for `joblib.load`, whole or not at all.

    Raises
    ------
    OSError
        If the file cannot be written; what was at `path` is still there.
    """
    path = os.path.abspath(path)
    # The bytes that joblib.dump(compress="zlib") gives an object that holds no arrays.
    content = zlib.compress(pickle.dumps(value, protocol=4), 9)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".tmp-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp's 0600 would lock out the unprivileged user that 3.x images run as. Windows
        # drives and some network file systems refuse every mode, and have one for all files.
        with contextlib.suppress(OSError):
            os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read(path, kind):
    """Read an object of one kind that `write` wrote; nothing in the file is run.

    Raises
    ------
    TypeError
        If the file holds anything of another kind.
    Exception
        Of any kind, if it is damaged or cannot be read.
    """
    content = Path(path).read_bytes()
    if content.startswith(b"x"):  # zlib's first byte, and no pickle's
        content = zlib.decompress(content)
    value = _Unpickler(io.BytesIO(content), kind).load()
    if not isinstance(value, kind):
        raise TypeError(f"expected a {kind.__name__}, got a {type(value).__name__}")
    return value


class _Unpickler(pickle.Unpickler):
    def __init__(self, file, kind):
        super().__init__(file)
        self.kind = kind

    def find_class(self, module, name):
        if (module, name) != (self.kind.__module__, self.kind.__name__):
            raise TypeError(f"expected a {self.kind.__name__}, got a {name}")
        return self.kind


def digest(content):
    """Return the SHA-256 of plain values; their ASCII text is the same on every Python."""
    return hashlib.sha256(ascii(content).encode("ascii")).hexdigest()


def to_plain(value):
    return value.item() if isinstance(value, np.generic) else value


def shrink(array):
    """Return integers in the smallest type that holds them all, and other numbers as they are."""
    array = np.asarray(array)
    if (np.rint(array) == array).all() and np.abs(array).max() < 2**53:
        return array.astype(_smallest_integer_type(array.min(), array.max()))
    return array


def to_npy(array):
    """Pack an array as ``.npy`` bytes, columns kept together: they compress better than rows."""
    buffer = io.BytesIO()
    np.save(buffer, np.asfortranarray(shrink(array)), allow_pickle=False)
    return buffer.getvalue()


def _smallest_integer_type(low, high):
    for name in ("u1", "i1", "u2", "i2", "u4", "i4", "i8"):
        if np.iinfo(name).min <= low and high <= np.iinfo(name).max:
            return name


def from_npy(content):
    return np.load(io.BytesIO(content), allow_pickle=False)
