"""Where the block grid of an earlier JPEG lies: its offset after a crop, its period after a resize.

Second differences across the picture's columns (and rows) repeat with the grid's period, and where a picture was enlarged
they also repeat with the original's pixels (Gallagher 2005): both appear as peaks in the spectrum of their mean over all
rows. A side of W pixels that came from W0 shows a peak at bin W0 (modulo W) of its own DFT and others at the multiples of W0 / 8.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from upscale_training.imitate.blocks import Plane, basis, planes
from upscale_training.imitate.quantised import SURE, Quantized, find, find_subsampling
from upscale_training.imitate.resizing import KERNELS, inverse, undone

FACTORS = (0.5, 2.6)
"""Later resizes looked for: final side / side before."""
_PAD = 8
_TRIED = 6
_TIE, _UNLIKELY = 0.3, 0.25
_ROWS, _AROUND = 96, 3
_HIGHEST = basis()[6:]
_CLIP = 12.0  # levels; edges of the scene would drown the grid
_CANDIDATES = 5


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the last JPEG's pixels are: crop by `offset` (down, across), or undo the resize from `before` (height, width)."""

    offset: tuple[int, int] = (0, 0)
    before: tuple[int, int] | None = None
    kernel: str = "cubic"

    def aligned(self, levels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The picture (H, W, 3) as it was before the resize, or without the cut first blocks; its grid starts at the corner."""
        if self.before is not None:
            return undone(levels, self.kernel, *self.before)
        return levels[self.offset[0] :, self.offset[1] :]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A resize that may have been: `before` (height, width), `factor` side after / before, `score` log of the peaks' height."""

    score: float
    before: tuple[int, int]
    factor: float


def repeats(plane: Plane) -> npt.NDArray[np.float32]:
    """(H, W) → (W,): mean root of clipped second differences of each column to its neighbors, slow changes removed."""
    second = np.minimum(np.abs(np.diff(plane, n=2, axis=1)), _CLIP)
    line = np.pad(np.sqrt(second).mean(0), 1, mode="edge").astype(np.float32)
    return line - cv2.GaussianBlur(line[None], (0, 0), 6.0, borderType=cv2.BORDER_REFLECT)[0]


def spectrum(line: npt.NDArray[np.float32], encoded: bool) -> npt.NDArray[np.float64]:
    """(8 W,) log heights of the peaks above their surroundings; bin k is k / 8 cycles in the length.

    `encoded`: the file is a JPEG itself; its own grid's peaks are flattened.
    """
    length = len(line)
    heights = np.abs(np.fft.fft(line * np.hanning(length), length * _PAD))
    if encoded:
        for multiple in range(9):
            middle = multiple * length
            heights[np.arange(middle - 16, middle + 17) % len(heights)] = 1e-9
    # About 1/25 of the spectrum is "the surroundings"; a peak is as wide as 2 · 8 bins.
    wide = max(64, length * _PAD // 25)
    mean = np.convolve(np.pad(heights, wide, mode="wrap"), np.ones(2 * wide + 1) / (2 * wide + 1), "valid")
    return np.log(np.maximum(heights / np.maximum(mean, 1e-9), 1e-2))


def scores(peaks: npt.NDArray[np.float64], originals: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], ...]:
    """How well each original length (n,) explains the peaks: by the grid of blocks, and by the grid of pixels; (n,) each."""
    size = len(peaks)
    near = np.max([np.roll(peaks, shift) for shift in (-2, -1, 0, 1, 2)], axis=0)
    blocks = sum(np.maximum(near[(multiple * originals) % size], -0.5) for multiple in (1, 2, 3))
    pixels = near[(_PAD * originals) % size].copy()
    pixels[np.abs(originals - size // _PAD) < 4] = -1.0
    return np.asarray(blocks) / 3, pixels


def candidates(luma: Plane, encoded: bool) -> list[Candidate]:
    """Resizes that explain the peaks in a spectrum of (H, W), best first. Either grid may be the one
    that shows; the other breaks ties."""
    height, width = luma.shape
    across = spectrum(repeats(luma), encoded)
    down = spectrum(repeats(np.ascontiguousarray(luma.T)), encoded)
    widths = np.arange(int(width / FACTORS[1]), int(width / FACTORS[0]) + 1)
    near = np.rint(widths * (height / width)).astype(np.int64)
    heights = np.stack([near, near - 1, near + 1])
    wide = np.stack(scores(across, widths))
    tall = np.stack([scores(down, each) for each in heights])  # (heights, way, widths)
    tall[1:] -= 0.05  # the same factor both ways, unless the peaks say otherwise
    both = (wide + tall) / 2
    # A peak has several explanations; enlarging leaves clearer ones than shrinking, and is rarely by more than 2.
    unlikely = np.where((widths > width) | (2.1 * widths < width), _UNLIKELY, 0)
    found: list[Candidate] = []
    for way in (0, 1):
        total = both[:, way] + _TIE * np.maximum(both[:, 1 - way], 0) - unlikely
        choice = total.argmax(0)
        for place in _peaks(total.max(0)):
            before = int(heights[choice[place], place]), int(widths[place])
            found.append(Candidate(float(total.max(0)[place]), before, width / before[1]))
    return sorted(found, key=lambda each: -each.score)


def _peaks(total: npt.NDArray[np.float64]) -> list[int]:
    best: list[int] = []
    for place in np.argsort(-total):
        if all(abs(int(place) - other) > 2 for other in best):
            best.append(int(place))
        if len(best) == _CANDIDATES:
            break
    return best


def offset(luma: Plane) -> tuple[int, int]:
    """(down, across), 0..7: the phase at which differences between neighbors stand out most."""
    return _phase(luma.T), _phase(luma)


def _phase(plane: npt.NDArray[np.float32]) -> int:
    steps = np.minimum(np.abs(np.diff(plane, axis=1)), _CLIP)
    line = steps[:, 1:-1] - (steps[:, :-2] + steps[:, 2:]) / 2
    mean = line.mean(0)
    # mean[i] is the step between columns i + 1 and i + 2.
    return int(np.argmax([mean[(phase - 2) % 8 :: 8].mean() for phase in range(8)]))


def locate(levels: npt.NDArray[np.float32]) -> tuple[Grid, Quantized | None]:
    """Grid and quality of the last JPEG in pixels (H, W, 3) that come from no JPEG file; None where no comb is found.

    After shrinking, the combs are gone: then only `candidates` tell of a resize.
    """
    plain = find(levels)
    if plain.gain > SURE:
        return Grid(), _with_chroma(levels, plain)
    luma = planes(levels)[0]
    moved = Grid(offset=offset(luma))
    if moved.offset != (0, 0):
        found = find(moved.aligned(levels))
        if found.gain > SURE:
            return moved, _with_chroma(moved.aligned(levels), found)
    enlarged = [each.before for each in candidates(luma, encoded=False) if each.factor > 1]
    for before in enlarged[:_TRIED]:
        for grid in (_refined(luma, before), *(Grid(before=before, kernel=kernel) for kernel in KERNELS)):
            found = find(grid.aligned(levels), (0.7,))
            if found.gain > SURE:
                return grid, _with_chroma(grid.aligned(levels), found)
    return Grid(), None


def _refined(luma: Plane, before: tuple[int, int]) -> Grid:
    """The grid with the exact sides and the kernel, found for each axis alone.

    High frequencies are mostly quantized to zero, and an undone row keeps them zero although its column is still resized:
    their energy inside blocks against that across the blocks' borders is least where side and kernel are right.
    """
    down, across = _axis(np.ascontiguousarray(luma.T), before[0]), _axis(luma, before[1])
    gain = {kernel: down[kernel][0] + across[kernel][0] for kernel in KERNELS}
    best = min(gain, key=lambda kernel: gain[kernel])
    return Grid(before=(down[best][1], across[best][1]), kernel=best)


def _axis(plane: Plane, length: int) -> dict[str, tuple[float, int]]:
    """For each kernel the lowest log ratio of high energies inside and across blocks, and the side that gives it."""
    size = plane.shape[1]
    rows = plane[:: max(1, len(plane) // _ROWS)]
    sides = [side for side in range(length - _AROUND, length + _AROUND + 1) if 16 <= side <= size]
    return {
        kernel: min(((_leak(rows @ inverse(kernel, side, size).T), side) for side in sides), default=(9.0, length))
        for kernel in KERNELS
    }


def _leak(rows: npt.NDArray[np.float32]) -> float:
    inside, across = (_high(rows[:, start:]) for start in (0, 4))
    return float(np.log(inside + 0.05).mean() - np.log(across + 0.05).mean())


def _high(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Energy of the two highest cosines of 8 pixels, for each piece of each row."""
    pieces = rows[:, : rows.shape[1] // 8 * 8].reshape(-1, 8)
    return np.square(pieces @ _HIGHEST.T).mean(1)


def _with_chroma(levels: npt.NDArray[np.float32], found: Quantized) -> Quantized:
    return Quantized(found.quality, found.gain, find_subsampling(levels, found.quality))
