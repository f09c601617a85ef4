"""Planes of codes ↔ RGB on a device: what upscale/yuv.py asks of a library of arrays, by torch.

Codes of 8 bits are uint8 there; deeper ones int32, since torch can hardly compute with uint16. They travel as the two bytes that
they are.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from upscale.frame import Layout
from upscale.image import Array
from upscale.yuv import Matrix


class TorchArrays:
    """`yuv.Arrays` on tensors, on whatever device they are. Rounds ties to even, as numpy does."""

    def floats(self, plane: Tensor) -> Tensor:
        return plane.to(torch.float32)

    def codes(self, values: Tensor, depth: int) -> Tensor:
        """uint8, or int32 for more than 8 bits: see `to_host`."""
        return values.round().clamp(0, (1 << depth) - 1).to(torch.uint8 if depth == 8 else torch.int32)

    def mix(self, picture: Tensor, matrix: Matrix, offset: Matrix) -> Tensor:
        """No matrix product: that may be one of 10 bits (TF32) where somebody has allowed it."""
        parts = picture.to(torch.float32).unbind(-1)
        mixed = [_weighted(parts, row, start) for row, start in zip(matrix.tolist(), offset.tolist(), strict=True)]
        return torch.stack(mixed, -1)

    def stack(self, planes: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(planes), -1)

    def join(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        return torch.cat(list(parts), axis)

    def unit(self, picture: Tensor) -> Tensor:
        return picture.clamp(0, 1)


def to_device(planes: Iterable[Array], device: str | torch.device) -> tuple[Tensor, ...]:
    """A frame's planes (rows, columns), uint8 or uint16, as tensors there: uint8 or int32. Read-only arrays may be given.

    The tensors may share the arrays' memory where the device is the processor.
    """
    return tuple(_codes_there(plane, torch.device(device)) for plane in planes)


def to_host(planes: Iterable[Tensor], layout: Layout) -> tuple[Array, ...]:
    """What `planes_of` gave on a device as arrays of `layout.dtype`."""
    return tuple(_codes_here(plane, layout) for plane in planes)


def _weighted(parts: Sequence[Tensor], weights: Sequence[float], offset: float) -> Tensor:
    """The offset and then from the last channel to the first, each step rounded once (fused): bit for bit what OpenCV does."""
    total = torch.full_like(parts[0], offset)
    for part, weight in zip(reversed(parts), reversed(weights), strict=True):
        total = torch.add(total, part, alpha=weight)
    return total


def _codes_there(plane: Array, device: torch.device) -> Tensor:
    whole = np.require(plane, requirements=("C", "W"))  # torch warns of what it could write into by mistake
    if whole.dtype == np.uint8:
        return torch.from_numpy(whole).to(device)  # pyright: ignore[reportUnknownMemberType]
    stored = torch.from_numpy(whole.view(np.int16))  # pyright: ignore[reportUnknownMemberType]
    return stored.to(device).to(torch.int32) & 0xFFFF


def _codes_here(plane: Tensor, layout: Layout) -> Array:
    if layout.dtype == np.uint8:
        return plane.cpu().numpy()
    return plane.to(torch.int16).cpu().numpy().view(np.uint16)  # int32 → int16 keeps the lower 16 bits
