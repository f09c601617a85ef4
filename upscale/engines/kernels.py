"""Triton kernels for a dense block: five 3×3 convolutions as matrix products in place, without one copy between them.

A band's features lie in one buffer, channels last, in half precision; each convolution reads the channels before its own
and writes its own beside them, so that nothing is ever concatenated:

    channels   | x: 64 | 1: 32 | 2: 32 | 3: 32 | 4: 32 |
    conv 1     | reads | writes                               bias and LeakyReLU in the same kernel
    conv 2     | reads | reads | writes
    …
    conv 5     | reads | reads | reads | reads | reads |  →   x + 0.2 · y in fp32, from the sums' fp32; the third dense block
                                                              of a residual block adds that block's input likewise

A program computes block_m pixels × all output channels: for each of the nine shifts and each block_k input channels it adds
(pixels, block_k) @ (block_k, outputs) to an fp32 accumulator. The order of summation is the same for every pixel, so a band's
rows are those of the whole, bit for bit. Outside the buffer's rows zeros are read; where that is not the picture's rim, what it
spoils (a row for each convolution) is cut off at the end. Arithmetic: conv2d as in nets/rrdb.py.
"""

# Triton's functions have no types
# pyright: basic

import functools
from collections.abc import Mapping
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.errors import TritonError

from upscale.errors import EngineError
from upscale.image import Floats
from upscale.spec import RESIDUAL, SLOPE, ModelSpec
from upscale.stages import DENSE_RADIUS, UNITS_PER_BLOCK

_SLOPE = tl.constexpr(SLOPE)
_RESIDUAL = tl.constexpr(RESIDUAL)


class DenseBlocks:
    """The dense blocks of an RRDBNet on one device, convolutions in `kind` (float16 or bfloat16), sums in float32."""

    def __init__(self, spec: ModelSpec, weights: Mapping[str, Floats], device: torch.device, kind: torch.dtype) -> None:
        self._spec, self._device, self._kind = spec, device, kind
        self._layers = [
            [_packed(weights, f"body.{block}.rdb{dense}.conv{k}", device, kind) for k in range(1, 6)]
            for block in range(spec.blocks)
            for dense in range(1, UNITS_PER_BLOCK + 1)
        ]
        self._buffer = torch.empty(0, device=device, dtype=kind)

    def unit(self, index: int, x: Tensor, residual: Tensor | None, top: bool, bottom: bool) -> Tensor:
        """x: (rows, width, features) float32 → the same, without 5 rows on each side that is not the picture's rim.

        `residual`: (rows of the result, width, features) float32, to which 0.2 times the dense block's result is added.
        """
        rows, width, features = x.shape
        buffer = self._buffer_for(rows, width)
        buffer[..., :features].copy_(x)
        *inner, last = self._layers[index]
        for k, (kernel, bias) in enumerate(inner):
            at = features + k * self._spec.growth
            _launch(buffer, at, kernel, bias, buffer, at, None, None, 0, 0)
        first, stop = DENSE_RADIUS * (not top), rows - DENSE_RADIUS * (not bottom)
        result = torch.empty((rows, width, features), device=self._device, dtype=torch.float32)
        _launch(buffer, buffer.shape[2], *last, result, 0, x.contiguous(), residual, first, stop)
        return result[first:stop]

    def _buffer_for(self, rows: int, width: int) -> Tensor:
        """(rows, width, features + 4·growth), in the same memory from call to call."""
        channels = self._spec.features + 4 * self._spec.growth
        size = rows * width * channels
        if self._buffer.numel() < size:
            self._buffer = torch.empty(size, device=self._device, dtype=self._kind)
        return self._buffer[:size].view(rows, width, channels)


