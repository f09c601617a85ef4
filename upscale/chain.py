"""The steps from a picture to its enlarged rows, each a stream of bands: color bled under transparency, the network, color
fix, one resampling, strength, rounding. Whatever way the network runs, the rows are the same.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from upscale.bleed import bled, limited
from upscale.colorfix import Shift, fixed
from upscale.image import Array, Band, Floats, Picture, from_float, is_deep, to_float
from upscale.plans import Tile
from upscale.resample import Box, Kernel, catmull_rom, lanczos, resampled
from upscale.rows import Padding, RowReader, cropped, padded, split

WRAP_PADDING = 32
"""Pixels taken from the opposite side where the picture tiles: past these a network's view has faded."""

_ROWS = 16

Wrap = Literal["none", "x", "y", "xy"]

Network = Callable[[Iterator[Floats], npt.DTypeLike], Iterator[Array]]
"""Rows of the surrounded picture → rows `Geometry.factor` times as large, clipped to [0, 1], in the dtype asked for; with
float16, floats of any size that are as exact as an 8-bit result needs."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How pictures are enlarged, whatever their size.

    `tile`: see plans.py. `strength`: 0 the resampled input, 1 the network. `tta`: the mean of eight versions (ensemble.py).
    `bleed`: whether alpha means transparency: color under it is replaced by what is visible around it, and the network
    draws its edges; without, both are taken as the data that they are, and alpha is interpolated.
    """

    tile: Tile = "auto"
    wrap: Wrap = "none"
    color_fix: bool = True
    strength: float = 1.0
    tta: bool = False
    bleed: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"the strength must lie in 0..1, not {self.strength:g}")


@dataclass(frozen=True, slots=True)
class Geometry:
    """A picture's sides, those with what wrapping puts around it, and where the result lies in the network's output."""

    width: int
    height: int
    out_width: int
    out_height: int
    factor: int
    around: Padding

    @property
    def wide(self) -> int:
        return self.width + self.around.left + self.around.right

    @property
    def high(self) -> int:
        return self.height + self.around.top + self.around.bottom

    @property
    def exact(self) -> bool:
        """Whether the network gives the final pixels, with no resampling after it."""
        return self.factor > 0 and (self.width * self.factor, self.height * self.factor) == (
            self.out_width,
            self.out_height,
        )

    def box(self, factor: int) -> Box:
        around = self.around
        return Box(around.top * factor, around.left * factor, self.height * factor, self.width * factor)


def geometry_of(size: tuple[int, int], out: tuple[int, int], factor: int, wrap: Wrap) -> Geometry:
    """`size` and `out` are (width, height); `factor` is what all passes of the network enlarge, 0 for no network."""
    x, y = WRAP_PADDING * ("x" in wrap), WRAP_PADDING * ("y" in wrap)
    return Geometry(*size, *out, factor, Padding(x, x, y, y, "x" in wrap, "y" in wrap))


def enlarged(
    picture: Picture,
    geometry: Geometry,
    settings: Settings,
    network: Network,
    mask_network: Network | None,
    gray: bool,
    shift: Shift,
) -> Iterator[Band]:
    """The finished rows, of the picture's dtype, in bands. `gray`: all three channels shall be equal. Without
    `mask_network` transparency is interpolated."""
    dtype, has_alpha = picture.header.dtype, picture.header.alpha
    rows = padded(_floats(picture), geometry.around)
    if not has_alpha:
        yield from (Band(rgb) for rgb in _colors(rows, geometry, settings, network, gray, dtype, shift))
        return
    rows, alphas = split(rows, 2)
    visible = bled(rows, geometry.high) if settings.bleed else (band[..., :3] for band in rows)
    colors = _colors(visible, geometry, settings, network, gray, dtype, shift)
    alpha = RowReader(_mask((band[..., 3:] for band in alphas), geometry, settings, mask_network, dtype))
    for rgb in colors:
        yield Band(rgb, from_float(alpha.read(rgb.shape[0])[..., 0], _kept(dtype)))


