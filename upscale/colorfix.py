"""Color fix: what a network shifts over wide areas is put back, so that the result's low frequencies are the input's.

A network trained as a GAN drifts in color. The difference between the input and the result shrunk to its size, blurred by
a Gaussian, is the drift; added back, enlarged, it leaves the painted detail alone (the idea is old: back-projection, Irani
& Peleg 1991, with a low-pass in between). It looks only as far as the Gaussian reaches, hence works in bands.
"""

from collections import deque
from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np

from upscale.image import Array, Floats
from upscale.rows import RowReader, split, windows

SIGMA = 8.0
"""Of the Gaussian, in input pixels."""

_TIMES = 2
"""Where colors are cut off at black or white, some of a correction is lost; the second time most of that is put back, too."""

_MARGIN = 24
_ROWS = 16


class Shift:
    """How much was put back, in 8-bit levels: the `mean` and `largest` absolute correction."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._count = 0
        self.largest = 0.0

    def add(self, corrections: Floats) -> None:
        sizes = np.abs(corrections) * 255
        self._sum += float(sizes.sum(dtype=np.float64))
        self._count += sizes.size
        self.largest = max(self.largest, float(sizes.max()))

    def take(self, other: "Shift") -> None:
        """Counts what another one has seen as well."""
        self._sum, self._count = self._sum + other._sum, self._count + other._count
        self.largest = max(self.largest, other.largest)

    @property
    def mean(self) -> float:
        return self._sum / self._count if self._count else 0.0


def fixed(
    result: Iterator[Array], source: Iterator[Floats], height: int, factor: int, shift: Shift
) -> Iterator[Floats]:
    """The result's rows (n, factor·w, 3), floats in [0, 1], following the colors of the source's rows (m, w, 3).

    `height` is the source's. Some 100 source rows must be there before the first row comes out.
    """
    for time, given in enumerate(split(source, _TIMES)):
        result = _once(result, given, height, factor, shift if time == 0 else Shift())
    return result


def _once(
    result: Iterator[Array], source: Iterator[Floats], height: int, factor: int, shift: Shift
) -> Iterator[Floats]:
    waiting: deque[Floats] = deque()
    corrections = _blurred(_differences(result, source, height, factor, waiting), height)
    for block in windows(corrections, height, _ROWS, 1):
        shift.add(block[1:-1])
        fixed_rows = _enlarged(block, factor)
        fixed_rows += waiting.popleft()
        yield np.clip(fixed_rows, 0, 1, out=fixed_rows)


def _differences(
    result: Iterator[Array], source: Iterator[Floats], height: int, factor: int, waiting: deque[Floats]
) -> Iterator[Floats]:
    """In blocks of _ROWS source rows, whose rows of the result wait in `waiting` for what will be added to them."""
    large, small = RowReader(band.astype(np.float32, copy=False) for band in result), RowReader(source)
    for start in range(0, height, _ROWS):
        rows = small.read(min(_ROWS, height - start))
        count, width = rows.shape[:2]
        waiting.append(large.read(count * factor))
        mean = cv2.resize(waiting[-1], (width, count), interpolation=cv2.INTER_AREA)
        yield rows - np.asarray(mean, np.float32).reshape(rows.shape)


def _blurred(differences: Iterator[Floats], height: int) -> Iterator[Floats]:
    """Along each row as it comes, then from row to row, as a product with a matrix: a filter would blur the margin's rows, too.

    (einsum, since threads of a BLAS go on spinning after a product, beside the network that has all processors.)
    """
    side = 2 * _MARGIN + 1
    lines = (cv2.GaussianBlur(rows, (side, 1), SIGMA, borderType=cv2.BORDER_REPLICATE) for rows in differences)
    level = (np.asarray(line, np.float32).reshape(line.shape[0], -1, 3) for line in lines)
    for block in windows(level, height, _ROWS, _MARGIN):
        yield np.einsum("ij,jkc->ikc", _bells(block.shape[0] - 2 * _MARGIN), block)


@lru_cache(_ROWS)
def _bells(count: int) -> Floats:
    """(count, count + 2 * _MARGIN): the Gaussian around each row."""
    bell = np.asarray(cv2.getGaussianKernel(2 * _MARGIN + 1, SIGMA, cv2.CV_32F), np.float32)[:, 0]
    return np.stack([np.pad(bell, (row, count - 1 - row)) for row in range(count)])


def _enlarged(block: Floats, factor: int) -> Floats:
    """All rows but the first and last, `factor` times larger, linearly between pixel centers."""
    count, width = block.shape[:2]
    large = cv2.resize(block, (width * factor, count * factor), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, np.float32).reshape(count * factor, -1, 3)[factor:-factor]
