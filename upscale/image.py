"""Pictures, in memory or on their way, and the one conversion between stored integers and the networks' floats."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Rows = Iterator[Floats]
"""Consecutive row bands of one picture, top to bottom: float32 (rows, width, 3), RGB in [0, 1]."""

BAND_ROWS = 64
"""Rows of the bands in which a picture in memory is handed on."""

_FULL: dict[Any, float] = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}


@dataclass(frozen=True, slots=True)
class Color:
    """What a file said about its pixels. Carried along; nothing here changes a value.

    `depth`: bits of a channel in the file, 1 to 16. `chroma_location`: where a video's chroma samples lie (H.273): left,
    center, topleft, top, bottomleft, bottom. `chunks`: what a PNG says of its color beside or instead of an ICC
    profile (gAMA, cHRM, sRGB, cICP), as (name, content) in the file's order.
    """

    depth: int = 8
    gray: bool = False
    matrix: str = "rgb"
    transfer: str = "srgb"
    primaries: str = "bt709"
    full_range: bool = True
    icc: bytes | None = None
    chunks: tuple[tuple[str, bytes], ...] = ()
    chroma_location: str = "left"


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a file carried beside its pixels, to be written back: EXIF and XMP as bytes, DPI as (x, y)."""

    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Header:
    """A picture without its pixels: sides in pixels as it is meant to be seen (upright), and how its pixels come.

    `dtype` is uint8, uint16 or float32; or float16 for floats, of 16 or 32 bits, whose result need be no more exact than 8 bits
    (a video's frames). Gray pictures come as three equal channels too, and say so in `color.gray`.
    """

    width: int
    height: int
    dtype: np.dtype[Any]
    alpha: bool
    color: Color = field(default_factory=Color)
    metadata: Metadata = field(default_factory=Metadata)


@dataclass(frozen=True, slots=True)
class Animation:
    """How pictures follow one another: each one's duration in milliseconds; how often all are played, 0 for ever."""

    durations: tuple[float, ...]
    plays: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """Consecutive rows of a picture: rgb (n, width, 3), alpha (n, width) or None, of one dtype."""

    rgb: Array
    alpha: Array | None = None


def joined(bands: Sequence[Band]) -> Band:
    """Bands that follow one another, one at least, as one."""
    if len(bands) == 1:
        return bands[0]
    alphas = [band.alpha for band in bands if band.alpha is not None]
    return Band(np.concatenate([band.rgb for band in bands]), np.concatenate(alphas) if alphas else None)


class Picture(Protocol):
    """What can be read from top to bottom, again if need be: in memory, or still in its file."""

    @property
    def header(self) -> Header: ...

    def bands(self) -> Iterator[Band]:
        """All rows in order, from the top at each call, in bands of any heights. Raises PictureError."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One picture in memory; a `Picture`.

    `rgb` is (H, W, 3) and `alpha` (H, W) or None, both of one dtype: uint8, uint16, or float32 in [0, 1].
    """

    rgb: Array
    alpha: Array | None = None
    color: Color = field(default_factory=Color)
    metadata: Metadata = field(default_factory=Metadata)

    def __post_init__(self) -> None:
        if self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or 0 in self.rgb.shape:
            raise ValueError(f"rgb must be (H, W, 3) with H, W ≥ 1, not {self.rgb.shape}")
        if self.rgb.dtype not in _FULL and self.rgb.dtype != np.float32:
            raise ValueError(f"pixels must be uint8, uint16 or float32, not {self.rgb.dtype}")
        alpha = self.alpha
        if alpha is not None and (alpha.shape != self.rgb.shape[:2] or alpha.dtype != self.rgb.dtype):
            raise ValueError(f"alpha must be {self.rgb.shape[:2]} {self.rgb.dtype}, not {alpha.shape} {alpha.dtype}")

    @property
    def width(self) -> int:
        return self.rgb.shape[1]

    @property
    def height(self) -> int:
        return self.rgb.shape[0]

    @property
    def header(self) -> Header:
        return Header(self.width, self.height, self.rgb.dtype, self.alpha is not None, self.color, self.metadata)

    def bands(self) -> Iterator[Band]:
        for start in range(0, self.height, BAND_ROWS):
            rows = slice(start, start + BAND_ROWS)
            yield Band(self.rgb[rows], None if self.alpha is None else self.alpha[rows])


def is_deep(dtype: npt.DTypeLike) -> bool:
    """Whether results of this dtype are more exact than 8 bits need. float16 stands for floats that are not."""
    return np.dtype(dtype).name not in ("uint8", "float16")


def to_float(pixels: Array) -> Floats:
    """uint8, uint16 or float pixels as float32; integers are divided by their full scale, floats taken as they are."""
    full = _FULL.get(pixels.dtype)
    if full is None:
        return np.asarray(pixels, dtype=np.float32)
    return pixels.astype(np.float32) / np.float32(full)


def from_float(pixels: Floats, dtype: npt.DTypeLike) -> Array:
    """float32 pixels clipped to [0, 1] and stored as `dtype`: rounded to the nearest level, never truncated."""
    values = np.clip(pixels, 0.0, 1.0)
    full = _FULL.get(np.dtype(dtype))
    if full is None:
        return values.astype(dtype, copy=False)
    values *= np.float32(full)  # in place: memory for one more array takes longer than the arithmetic
    return np.rint(values, out=values).astype(dtype)