def _packed(weights: Mapping[str, Floats], name: str, device: torch.device, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """A convolution's kernel as (9, inputs, outputs), its bias as float32."""
    kernel = torch.tensor(weights[f"{name}.weight"])
    outputs, inputs = kernel.shape[:2]
    packed = kernel.permute(2, 3, 1, 0).reshape(9, inputs, outputs).to(device, kind).contiguous()
    return packed, torch.tensor(weights[f"{name}.bias"]).to(device, torch.float32)


def _launch(
    source: Tensor, inputs: int, kernel: Tensor, bias: Tensor, target: Tensor, at: int,
    x: Tensor | None, residual: Tensor | None, first: int, stop: int,
) -> None:  # fmt: skip
    """One convolution of the first `inputs` channels of `source` into `target` from channel `at` on. With `x` it is a block's
    last: `x` + 0.2 · y, and with `residual`, which has rows [first, stop), `residual` + 0.2 times that."""
    rows, width, stride = source.shape
    if residual is not None:
        residual = residual.contiguous()

    def grid(chosen: Any) -> tuple[int]:
        return (triton.cdiv(rows * width, chosen["block_m"]),)

    convolve, sizes = _kernel()
    try:
        # pointers that are not read still need a tensor
        convolve[grid](
            source, kernel, bias, target, bias if x is None else x, bias if residual is None else residual,
            rows, width, stride, target.shape[2], at, first, stop,
            inputs=inputs, outputs=kernel.shape[2], last=x is not None, ends_block=residual is not None, **sizes,
        )  # fmt: skip
    except TritonError as error:
        raise EngineError(f"triton cannot compile or start its kernel here ({str(error).strip()[:100]})") from error


def _convolve_pixels(
    source, kernel, bias, target, x, residual,
    rows, width, source_stride, target_stride, at, first, stop,
    inputs: tl.constexpr, outputs: tl.constexpr, last: tl.constexpr, ends_block: tl.constexpr,
    block_m: tl.constexpr, block_k: tl.constexpr,
):  # fmt: skip
    pixel = tl.program_id(0) * block_m + tl.arange(0, block_m)
    row, column = pixel // width, pixel % width
    output, channel = tl.arange(0, outputs), tl.arange(0, block_k)
    total = tl.full((block_m, outputs), 0.0, tl.float32)
    for shift in range(9):
        y, z = row + shift // 3 - 1, column + shift % 3 - 1
        inside = (y >= 0) & (y < rows) & (z >= 0) & (z < width)
        place = (y.to(tl.int64) * width + z) * source_stride
        for start in range(0, inputs, block_k):
            seen = start + channel < inputs
            a = tl.load(source + place[:, None] + (start + channel)[None, :], inside[:, None] & seen[None, :], 0.0)
            b = tl.load(
                kernel + (shift * inputs + start + channel)[:, None] * outputs + output[None, :], seen[:, None], 0.0
            )
            total = tl.dot(a, b, total)
    total += tl.load(bias + output)[None, :]
    mine = (row < rows)[:, None]
    index = pixel.to(tl.int64)[:, None]
    if last:
        total = tl.load(x + index * outputs + output[None, :], mine, 0.0) + _RESIDUAL * total
        if ends_block:
            kept = mine & ((row >= first) & (row < stop))[:, None]
            before = tl.load(residual + (index - first * width) * outputs + output[None, :], kept, 0.0)
            total = before + _RESIDUAL * total
    else:
        total = tl.where(total >= 0, total, _SLOPE * total)
    tl.store(target + index * target_stride + at + output[None, :], total.to(target.dtype.element_ty), mine)


@functools.cache
def _kernel() -> tuple[Any, dict[str, int]]:
    """The kernel, and the sizes of its blocks where they are not chosen by measuring.

    On a GPU the fastest are, once in a process for each number of channels. The picture's size has no say, so that all bands
    are computed alike.
    """
    kernel = triton.jit(_convolve_pixels)
    if not torch.cuda.is_available():
        return kernel, {"block_m": 64, "block_k": 16}
    configs = [
        triton.Config({"block_m": m, "block_k": k}, num_warps=warps, num_stages=stages)
        for m, warps in ((64, 4), (128, 4), (128, 8), (256, 8))
        for k in (16, 32, 64)
        for stages in (2, 3, 4)
    ]
    return triton.autotune(configs, key=["inputs", "outputs", "last"])(kernel), {}
