"""Which of two engines is faster on this machine: measured on a small picture, and remembered in the cache.

Kernels of our own are not faster on every card and with every version of its libraries, so nobody has to believe it.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np

from upscale.bands import Plan
from upscale.checkpoint import Checkpoint
from upscale.engines import Engine
from upscale.engines.machine import device_name
from upscale.engines.probe import remember, remembered
from upscale.files import cache_dir
from upscale.spec import ModelSpec

SIDE = 192
"""Large enough to fill a large GPU, small enough to be over in a second."""

_REPEATS = 5

_WIDTHS = (16, 32, 64, 128)
"""Numbers of channels that the matrix products of our kernels can have."""


def fits_kernels(spec: ModelSpec) -> bool:
    """Whether a network's dense blocks have widths that kernels.py can compute; said without importing torch."""
    return spec.arch == "rrdb" and spec.features in _WIDTHS and spec.growth in _WIDTHS


def speedup(new: Callable[[], Engine], old: Callable[[], Engine], checkpoint: Checkpoint) -> float:
    """How many times as fast as the old engine the new one is here; the same for all networks of a shape. 0 where the new
    one cannot run."""
    first = new()
    spec, place = checkpoint.spec, cache_dir() / "races.json"
    shape = f"{spec.arch} {spec.features} {spec.growth}"
    try:
        key = "|".join((first.name, first.version, device_name(first.device), first.precision, shape))
        known = remembered(place)
        if key not in known:
            known[key] = round(_seconds(old) / _timed(first), 3)
            remember(place, known)
        return known[key]
    finally:
        first.close()


def _seconds(open_: Callable[[], Engine]) -> float:
    engine = open_()
    try:
        return _timed(engine)
    finally:
        engine.close()


def _timed(engine: Engine) -> float:
    """Seconds for a picture, which comes back to the processor, so that all is done; the median after a first run."""
    side = SIDE - SIDE % engine.spec.multiple
    picture = np.random.default_rng(0).random((side, side, 3), dtype=np.float32)
    taken: list[float] = []
    for _ in range(_REPEATS + 1):
        start = time.perf_counter()
        for _ in engine.run(iter([picture]), side, side, Plan(side, side), np.uint8):
            pass
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])
