"""A network's convolutions with their weights as amx.c reads them."""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from upscale.engines.amx_library import TAPS, Operation
from upscale.engines.amx_rows import CHANNELS, planes_for
from upscale.engines.bf16 import Bits, split
from upscale.image import Floats

PICTURE_PARTS = 3
"""bf16 numbers that make a picture's value: of its 24 bits each holds 8."""

TILE = 16
_ALIGNED = 64

Taps = Sequence[tuple[int, int]]

SQUARE: Taps = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]


class Chunk(NamedTuple):
    """32 channels that a convolution reads: plane `plane` of its input number `source`, whose lanes hold `channels` of the
    kernel (-1: none). `part` of the kernel: 0 rounded to bf16, 1 what that left over."""

    source: int
    plane: int
    channels: tuple[int, ...]
    part: int = 0


def chunks(source: int, channels: Sequence[int], plane: int = 0, part: int = 0) -> list[Chunk]:
    """These channels of a kernel, 32 to a plane from `plane` on."""
    lanes = [*channels, *[-1] * (-len(channels) % CHANNELS)]
    return [
        Chunk(source, plane + k, tuple(lanes[k * CHANNELS : (k + 1) * CHANNELS]), part)
        for k in range(planes_for(len(channels)))
    ]


def kernel_exact(source: int, channels: Sequence[int]) -> list[Chunk]:
    """The same with a kernel nearly as exact as in fp32."""
    return [*chunks(source, channels), *chunks(source, channels, part=1)]


def exact(source: int, channels: Sequence[int]) -> list[Chunk]:
    """The same for features too, of which the planes behind theirs hold what rounding left over."""
    return [*kernel_exact(source, channels), *chunks(source, channels, plane=planes_for(len(channels)))]


def of_picture(channels: range) -> list[int]:
    """A picture's channels, each as PICTURE_PARTS numbers whose sum it is: first all first ones, then all second ones, …"""
    return [*channels] * PICTURE_PARTS


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A convolution, all but where it reads and writes."""

    operation: Operation
    chunks: tuple[Chunk, ...]
    outputs: int
    held: list[Any] = field(default_factory=list[Any])


def layer(
    kernel: Floats,
    bias: Floats,
    parts: Sequence[Chunk],
    slopes: Floats | float = 1.0,
    scale: float = 1.0,
    taps: Taps = SQUARE,
) -> Layer:
    """`kernel` (outputs, inputs, *taps); `slopes` of what is negative; `scale` of what is added to sums."""
    outputs, tiles = kernel.shape[0], -(-kernel.shape[0] // TILE)
    packed = _packed(kernel.reshape(*kernel.shape[:2], -1), parts, tiles)
    values = [_padded(bias, tiles, 0), _padded(np.broadcast_to(np.float32(slopes), outputs), tiles, 1)]
    operation = Operation(
        chunks=len(parts),
        taps=len(taps),
        dy=(ctypes.c_int32 * TAPS)(*(y for y, _ in taps)),
        dx=(ctypes.c_int32 * TAPS)(*(x for _, x in taps)),
        tiles=tiles,
        weights=packed.ctypes.data,
        bias=values[0].ctypes.data,
        slopes=values[1].ctypes.data,
        scale=scale,
        up=1,
        chain=1,
    )
    return Layer(operation, tuple(parts), outputs, [packed, *values])


def doubling(weights: Mapping[str, Floats], name: str, parts: Sequence[Chunk], slope: float) -> list[Layer]:
    """A 3×3 convolution after nearest-neighbor doubling, as four of 2×2 before it, one for each place in a doubled pixel:
    where taps read the same pixel their weights are added, which leaves 16 of 36 products."""
    kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    found: list[Layer] = []
    for y in (0, 1):
        for x in (0, 1):
            rows = _halved(kernel, y, 2)
            both = _halved(rows, x, 3)
            taps = [(y - 1 + j, x - 1 + i) for j in (0, 1) for i in (0, 1)]
            made = layer(both, bias, parts, slope, taps=taps)
            made.operation.up, made.operation.up_y, made.operation.up_x = 2, y, x
            found.append(made)
    return found


def _halved(kernel: Floats, phase: int, axis: int) -> Floats:
    """Three taps along an axis as two: the even place of a doubled pixel reads the pixel before and twice its own, the odd
    one twice its own and the next."""
    first, middle, last = np.moveaxis(kernel, axis, 0)
    pair = (first, middle + last) if phase == 0 else (first + middle, last)
    return np.moveaxis(np.stack(pair), 0, axis)


def _packed(kernel: Floats, parts: Sequence[Chunk], tiles: int) -> Bits:
    """(outputs, inputs, taps) → [tiles][chunks][taps][pairs of inputs][outputs][2], as bf16."""
    outputs, inputs, taps = kernel.shape
    count = 1 + max(chunk.part for chunk in parts)
    rounded = np.zeros((count, inputs + 1, tiles * TILE, taps), np.uint16)  # the last input is for lanes without one
    for part, values in enumerate(split(kernel, count)):
        rounded[part, :inputs, :outputs] = values.transpose(1, 0, 2)
    lanes = np.stack([rounded[chunk.part][list(chunk.channels)] for chunk in parts])
    shaped = lanes.reshape(len(parts), CHANNELS // 2, 2, tiles, TILE, taps).transpose(3, 0, 5, 1, 4, 2)
    memory = np.empty(shaped.size + _ALIGNED, np.uint16)
    start = -memory.ctypes.data % _ALIGNED // memory.itemsize
    packed = memory[start : start + shaped.size]
    packed.reshape(shaped.shape)[...] = shaped
    return packed


def _padded(values: npt.ArrayLike, tiles: int, rest: float) -> Floats:
    found = np.full(tiles * TILE, rest, np.float32)
    given = np.asarray(values, np.float32).reshape(-1)
    found[: given.size] = given
    return found
