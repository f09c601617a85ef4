"""Compressed pictures, by the real encoders: JPEG and WebP through OpenCV, AVIF through Pillow.

A file's blocks begin at its corner, but a crop lies anywhere in its file: the grid is moved by a random part of a block.
"""

import io
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from PIL import Image as Pil

from upscale.image import Array, Floats, from_float, to_float
from upscale_training.degrade import note
from upscale_training.degrade.combine import step
from upscale_training.degrade.draw import Range, choice, whole
from upscale_training.degrade.television import Subsampling

_JPEG_SAMPLING: dict[Subsampling, int] = {
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:1:1": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
    "4:4:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}

Codec = Callable[[Array], Array]
"""uint8 (H, W, 3) RGB → what comes back from the file."""


def off_grid(
    picture: Floats, rng: np.random.Generator, codec: Codec, block: int, grid: tuple[int, int] | None
) -> Floats:
    """`codec` done to the picture as a part of a larger one, which is its mirror image there.

    `grid`: where (row, column) the picture begins in a block of `block` pixels; None draws it.
    """
    top, left = rng.integers(block, size=2).tolist() if grid is None else grid
    pixels = from_float(picture, np.uint8)
    larger = cv2.copyMakeBorder(pixels, top, 0, left, 0, cv2.BORDER_REFLECT_101)
    return to_float(codec(larger)[top:, left:])


@step
def jpeg(
    picture: Floats,
    rng: np.random.Generator,
    quality: Range = (30, 95),
    subsampling: tuple[Subsampling, ...] = ("4:2:0",),
    grid: tuple[int, int] | None = None,
) -> Array:
    """libjpeg at `quality` (1 to 100, whole), with one of the subsamplings; `grid`: see `off_grid`."""
    level, kind = whole(rng, quality), choice(rng, subsampling)
    note("jpeg", quality=level, subsampling=kind)
    options = [cv2.IMWRITE_JPEG_QUALITY, level, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _JPEG_SAMPLING[kind]]
    return off_grid(picture, rng, lambda pixels: _through_opencv(pixels, ".jpg", options), 16, grid)


@step
def webp(
    picture: Floats, rng: np.random.Generator, quality: Range = (20, 95), grid: tuple[int, int] | None = None
) -> Array:
    """libwebp, lossy, at `quality` (1 to 100, whole); its color is always 4:2:0."""
    level = whole(rng, quality)
    note("webp", quality=level)
    return off_grid(
        picture, rng, lambda pixels: _through_opencv(pixels, ".webp", [cv2.IMWRITE_WEBP_QUALITY, level]), 16, grid
    )


def _through_opencv(pixels: Array, suffix: str, options: list[int]) -> Array:
    _, data = cv2.imencode(suffix, pixels[..., ::-1], options)
    decoded: Array = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return decoded[..., ::-1]


@step
def avif(
    picture: Floats,
    rng: np.random.Generator,
    quality: Range = (15, 85),
    subsampling: tuple[Subsampling, ...] = ("4:2:0", "4:4:4"),
    speed: int = 9,
    grid: tuple[int, int] | None = None,
) -> Array:
    """AV1 stills at `quality` (0 to 100, whole); `speed` (0 to 10) trades quality for time. Pillow's three subsamplings."""
    level, kind = whole(rng, quality), choice(rng, subsampling)
    note("avif", quality=level, subsampling=kind)
    options = {"quality": level, "subsampling": kind, "speed": speed, "max_threads": 1}
    return off_grid(picture, rng, lambda pixels: _through_avif(pixels, options), 8, grid)


def _through_avif(pixels: Array, options: dict[str, Any]) -> Array:
    file = io.BytesIO()
    Pil.fromarray(pixels).save(file, "AVIF", **options)
    with Pil.open(file) as image:
        return np.asarray(image.convert("RGB"))
