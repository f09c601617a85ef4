"""Whole runs recorded once and played again for each further picture of that size: CUDA graphs, for a network whose hundreds of
small kernels take longer to start than to compute.

    picture → pinned memory → [ input | every band of every stage | result, finite? ] → pinned memory → rows
                                └───────────── recorded, one launch ─────────────┘

What is recorded knows only addresses, so input, result and all between keep their memory; nothing in it may ask the device for
a value, hence the flag that is looked at afterwards. The arithmetic is that of a run that is not recorded, bit for bit.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from upscale.bands import Plan, Step
from upscale.engines.run import Backend, run_bands
from upscale.image import Array, Floats
from upscale.stages import Stage

Play = Callable[[], None]
Record = Callable[[Play], Play]
"""Records what a function starts on the device; what it gives does the same again, on the same memory."""

Rounded = Callable[[Tensor, npt.DTypeLike], Tensor]


@dataclass(slots=True)
class Recording:
    """A run for pictures of one size, plan and dtype."""

    play: Play
    picture: Tensor
    result: Tensor
    finite: Tensor

    def rows(self, picture: Floats) -> Tensor | None:
        """The finished rows, in memory of the processor; None where a value is not finite."""
        self.picture.copy_(_sent(picture, self.picture.device), non_blocking=True)
        self.play()
        rows = _fetched(self.result)
        return rows if bool(self.finite) else None


def recording(
    record: Record,
    backend: Backend[Tensor],
    rounded: Rounded,
    chain: Sequence[Stage],
    size: tuple[int, int, int],
    plan: Plan,
    dtype: npt.DTypeLike,
    device: torch.device,
) -> Recording:
    """`size`: height and width in feature pixels, and the channels of the picture there. Raises RuntimeError where the device
    cannot record it, among others for want of memory."""
    height, width, channels = size
    factor = chain[-1].factor
    kind = rounded(torch.zeros(1, device=device), dtype).dtype
    picture = torch.zeros((height, width, channels), device=device)
    result = torch.zeros((height * factor, width * factor, 3), dtype=kind, device=device)
    finite = torch.ones((), dtype=torch.bool, device=device)

    def run() -> None:
        finite.fill_(True)
        for _ in run_bands(_Inside(backend, rounded, result, finite), chain, height, plan, _given(picture), dtype):
            pass

    return Recording(record(run), picture, result, finite)


def cuda_graph(run: Play) -> Play:
    """See https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs: run once on another stream before, for what
    libraries set up with their first call."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


@dataclass(slots=True)
class _Inside:
    """A backend whose pictures are on the device already, and whose results stay there."""

    backend: Backend[Tensor]
    rounded: Rounded
    result: Tensor
    finite: Tensor
    done: int = 0

    def upload(self, rows: Floats) -> Tensor:
        return rows  # pyright: ignore[reportReturnType]  # a tensor, see _given

    def join(self, parts: list[Tensor]) -> Tensor:
        return self.backend.join(parts)

    def crop(self, rows: Tensor, start: int, stop: int) -> Tensor:
        return self.backend.crop(rows, start, stop)

    def copy(self, rows: Tensor) -> Tensor:
        return self.backend.copy(rows)

    def compute(self, stage: Stage, step: Step, main: Tensor, sides: list[Tensor]) -> Tensor:
        return self.backend.compute(stage, step, main, sides)

    def download(self, rows: Tensor, dtype: npt.DTypeLike) -> Array:
        self.finite.logical_and_(torch.isfinite(rows).all())
        self.result[self.done : self.done + rows.shape[0]].copy_(self.rounded(rows, dtype))
        self.done += rows.shape[0]
        return np.empty(0)


def _given(picture: Tensor) -> Iterator[Floats]:
    """One band: what reads it only cuts it, which tensors do as arrays do."""
    yield picture  # pyright: ignore[reportReturnType]


def _sent(picture: Floats, device: torch.device) -> Tensor:
    tensor = torch.as_tensor(np.ascontiguousarray(picture))
    return tensor.pin_memory() if device.type == "cuda" else tensor


def _fetched(result: Tensor) -> Tensor:
    """In memory of its own, since the next picture's result takes the place of this one."""
    if result.device.type != "cuda":
        return result.clone()
    rows = torch.empty(result.shape, dtype=result.dtype, pin_memory=True)
    rows.copy_(result, non_blocking=True)
    torch.cuda.current_stream(result.device).synchronize()
    return rows
