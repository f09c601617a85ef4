"""A picture in memory, and the one conversion between stored integers and the networks' floats."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Rows = Iterator[Floats]
"""Consecutive row bands of one picture, top to bottom: float32 (rows, width, 3), RGB in [0, 1]."""

_FULL: dict[Any, float] = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}


@dataclass(frozen=True, slots=True)
class Color:
    """What a file said about its pixels. Carried along; nothing here changes a value."""

    depth: int = 8
    gray: bool = False
    matrix: str = "rgb"
    transfer: str = "srgb"
    primaries: str = "bt709"
    full_range: bool = True
    icc: bytes | None = None


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a file carried beside its pixels, to be written back: EXIF and XMP as bytes, DPI as (x, y)."""

    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One picture.

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


def to_float(pixels: Array) -> Floats:
    """uint8, uint16 or float pixels as float32; integers are divided by their full scale, floats taken as they are."""
    full = _FULL.get(pixels.dtype)
    if full is None:
        return np.asarray(pixels, dtype=np.float32)
    return pixels.astype(np.float32) / np.float32(full)


def from_float(pixels: Floats, dtype: npt.DTypeLike) -> Array:
    """float32 pixels clipped to [0, 1] and stored as `dtype`: rounded to the nearest level, never truncated."""
    clipped = np.clip(pixels, 0.0, 1.0)
    full = _FULL.get(np.dtype(dtype))
    if full is None:
        return clipped.astype(dtype, copy=False)
    return np.rint(clipped * np.float32(full)).astype(dtype)
