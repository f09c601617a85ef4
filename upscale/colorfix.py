"""Color fix: what a network shifts over wide areas is put back, so that the result's low frequencies are the input's.

A network trained as a GAN drifts in color. The difference between the input and the result shrunk to its size, blurred by
a Gaussian, is the drift; added back, enlarged, it leaves the painted detail alone (the idea is old: back-projection, Irani
& Peleg 1991, with a low-pass in between). It looks only as far as the Gaussian reaches, hence works in bands.
"""

from collections.abc import Iterator

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
    rows, measured = split((band.astype(np.float32, copy=False) for band in result), 2)
    corrections = _blurred(_differences(measured, source, factor), height)
    reader = RowReader(rows)
    for block in windows(corrections, height, _ROWS, 1):
        shift.add(block[1:-1])
        yield np.clip(reader.read((block.shape[0] - 2) * factor) + _enlarged(block, factor), 0, 1)


def _differences(result: Iterator[Floats], source: Iterator[Floats], factor: int) -> Iterator[Floats]:
    reader = RowReader(result)
    for rows in source:
        count, width = rows.shape[:2]
        mean = cv2.resize(reader.read(count * factor), (width, count), interpolation=cv2.INTER_AREA)
        yield rows - np.asarray(mean, np.float32).reshape(rows.shape)


def _blurred(differences: Iterator[Floats], height: int) -> Iterator[Floats]:
    side = 2 * _MARGIN + 1
    for block in windows(differences, height, _ROWS, _MARGIN):
        blurred = cv2.GaussianBlur(block, (side, side), SIGMA, borderType=cv2.BORDER_REPLICATE)
        yield np.asarray(blurred, np.float32).reshape(block.shape)[_MARGIN:-_MARGIN]


def _enlarged(block: Floats, factor: int) -> Floats:
    """All rows but the first and last, `factor` times larger, linearly between pixel centers."""
    count, width = block.shape[:2]
    wide = cv2.resize(block, (width * factor, count), interpolation=cv2.INTER_LINEAR).reshape(count, -1, 3)
    result = np.empty((count - 2, factor, width * factor, 3), np.float32)
    for phase in range(factor):
        place = (phase + 0.5) / factor - 0.5
        first, share = (0, 1 + place) if place < 0 else (1, place)
        low, high = wide[first : first + count - 2], wide[first + 1 : first + count - 1]
        result[:, phase] = (1 - share) * low + share * high
    return result.reshape((count - 2) * factor, width * factor, 3)
