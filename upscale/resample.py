"""The one resampling after (or instead of) the network: separable, antialiased, in bands, the same for any band.

Weights follow the usual rule of image libraries: the kernel is stretched by the reduction, so that every input pixel
counts, and the picture's edges are aligned, not its pixel centers. Lanczos (a = 3) for colors; Catmull-Rom for alpha.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from upscale.image import Floats

Kernel = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """For each of n outputs: the first input it uses (n,) and the weights of the inputs from there (n, taps)."""

    first: npt.NDArray[np.intp]
    values: Floats
    _matrices: dict[tuple[int, int], Floats] = field(default_factory=dict[tuple[int, int], Floats])

    def apply(self, rows: Floats, row: int, start: int, stop: int) -> Floats:
        """Outputs [start, stop), (n, values), of inputs (m, values) that begin with input `row`. Some at once, as a product with
        a matrix of their weights; zeros in it change no bit, so it does not matter which."""
        result = np.empty((stop - start, rows.shape[1]), np.float32)
        for place in range(start, stop, _AT_ONCE):
            end = min(place + _AT_ONCE, stop)
            matrix, first = self._matrix(place, end), self.first[place] - row
            seen, made = rows[first : first + matrix.shape[1]], result[place - start : end - start]
            np.einsum("ij,jk->ik", matrix, seen, out=made)
        return result

    def _matrix(self, start: int, stop: int) -> Floats:
        """Weights of outputs [start, stop) for the inputs from the first one's on."""
        if (start, stop) not in self._matrices:
            shifts, taps = self.first[start:stop] - self.first[start], self.values.shape[1]
            matrix = np.zeros((stop - start, shifts[-1] + taps), np.float32)
            matrix[np.arange(stop - start)[:, None], shifts[:, None] + np.arange(taps)] = self.values[start:stop]
            self._matrices[start, stop] = matrix
        return self._matrices[start, stop]


def lanczos(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Lanczos window of three lobes (Duchon 1979)."""
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


def catmull_rom(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cubic convolution with a = -0.5 (Keys 1981)."""
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


_AT_ONCE = 8

_SUPPORT: dict[Kernel, int] = {lanczos: 3, catmull_rom: 2}


@dataclass(frozen=True, slots=True)
class Box:
    """The part of a picture that is wanted, in its pixels; what lies around it is seen, but not shown."""

    top: int
    left: int
    height: int
    width: int


@lru_cache(16)
def weights(old: int, new: int, kernel: Kernel, start: int = 0, length: int | None = None) -> Weights:
    """Weights that turn pixels [start, start + length) of `old` pixels (default: all) into `new`; rows add up to 1, the
    picture's rim is replicated."""
    ratio = (old if length is None else length) / new
    stretch = max(1.0, ratio)
    reach = _SUPPORT[kernel] * stretch
    centers = start + (np.arange(new) + 0.5) * ratio - 0.5
    lowest = np.floor(centers - reach).astype(np.intp) + 1
    taps = lowest[:, None] + np.arange(math.ceil(2 * reach))
    values = kernel((taps - centers[:, None]) / stretch)
    values /= values.sum(axis=1, keepdims=True)
    # Taps beyond the rim stand for the rim's pixel: their weights are added to it.
    first = np.clip(lowest, 0, max(0, old - taps.shape[1]))
    count = min(old, taps.shape[1])
    folded = np.zeros((new, count))
    places = np.clip(np.clip(taps, 0, old - 1) - first[:, None], 0, count - 1)
    np.add.at(folded, (np.arange(new)[:, None], places), values)
    return Weights(first, folded.astype(np.float32))


def resampled(
    stream: Iterator[Floats],
    size: tuple[int, int],
    new_size: tuple[int, int],
    kernel: Kernel = lanczos,
    box: Box | None = None,
) -> Iterator[Floats]:
    """A stream of a picture of `size` (height, width), or of the `box` in it, as a stream of `new_size`; every output row
    is made by itself."""
    box = box or Box(0, 0, *size)
    vertical = weights(size[0], new_size[0], kernel, box.top, box.height)
    horizontal = weights(size[1], new_size[1], kernel, box.left, box.width)
    taps = vertical.values.shape[1]
    held: Floats | None = None
    held_from, row = 0, 0
    for band in stream:
        held = band if held is None else np.concatenate((held, band))
        ready = held_from + held.shape[0]
        stop = int((vertical.first + taps <= ready).sum())  # rows come in order, so these are the first ones
        if stop <= row:
            continue
        made = vertical.apply(held.reshape(held.shape[0], -1), held_from, row, stop)
        yield _horizontal(made.reshape(stop - row, *held.shape[1:]), horizontal)
        row = stop
        if row < new_size[0]:
            keep = int(vertical.first[row]) - held_from
            held, held_from = held[keep:], held_from + keep


def _horizontal(band: Floats, horizontal: Weights) -> Floats:
    """As down the columns, of the picture lying on its side."""
    height, width, channels = band.shape
    columns = np.asarray(cv2.transpose(band), np.float32).reshape(width, height * channels)
    made = horizontal.apply(columns, 0, 0, horizontal.first.size).reshape(-1, height, channels)
    return np.asarray(cv2.transpose(made), np.float32).reshape(height, -1, channels)
