"""Too few levels, and what is done about it: banding, dithering."""

import numpy as np
from PIL import Image as Pil

from upscale.image import Array, Floats, from_float, to_float
from upscale_training.degrade import note
from upscale_training.degrade.combine import step
from upscale_training.degrade.draw import Range, choice, whole


@step
def eight_bits(picture: Floats, rng: np.random.Generator) -> Array:
    """Rounded to the levels that a file of 8 bits holds, and cut off at 0 and 1."""
    return to_float(from_float(picture, np.uint8))


@step
def banding(picture: Floats, rng: np.random.Generator, levels: Range = (24, 64)) -> Array:
    """Each channel rounded to `levels` values: steps where there was a smooth sky."""
    count = whole(rng, levels)
    note("banding", levels=count)
    return np.rint(np.clip(picture, 0, 1) * (count - 1)) / np.float32(count - 1)


@step
def ordered_dither(
    picture: Floats, rng: np.random.Generator, levels: Range = (4, 24), sizes: tuple[int, ...] = (2, 4, 8)
) -> Array:
    """Rounded to `levels` values of each channel after Bayer's matrix of 2, 4 or 8 pixels was added: a regular screen."""
    count, size = whole(rng, levels), choice(rng, sizes)
    note("ordered dither", levels=count, size=size)
    height, width = picture.shape[:2]
    tiled = np.tile(bayer_matrix(size), (-(-height // size), -(-width // size)))[:height, :width, None]
    return np.clip(np.floor(np.clip(picture, 0, 1) * (count - 1) + tiled), 0, count - 1) / np.float32(count - 1)


def bayer_matrix(size: int) -> Floats:
    """Bayer's thresholds (1973) in (0, 1), their mean 1/2; `size` is a power of two."""
    matrix = np.zeros((1, 1))
    while matrix.shape[0] < size:
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return ((matrix + 0.5) / matrix.size).astype(np.float32)


@step
def palette(picture: Floats, rng: np.random.Generator, colors: Range = (16, 256), diffused: bool = True) -> Array:
    """The picture's own `colors` best colors (median cut), as in a GIF; by default the error is diffused (Floyd and Steinberg)."""
    count = whole(rng, colors)
    note("palette", colors=count, diffused=diffused)
    image = Pil.fromarray(from_float(picture, np.uint8))
    chosen = image.quantize(count, method=Pil.Quantize.MEDIANCUT)
    dither = Pil.Dither.FLOYDSTEINBERG if diffused else Pil.Dither.NONE
    return to_float(np.asarray(image.quantize(palette=chosen, dither=dither).convert("RGB")))
