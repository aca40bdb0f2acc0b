"""numpy's power as another processor may round it, also where other packages write ``**``.

With AVX-512 numpy takes powers by instructions of its own, whose results may be a unit in the last
place off the C library's.
"""

import ctypes
import math
from contextlib import contextmanager

import numpy as np

DOUBLE = 12  # NPY_DOUBLE
REPLACE_LOOP = 30  # the place of PyUFunc_ReplaceLoopBySignature in numpy/__ufunc_api.h
LOOP = ctypes.CFUNCTYPE(None, *[ctypes.POINTER(ctypes.c_ssize_t)] * 3, ctypes.c_void_p)


@contextmanager
def power_moved(units):
    """Let numpy take powers with the C library, and move each result.

    Parameters
    ----------
    units : sequence of int, -1 to 1
        By how many units in the last place, drawn at random with a fixed seed: ``(-1, 1)``; or
        ``(0,)`` for the C library's own results on every processor.
    """
    random = np.random.default_rng(0)

    @LOOP
    def loop(places, count, steps, _):
        n = count[0]
        base, exponent, out = (_view(places[place], n, steps[place]) for place in range(3))
        powers = np.array(list(map(math.pow, base.tolist(), exponent.tolist())))
        moves = random.choice(units, size=n) * (powers != 0)  # of 0 every processor takes 0
        out[:] = np.where(moves, np.nextafter(powers, np.copysign(np.inf, moves)), powers)

    before = _replace(ctypes.cast(loop, ctypes.c_void_p))
    try:
        yield
    finally:
        _replace(before)


def _view(place, n, step):
    memory = (ctypes.c_char * (step * (n - 1) + 8)).from_address(place)
    return np.ndarray(n, np.float64, memory, strides=(step,))


def _replace(loop):
    """Set what numpy takes powers of doubles with; return what it was."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    api = pointer(np._core._multiarray_umath._UFUNC_API, None)
    function = ctypes.cast(api, ctypes.POINTER(ctypes.c_void_p))[REPLACE_LOOP]
    signature = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, *[ctypes.c_void_p] * 3)
    kinds, before = (ctypes.c_int * 3)(*[DOUBLE] * 3), ctypes.c_void_p()
    assert signature(function)(np.power, loop, ctypes.byref(kinds), ctypes.byref(before)) == 0
    return before
