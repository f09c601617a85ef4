"""How pixels are laid out in a file, and the way there: lost transparency, depth, gray; rows counted as they pass."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from upscale.errors import OutputError
from upscale.image import Animation, Array, Band, Header, Metadata, from_float

_T = TypeVar("_T")

Pixels = Array
"""(n, width, channels) rows as a file holds them, uint8 or uint16."""


@dataclass(frozen=True, slots=True)
class Layout:
    """`channels`: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha. `depth`: 8 or 16.

    `gray`: the color channels are equal even where there are three. `matte`: 8-bit RGB that shows through where
    transparency is lost, None where it is kept or there is none.
    """

    channels: int
    depth: int
    gray: bool = False
    matte: tuple[int, int, int] | None = None

    @property
    def alpha(self) -> bool:
        return self.channels in (2, 4)

    @property
    def bytes_per_pixel(self) -> int:
        return self.channels * self.depth // 8


@dataclass(frozen=True, slots=True)
class Content:
    """All that goes into a file but the pixels. `metadata` and `icc` are what the format can hold of the picture's.

    `chunks`: color chunks for a PNG. `animation`: None for a still picture. `quality`: 0 to 100, None where the format
    has no such thing. `suffix`: of the file's name, in lower case.
    """

    width: int
    height: int
    layout: Layout
    metadata: Metadata = field(default_factory=Metadata)
    icc: bytes | None = None
    chunks: tuple[tuple[str, bytes], ...] = ()
    animation: Animation | None = None
    quality: int | None = None
    suffix: str = ""

    @property
    def row_bytes(self) -> int:
        return self.width * self.layout.bytes_per_pixel


def fitted(band: Band, layout: Layout) -> Pixels:
    """A band's pixels as the file holds them, (n, width, channels)."""
    color, alpha = band.rgb, band.alpha
    if layout.matte is not None and alpha is not None:
        color, alpha = _over(color, alpha, layout.matte), None
    if layout.gray:
        color = np.repeat(_mean(color), 3 if layout.channels > 2 else 1, axis=2)
    if layout.alpha:
        color = np.concatenate((color, _opaque(color) if alpha is None else alpha[..., None]), axis=2)
    return _stored(color, layout.depth)


def _opaque(color: Array) -> Array:
    full = 1 if color.dtype == np.float32 else np.iinfo(color.dtype).max
    return np.full((*color.shape[:2], 1), full, color.dtype)


def _over(rgb: Array, alpha: Array, matte: tuple[int, int, int]) -> Array:
    """The picture over one color, in its own encoding: as viewers and browsers compose."""
    full = 1.0 if rgb.dtype == np.float32 else float(np.iinfo(rgb.dtype).max)
    share = alpha[..., None].astype(np.float32) / np.float32(full)
    below = np.array(matte, np.float32) * np.float32(full / 255)
    seen = rgb * share + below * (1 - share)
    return seen if rgb.dtype == np.float32 else np.rint(seen).astype(rgb.dtype)


def _mean(rgb: Array) -> Array:
    """(n, width, 1): the gray that was meant, where the channels differ by what the network made of it."""
    if rgb.dtype == np.float32:
        return rgb.mean(axis=2, keepdims=True)
    wide = rgb.astype(np.uint32)
    return ((wide[..., :1] + wide[..., 1:2] + wide[..., 2:] + 1) // 3).astype(rgb.dtype)


def _stored(pixels: Array, depth: int) -> Pixels:
    if pixels.dtype == np.float32:
        return from_float(pixels, np.uint8 if depth == 8 else np.uint16)
    if pixels.dtype == np.uint16 and depth == 8:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)  # rounded: 257 steps of 16 bits are one of 8
    return pixels


class Inflow:
    """Frames on their way into a file: fitted, and their rows counted.

    `raised` is what failed on their side, so that a fault in reading or computing is not taken for one in writing.
    """

    def __init__(self, path: Path, header: Header, layout: Layout, frames: Iterable[Iterable[Band]]) -> None:
        self._path, self._header, self._layout, self._frames = path, header, layout, iter(frames)
        self.raised: BaseException | None = None

    def take(self, count: int) -> Iterator[Iterator[Pixels]]:
        """The first `count` frames. Each is to be taken whole before the next. Raises OutputError where one is missing."""
        for done in range(count):
            bands = self._next(self._frames)
            if bands is None:
                raise OutputError(f"{self._path}: {count - done} of {count} pictures are missing, nothing written")
            yield self._rows(iter(bands))

    def _rows(self, bands: Iterator[Band]) -> Iterator[Pixels]:
        left = self._header.height
        while (band := self._next(bands)) is not None:
            left -= band.rgb.shape[0]
            if left < 0 or band.rgb.shape[1] != self._header.width:
                raise OutputError(f"{self._path}: more pixels came than the picture has, nothing written")
            if len(band.rgb):
                yield fitted(band, self._layout)
        if left:
            raise OutputError(f"{self._path}: {left} rows are missing, nothing written")

    def _next(self, iterator: Iterator[_T]) -> _T | None:
        try:
            return next(iterator, None)
        except BaseException as error:
            self.raised = error
            raise
