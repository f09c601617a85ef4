"""Runs a network band by band on any backend: the schedule of bands.py applied to real rows."""

from collections.abc import Iterator, Sequence
from typing import Generic, Protocol, TypeVar

import numpy.typing as npt

from upscale.bands import Plan, Step, bands_of, first_needed, readers_of, schedule
from upscale.engines import Progress
from upscale.image import Array, Floats
from upscale.rows import RowReader
from upscale.stages import Stage

T = TypeVar("T")
"""An engine's own array of rows: (rows, width, channels), sliced along its first axis."""


class Backend(Protocol[T]):
    """What an engine must be able to do with rows. Everything else about bands is decided here, once."""

    def upload(self, rows: Floats) -> T: ...

    def join(self, parts: list[T]) -> T: ...

    def crop(self, rows: T, start: int, stop: int) -> T: ...

    def copy(self, rows: T) -> T:
        """The same rows, holding no memory of those that they were cut from."""
        ...

    def compute(self, stage: Stage, step: Step, main: T, sides: list[T]) -> T:
        """Rows `step.computed` of the stage's output (times `stage.factor`)."""
        ...

    def download(self, rows: T, dtype: npt.DTypeLike) -> Array:
        """Finished rows, clipped and rounded to `dtype`. Raises NotFiniteError."""
        ...


class _Stream(Generic[T]):
    """The rows of one stream that somebody may still read, as consecutive pieces."""

    def __init__(self, backend: Backend[T]) -> None:
        self._backend = backend
        self._pieces: list[tuple[int, int, T]] = []

    def append(self, start: int, stop: int, rows: T) -> None:
        self._pieces.append((start, stop, rows))

    def read(self, start: int, stop: int) -> T:
        parts = [
            self._backend.crop(rows, max(start, first) - first, min(stop, last) - first)
            for first, last, rows in self._pieces
            if first < stop and last > start
        ]
        return parts[0] if len(parts) == 1 else self._backend.join(parts)

    def drop_before(self, row: int) -> None:
        """Rows of which little is left are copied, so that they do not hold the memory of a whole band."""
        kept: list[tuple[int, int, T]] = []
        for start, stop, rows in self._pieces:
            if row > (start + stop) // 2 and row < stop:
                kept.append((row, stop, self._backend.copy(self._backend.crop(rows, row - start, stop - start))))
            elif row < stop:
                kept.append((start, stop, rows))
        self._pieces = kept


def run_bands(
    backend: Backend[T],
    chain: Sequence[Stage],
    height: int,
    plan: Plan,
    rows: Iterator[Floats],
    dtype: npt.DTypeLike,
    progress: Progress | None = None,
) -> Iterator[Array]:
    """The chain's output for a picture of `height` feature rows, in bands from top to bottom.

    `rows` are bands of (n, width, channels) at feature resolution, of any heights that add up to `height`.
    """
    costs = [sum(conv.macs for conv in stage.convolutions) for stage in chain]
    spent = 0
    arrivals = bands_of(height, min(plan.rows, height))
    source = RowReader(rows)
    streams = {"picture": _Stream(backend)} | {stage.output: _Stream(backend) for stage in chain}
    ready, readers = dict.fromkeys(streams, 0), readers_of(chain)
    for item in schedule(chain, height, plan, arrivals):
        if isinstance(item, int):
            streams["picture"].append(ready["picture"], ready["picture"] + item, backend.upload(source.read(item)))
            ready["picture"] += item
            continue
        stage = chain[item.stage]
        sides = [streams[name].read(*span) for (name, _), span in zip(stage.sides, item.sides, strict=True)]
        computed = backend.compute(stage, item, streams[stage.main].read(*item.main), sides)
        first = item.computed[0]
        kept = backend.crop(computed, (item.start - first) * stage.factor, (item.stop - first) * stage.factor)
        ready[stage.output] = item.stop
        spent += costs[item.stage] * (item.stop - item.start)
        if progress:
            progress(spent / (height * sum(costs)))
        if stage.role == "tail":
            yield backend.download(kept, dtype)
        else:
            streams[stage.output].append(item.start, item.stop, kept)
        for name in (stage.main, *(name for name, _ in stage.sides)):
            streams[name].drop_before(first_needed(readers[name], ready, height))
