"""Streams of row bands: cut, padded, cropped and unshuffled on their way, so that no step needs the whole picture.

A stream is an iterator of float32 arrays (rows, width, channels) that follow one another from top to bottom.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from upscale.image import Array, Floats

T = TypeVar("T")

_WRAPPED_ROWS = 16


@dataclass(frozen=True, slots=True)
class Padding:
    """Pixels added around a picture before a network, since at the rim a network sees zeros.

    Replicated from the rim, or taken from the opposite side where `wrap_x` or `wrap_y` says that the picture tiles.
    """

    left: int
    right: int
    top: int
    bottom: int
    wrap_x: bool = False
    wrap_y: bool = False


def bands(pixels: Floats, rows: int) -> Iterator[Floats]:
    """A picture in memory as a stream."""
    for start in range(0, pixels.shape[0], rows):
        yield pixels[start : start + rows]


def padded(stream: Iterator[Floats], padding: Padding) -> Iterator[Floats]:
    """The stream of the padded picture. Wrapping vertically needs the last rows first, hence the whole picture in memory."""
    if padding.wrap_y:
        whole = np.concatenate(list(stream))
        rows = _places(padding.top, whole.shape[0], padding.bottom)
        parts = (rows[start : start + _WRAPPED_ROWS] for start in range(0, rows.size, _WRAPPED_ROWS))
        stream = (np.take(whole, part, axis=0, mode="wrap") for part in parts)
    widened = (_widened(band, padding) for band in stream)
    if padding.wrap_y:
        yield from widened
        return
    last: Floats | None = None
    for band in widened:
        if last is None and padding.top:
            yield np.repeat(band[:1], padding.top, axis=0)
        last = band[-1:]
        yield band
    if last is not None and padding.bottom:
        yield np.repeat(last, padding.bottom, axis=0)


def _widened(band: Floats, padding: Padding) -> Floats:
    if padding.left == padding.right == 0:
        return band
    columns = _places(padding.left, band.shape[1], padding.right)
    return np.take(band, columns, axis=1, mode="wrap" if padding.wrap_x else "clip")


def _places(before: int, length: int, after: int) -> npt.NDArray[np.intp]:
    return np.arange(-before, length + after, dtype=np.intp)


def cropped(stream: Iterator[Array], top: int, left: int, height: int, width: int) -> Iterator[Array]:
    """Rows [top, top + height) and columns [left, left + width) of a stream."""
    row = 0
    for band in stream:
        start, stop = max(0, top - row), min(band.shape[0], top + height - row)
        row += band.shape[0]
        if start < stop:
            yield band[start:stop, left : left + width]


def windows(stream: Iterator[Floats], height: int, rows: int, margin: int) -> Iterator[Floats]:
    """Blocks of `rows` rows (the last one of what is left) with `margin` ≥ 1 more above and below, replicated at the rim.

    Where blocks begin depends on `rows` alone, never on the stream's bands: what a filter gives is the same for any.
    """
    reader = RowReader(padded(stream, Padding(0, 0, margin, margin)))
    block = reader.read(2 * margin)
    for start in range(0, height, rows):
        block = np.concatenate((block[-2 * margin :], reader.read(min(rows, height - start))))
        yield block


def split(stream: Iterator[T], count: int) -> list[Iterator[T]]:
    """So many iterators over one stream; each must be read. What is held is what the slowest has not read yet.

    (itertools.tee gives memory back in blocks of 57 items only, which here are megabytes each.)
    """
    waiting: list[deque[T]] = [deque() for _ in range(count)]

    def branch(mine: deque[T]) -> Iterator[T]:
        while True:
            if not mine:
                try:
                    item = next(stream)
                except StopIteration:
                    return
                for others in waiting:
                    others.append(item)
            yield mine.popleft()

    return [branch(mine) for mine in waiting]


class RowReader:
    """A stream read in bands of whatever heights the reader wants."""

    def __init__(self, stream: Iterator[Floats]) -> None:
        self._stream = stream
        self._held: list[Floats] = []
        self._have = 0

    def read(self, rows: int) -> Floats:
        """The next `rows` rows. Raises ValueError where the stream ends before."""
        while self._have < rows:
            band = next(self._stream, None)
            if band is None:
                raise ValueError(f"the picture ended early: {rows - self._have} rows are missing")
            self._held.append(band)
            self._have += band.shape[0]
        spare = self._have - rows  # all of it from the latest band: no more is copied than is read
        *parts, last = self._held
        cut = last.shape[0] - spare
        self._held, self._have = [last[cut:]] if spare else [], spare
        return np.concatenate((*parts, last[:cut])) if parts else last[:cut]


def unshuffled(rows: Iterator[Floats], factor: int) -> Iterator[Floats]:
    """Pixel-unshuffle: (n·f, w·f, 3) → (n, w, 3·f²), channels in PyTorch's order (color, row, column)."""
    if factor == 1:
        yield from rows
        return
    held: Floats | None = None
    for band in rows:
        block = band if held is None else np.concatenate((held, band))
        count = block.shape[0] // factor
        held = block[count * factor :]
        if count:
            cut = block[: count * factor].reshape(count, factor, block.shape[1] // factor, factor, 3)
            yield cut.transpose(0, 2, 4, 1, 3).reshape(count, block.shape[1] // factor, 3 * factor * factor)
