"""amx.c from Python: what an operation is, whether this machine can run one, and running them.

The library is built when the package is installed, where that is possible (x86-64, Linux, a C compiler).
"""

import ctypes
import functools
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from upscale.engines.machine import has_amx
from upscale.spec import ModelSpec

CHUNKS, TAPS, SUMS = 32, 9, 2

_MOST = 768
"""Channels that a convolution reads; as chunks of 32, of which each of its inputs may leave one half empty."""


class Operation(ctypes.Structure):
    """`Op` of amx.c, which says what its fields mean."""

    _fields_ = (
        ("inputs", ctypes.c_void_p * CHUNKS),
        ("input_at", ctypes.c_int64 * CHUNKS),
        ("chunks", ctypes.c_int32),
        ("taps", ctypes.c_int32),
        ("dy", ctypes.c_int32 * TAPS),
        ("dx", ctypes.c_int32 * TAPS),
        ("top", ctypes.c_int32),
        ("rows", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("tiles", ctypes.c_int32),
        ("weights", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("slopes", ctypes.c_void_p),
        ("sums", ctypes.c_void_p * SUMS),
        ("scale", ctypes.c_float),
        ("up", ctypes.c_int32),
        ("up_y", ctypes.c_int32),
        ("up_x", ctypes.c_int32),
        ("out", ctypes.c_void_p),
        ("plane", ctypes.c_int64),
        ("low", ctypes.c_int64),
        ("pixels", ctypes.c_void_p),
        ("row", ctypes.c_int64),
        ("step", ctypes.c_int64),
        ("place", ctypes.c_void_p),
        ("channels", ctypes.c_int32),
        ("bytes", ctypes.c_int32),
        ("broken", ctypes.c_void_p),
        ("chain", ctypes.c_int32),
    )


def usable() -> bool:
    """Whether this processor has AMX, the system lets us use it, and the library was built."""
    try:
        return has_amx() and library().amx_ready() == 0
    except OSError:
        return False


def computes(spec: ModelSpec) -> bool:
    """Whether amx.c can compute the network, here."""
    return fits(spec) and usable()


def fits(spec: ModelSpec) -> bool:
    """Whether the network's convolutions read no more channels than an operation can name, and it has no other filters."""
    if spec.arch == "foreign" or spec.upsampling != "nearest":
        return False
    widest = spec.features + 4 * spec.growth if spec.arch == "rrdb" else 3 * spec.features
    return max(widest, 3 * spec.features) <= _MOST


@functools.cache
def library() -> ctypes.CDLL:
    """Raises OSError where it was not built, or from another amx.c."""
    spec = importlib.util.find_spec("upscale.engines._amx")
    if spec is None or spec.origin is None:
        raise OSError("upscale was installed without amx.c's library")
    return opened(Path(spec.origin))


def opened(path: Path) -> ctypes.CDLL:
    """Raises OSError where the file cannot be opened, or was built from another amx.c than this file knows."""
    found = ctypes.CDLL(str(path))
    if found.amx_op_size() != ctypes.sizeof(Operation):
        raise OSError(f"{path}: built from another version of amx.c; install upscale again")
    return found


def run(operations: Sequence[Operation], threads: int) -> None:
    """One after the other, each on all threads. Raises MemoryError."""
    if library().amx_run((Operation * len(operations))(*operations), len(operations), threads):
        raise MemoryError("no memory for the threads' work")


def cores() -> int:
    """Threads to use: one for each processor that this process may use, or fewer where OMP_NUM_THREADS says so."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wish = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return max(1, min(found, int(wish))) if wish.isdecimal() else found
