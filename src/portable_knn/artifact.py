"""A file of plain Python values and ``.npy`` bytes: it loads everywhere, and nothing in it is run.

The file is a pickle of one object, whose state is the values and their digest.
"""

import contextlib
import hashlib
import io
import os
import pickle
import pickletools
import stat
import tempfile
import zlib
from typing import Any, Dict, Iterator, List, Union

import numpy as np

FORMAT = 2
AnyPath = Union[str, "os.PathLike[str]"]
# What a pickle of one object and plain values is made of: no tuple, whose hash may take for ever.
OPCODES = frozenset(
    "PROTO FRAME STOP MARK MEMOIZE STACK_GLOBAL EMPTY_TUPLE NEWOBJ BUILD BINGET LONG_BINGET "
    "EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS NONE NEWTRUE NEWFALSE BININT BININT1 "
    "BININT2 LONG1 BINFLOAT SHORT_BINUNICODE BINUNICODE SHORT_BINBYTES BINBYTES BINBYTES8".split()
)
MOST_CONTAINERS = 100000  # lists and dictionaries, of which a detector has a few for each feature
PART = 1 << 16  # bytes that are spelled at a time
LONGEST_SHARED = 1000  # letters of a name that stands in several places


def write(path: AnyPath, value: object) -> None:
    """Write an object to `path` as a file for `joblib.load`, whole or not at all."""
    # The bytes that joblib.dump(compress="zlib") gives an object that holds no arrays.
    pickled = pickle.dumps(value, protocol=4)
    _require_plain(pickled, type(value))
    content = zlib.compress(pickled, 9)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(path)), prefix=".tmp-")
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


def read(path: AnyPath, kind: type) -> Any:
    """Read an object of one kind that `write` wrote; raise an Exception if it is none."""

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> type:
            if (module, name) != (kind.__module__, kind.__name__):
                raise TypeError(f"expected a {kind.__name__}, got a {name}")
            return kind

    # A pipe would never be read to its end; what a folder is, opening says.
    if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
        raise ValueError("it is no regular file")
    with open(path, "rb") as file:
        content = file.read()
    if content.startswith(b"x"):  # zlib's first byte, and no pickle's
        content = zlib.decompress(content)
    _require_plain(content, kind)
    value = Unpickler(io.BytesIO(content)).load()
    if not isinstance(value, kind):
        raise TypeError(f"expected a {kind.__name__}, got a {type(value).__name__}")
    return value


def _require_plain(content: bytes, kind: type) -> None:
    """Refuse a pickle of another object, or of plain values that are without an end once read."""
    memo: List[bool] = []  # whether what may stand in several places is a short text
    n_objects = n_containers = 0
    last: Any = ""
    for opcode, argument, _ in pickletools.genops(content):
        name = opcode.name
        if name == "STACK_GLOBAL" and last != kind.__name__:
            raise TypeError(f"expected a {kind.__name__}, got a {last}")
        n_objects += name == "STACK_GLOBAL"
        if name not in OPCODES or n_objects > 1:
            raise TypeError(f"expected plain values, got a pickle with {name}")
        if name == "LONG1" and abs(int(argument or 0)) >= 2**63:  # as keys they may be of one hash
            raise ValueError("it holds an integer beyond 64 bits")
        if name in ("BINGET", "LONG_BINGET") and not memo[int(argument or 0)]:
            raise ValueError("a part of it stands in two places")
        n_containers += name in ("EMPTY_LIST", "EMPTY_DICT")
        if n_containers > MOST_CONTAINERS:
            raise ValueError(f"it holds more than {MOST_CONTAINERS} lists and dictionaries")
        if name == "MEMOIZE":
            memo.append(isinstance(last, str) and len(last) < LONGEST_SHARED)
        else:
            last = argument


def seal(content: Dict[str, Any]) -> Dict[str, Any]:
    """Return plain values as the state of an object, with the format's number and a digest."""
    content = {"format": FORMAT, **content}
    return {"content": content, "digest": digest(content)}


def unseal(state: Dict[str, Any]) -> Dict[str, Any]:
    """Return what `seal` was given; raise ValueError if it is damaged or of another format."""
    content = state.get("content")
    try:
        if not isinstance(content, dict) or state.get("digest") != digest(content):
            raise ValueError("the content is damaged: it does not match its digest")
    except RecursionError:
        raise ValueError("its values are nested too deep") from None
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']} found, format {FORMAT} expected")
    return content


def digest(content: Dict[str, Any]) -> str:
    """Return the SHA-256 of plain values; their ASCII text is the same on every Python."""
    sha256 = hashlib.sha256()
    for text in _spell(content):
        sha256.update(text.encode("ascii"))
    return sha256.hexdigest()


def _spell(value: Any) -> Iterator[str]:
    """Yield `ascii` of plain values in parts: as a whole that of bytes is four times as long."""
    if isinstance(value, dict):
        for place, name in enumerate(value):
            yield f"{', ' if place else '{'}{name!a}: "
            yield from _spell(value[name])
        yield "}" if value else "{}"
    elif isinstance(value, bytes):
        # Bytes stand between single quotes, or double ones where they hold none but single ones.
        other, quote = (b"'", '"') if b"'" in value and b'"' not in value else (b'"', "'")
        yield f"b{quote}"
        for first in range(0, len(value), PART):
            yield ascii(value[first : first + PART] + other)[2:-2]
        yield quote
    else:
        yield ascii(value)


def to_plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def shrink(array: np.ndarray) -> np.ndarray:
    """Return integers in the smallest type that holds them all, and other numbers as they are."""
    array = np.asarray(array)
    if (np.rint(array) == array).all() and np.abs(array).max() < 2**53:
        low, high = array.min(), array.max()
        kinds = ("u1", "i1", "u2", "i2", "u4", "i4", "i8")
        fits = (kind for kind in kinds if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
        return array.astype(next(fits))
    return array


def to_npy(array: np.ndarray) -> bytes:
    """Pack an array as ``.npy`` bytes, columns kept together: they compress better than rows."""
    buffer = io.BytesIO()
    np.save(buffer, np.asfortranarray(shrink(array)), allow_pickle=False)
    return buffer.getvalue()


def from_npy(content: bytes) -> np.ndarray:
    return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))