def _floats(picture: Picture) -> Iterator[Floats]:
    """Rows (n, w, 3), or (n, w, 4) with alpha; few at a time, since each step holds what belongs to a whole band."""
    for band in picture.bands():
        for start in range(0, band.rgb.shape[0], _ROWS):
            rows = slice(start, start + _ROWS)
            rgb = to_float(band.rgb[rows])
            yield rgb if band.alpha is None else np.dstack((rgb, to_float(band.alpha[rows])))


def _colors(
    visible: Iterator[Floats],
    geometry: Geometry,
    settings: Settings,
    network: Network,
    gray: bool,
    dtype: np.dtype[np.generic],
    shift: Shift,
) -> Iterator[Array]:
    if not geometry.factor:
        return _rounded(_resized(visible, 1, geometry), gray, dtype)
    blended = settings.strength < 1
    if geometry.exact and not (settings.color_fix or blended or gray or settings.tta):
        return cropped(network(visible, dtype), *_edges(geometry.box(geometry.factor)))
    originals: list[Iterator[Floats]] = []
    if settings.color_fix or blended:
        visible, *originals = split(visible, 1 + settings.color_fix + blended)
    result: Iterator[Floats] = network(visible, _unrounded(dtype))
    if settings.color_fix:
        result = fixed(result, originals.pop(), geometry.high, geometry.factor, shift)
    result = _resized(result, geometry.factor, geometry)
    if blended:
        result = _blended(result, _resized(originals.pop(), 1, geometry), settings.strength)
    return _rounded(result, gray, dtype)


def _mask(
    rows: Iterator[Floats], geometry: Geometry, settings: Settings, network: Network | None, dtype: np.dtype[np.generic]
) -> Iterator[Floats]:
    """Rows (n, w, 1) of transparency in the final size."""
    if network is None or not geometry.factor:
        return _resized(rows, 1, geometry, catmull_rom)
    seen, limits, *originals = split(rows, 2 + (settings.strength < 1))
    result = network((band.repeat(3, axis=2) for band in seen), _unrounded(dtype))
    result = _resized(limited(result, limits, geometry.high, geometry.factor), geometry.factor, geometry, catmull_rom)
    return (
        _blended(result, _resized(originals[0], 1, geometry, catmull_rom), settings.strength) if originals else result
    )


def _resized(rows: Iterator[Floats], factor: int, geometry: Geometry, kernel: Kernel = lanczos) -> Iterator[Floats]:
    """The wanted part of rows that are `factor` times the surrounded picture, in the final size."""
    box = geometry.box(factor)
    if (box.width, box.height) == (geometry.out_width, geometry.out_height):
        return cropped(rows, *_edges(box))
    size, out = (geometry.high * factor, geometry.wide * factor), (geometry.out_height, geometry.out_width)
    return resampled(rows, size, out, kernel, box)


def _edges(box: Box) -> tuple[int, int, int, int]:
    return box.top, box.left, box.height, box.width


def _blended(result: Iterator[Floats], originals: Iterator[Floats], strength: float) -> Iterator[Floats]:
    reader, share = RowReader(originals), np.float32(strength)
    for rows in result:
        # Clipped first: what the resampling overshoots was never a color.
        original = np.clip(reader.read(rows.shape[0]), 0, 1)
        yield (share * np.clip(rows, 0, 1) + (1 - share) * original).astype(np.float32, copy=False)


def _unrounded(dtype: np.dtype[np.generic]) -> npt.DTypeLike:
    """What to ask a network for where more steps follow before the result is rounded to `dtype`."""
    return np.float32 if is_deep(dtype) else np.float16


def _rounded(rows: Iterator[Floats], gray: bool, dtype: np.dtype[np.generic]) -> Iterator[Array]:
    for band in rows:
        if gray:
            band = np.broadcast_to(band.mean(axis=2, keepdims=True, dtype=np.float32), band.shape)
        yield from_float(band, _kept(dtype))


def _kept(dtype: np.dtype[np.generic]) -> npt.DTypeLike:
    """float16 stands for floats that need not be exact: to make them short would take time and win nothing."""
    return np.float32 if dtype == np.float16 else dtype
