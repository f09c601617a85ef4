"""A video's frame as it was decoded: planes of integer codes, what they mean, and when they are shown."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from upscale.image import Array, Band, Color, Floats, Header, Metadata


@dataclass(frozen=True, slots=True)
class Layout:
    """How a frame is stored. `kind`: luma and two chroma planes, three colors, or luma alone.

    `depth`: bits of a code, 8 to 16. `sub_x`, `sub_y`: chroma has 2^-sub as many columns and rows, rounded up.
    """

    kind: Literal["yuv", "rgb", "gray"] = "yuv"
    depth: int = 8
    sub_x: int = 1
    sub_y: int = 1
    alpha: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8 if self.depth == 8 else np.uint16)

    @property
    def color_planes(self) -> int:
        return 1 if self.kind == "gray" else 3

    def shapes(self, width: int, height: int) -> list[tuple[int, int]]:
        """(rows, columns) of each plane of a frame."""
        full, chroma = (height, width), (-(-height >> self.sub_y), -(-width >> self.sub_x))
        rest = {"yuv": [chroma, chroma], "rgb": [full, full], "gray": []}[self.kind]
        return [full, *rest, *([full] if self.alpha else [])]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded frame.

    `planes`: (rows, columns) of `layout.dtype`; luma, Cb, Cr, or red, green, blue, or luma; then alpha, straight and of full
    range. `pts` and `duration` in units of `time_base` seconds; 0 is an unknown duration. `number` counts the video's frames
    from 0. `corrupt`: the decoder had to invent some of it.
    """

    planes: tuple[Array, ...]
    layout: Layout
    color: Color
    pts: int
    duration: int = 0
    time_base: Fraction = Fraction(1, 1000)
    number: int = 0
    corrupt: bool = False

    @property
    def width(self) -> int:
        return self.planes[0].shape[1]

    @property
    def height(self) -> int:
        return self.planes[0].shape[0]


@dataclass(frozen=True, slots=True, eq=False)
class FloatPicture:
    """A frame as floats on its way through the network; a `Picture` that is read any number of times.

    rgb (H, W, 3) and alpha (H, W) or None, float32 in [0, 1]. `deep`: whether the result has to be more exact than 8 bits.
    """

    rgb: Floats
    alpha: Floats | None = None
    deep: bool = False
    color: Color = field(default_factory=Color)

    @property
    def header(self) -> Header:
        height, width = self.rgb.shape[:2]
        dtype = np.dtype(np.float32 if self.deep else np.float16)
        return Header(width, height, dtype, self.alpha is not None, self.color, Metadata())

    def bands(self) -> Iterator[Band]:
        yield Band(self.rgb, self.alpha)
