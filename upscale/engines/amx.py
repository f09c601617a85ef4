"""The CPU engine for processors with AMX: convolutions of our own (amx.c), with features and weights in bf16 and sums in fp32.

What is handed on over many blocks, the first, the trunk's last and the picture's last convolution are nearly as exact as fp32
(16 bits instead of 24); for results of more than 8 bits so is the whole tail.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from upscale.bands import Plan, Step
from upscale.checkpoint import Checkpoint
from upscale.engines import Progress, amx_library
from upscale.engines.amx_network import Call, Compact, Rrdb, picture_rows
from upscale.engines.amx_program import Program
from upscale.engines.amx_rows import Store, joined
from upscale.engines.run import run_bands
from upscale.errors import EngineError, NotFiniteError, OutOfMemoryError
from upscale.image import Array, Floats, from_float, is_deep
from upscale.rows import unshuffled
from upscale.stages import Stage, stages

_Band = Any
"""Features; pixels where they come from the tail."""

VERSION = "1"
"""Of what is computed: a probe's verdict holds for one."""


class AmxEngine:
    """See `Engine`. Threads: one for each processor that the process may use."""

    name = "amx"
    device = "cpu"
    precision = "bf16"
    version = VERSION

    def __init__(self, checkpoint: Checkpoint) -> None:
        if not amx_library.fits(checkpoint.spec):
            raise EngineError(f"{checkpoint.spec.name}: amx does not compute such networks; use --engine auto")
        if not amx_library.usable():
            raise EngineError("this processor or system has no AMX, or upscale was built without it; use --engine auto")
        self.spec = checkpoint.spec
        self._network = Rrdb(checkpoint) if checkpoint.spec.arch == "rrdb" else Compact(checkpoint)
        self._stores: dict[tuple[str, int, int], Store] = {}
        self._width = 0

    def run(
        self,
        rows: Iterator[Floats],
        width: int,
        height: int,
        plan: Plan,
        dtype: npt.DTypeLike,
        progress: Progress | None = None,
    ) -> Iterator[Array]:
        width, height = self.spec.feature_size(width, height)
        chain = stages(self.spec, blocks=int(plan.rows >= height))
        backend = _Bands(self._network, self._stores_of(width), width, height, np.dtype(dtype))
        try:
            yield from run_bands(backend, chain, height, plan, unshuffled(rows, self.spec.unshuffle), dtype, progress)
        except MemoryError as error:
            raise OutOfMemoryError("out of memory") from error

    def close(self) -> None:
        self._stores = {}

    def _stores_of(self, width: int) -> "dict[tuple[str, int, int], Store]":
        """Of the latest width: pictures of one size follow each other."""
        if width != self._width:
            self._stores, self._width = {}, width
        return self._stores


@dataclass(frozen=True, slots=True)
class _Bands:
    """The backend of run_bands for one run."""

    network: Rrdb | Compact
    stores: "dict[tuple[str, int, int], Store]"
    width: int
    height: int
    dtype: np.dtype[Any]

    def upload(self, rows: Floats) -> _Band:
        return picture_rows(rows, self._store)

    def join(self, parts: list[_Band]) -> _Band:
        return joined(parts)

    def crop(self, rows: _Band, start: int, stop: int) -> _Band:
        return rows[start:stop]

    def copy(self, rows: _Band) -> _Band:
        return rows  # which hold no more than the blocks that they lie in

    def compute(self, stage: Stage, step: Step, main: _Band, sides: list[_Band]) -> _Band:
        deep, rounded, program = is_deep(self.dtype), self.dtype == np.uint8, Program()
        call = Call(stage, step, self.width, self.height, self._store, deep, rounded)
        match stage.role:
            case "head":
                result = self.network.head(program, call, main)
            case "unit":
                result = self.network.unit(program, call, main, sides)
            case "tail":
                result = self.network.tail(program, call, main, sides)
        program.run()
        if program.broken:
            raise NotFiniteError(f"{self.network.spec.name}: the network returned NaN or infinity in bf16")
        return result

    def download(self, rows: _Band, dtype: npt.DTypeLike) -> Array:
        """Finished rows, which are clipped already, and bytes rounded."""
        return from_float(rows, dtype) if np.dtype(dtype) == np.uint16 else rows

    def _store(self, role: str, planes: int, width: int) -> Store:
        key = role, planes, width
        if key not in self.stores:
            self.stores[key] = Store(planes, width)
        return self.stores[key]
