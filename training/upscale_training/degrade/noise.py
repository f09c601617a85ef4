"""Noise that is drawn anew for each pixel. Strengths are standard deviations in 8-bit levels (of 255) unless said otherwise."""

import cv2
import numpy as np

from upscale.image import Array, Floats
from upscale_training.degrade import note
from upscale_training.degrade.combine import step
from upscale_training.degrade.draw import Range, chance, log_number, number

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Shares of red, green and blue in gray (BT.601)."""


def white(rng: np.random.Generator, picture: Floats, gray: bool) -> Floats:
    """Standard normal noise for a picture (H, W, 3): of its shape, or (H, W, 1) for all channels alike."""
    height, width = picture.shape[:2]
    return rng.standard_normal((height, width, 1 if gray else 3), dtype=np.float32)


@step
def gaussian_noise(picture: Floats, rng: np.random.Generator, sigma: Range = (1.0, 30.0), gray: float = 0.4) -> Array:
    """The same strength everywhere; with probability `gray` the same in all three channels."""
    drawn, alike = number(rng, sigma), chance(rng, gray)
    note("gaussian noise", sigma=drawn, gray=alike)
    return np.clip(picture + white(rng, picture, alike) * np.float32(drawn / 255), 0, 1)


@step
def poisson_noise(picture: Floats, rng: np.random.Generator, scale: Range = (0.05, 3.0), gray: float = 0.4) -> Array:
    """Shot noise as basicsr 1.4.2 defines it: the picture counts as so many photons as it has distinct values of 8 bits, rounded
    up to a power of two; what that adds is multiplied by `scale` (no unit)."""
    drawn, alike = number(rng, scale), chance(rng, gray)
    note("poisson noise", scale=drawn, gray=alike)
    base: Array = (picture @ LUMA)[..., None] if alike else picture
    base = np.rint(np.clip(base, 0, 1) * 255) / np.float32(255)
    full = 2.0 ** np.ceil(np.log2(np.unique(base).size))
    noise = np.asarray(rng.poisson(base * full) / full - base, dtype=np.float32)
    return np.clip(picture + noise * np.float32(drawn), 0, 1)


@step
def speckle_noise(picture: Floats, rng: np.random.Generator, share: Range = (0.02, 0.15), gray: float = 0.4) -> Array:
    """Multiplied with the picture: `share` is its standard deviation as a share of each pixel's value."""
    drawn, alike = number(rng, share), chance(rng, gray)
    note("speckle", share=drawn, gray=alike)
    return np.clip(picture * (1 + white(rng, picture, alike) * np.float32(drawn)), 0, 1)


@step
def sensor_noise(picture: Floats, rng: np.random.Generator, shot: Range = (1e-4, 1.2e-2), bayer: float = 0.5) -> Array:
    """A camera's: shot and read noise in linear light, with the gains of a white balance.

    Variance shot · x + read² for linear x in [0, 1]; `shot` is drawn evenly in its logarithm and read follows from it, as Brooks
    et al. (Unprocessing, 2019) found for real cameras. With probability `bayer` each channel's noise exists only where a color
    filter (RGGB) passed it, and is interpolated in between: blotches of color, coarser in red and blue.
    """
    gain, mosaic = log_number(rng, shot), chance(rng, bayer)
    read_variance = np.exp(2.18 * np.log(gain) + 1.2 + rng.normal(0, 0.26))
    balance = np.array([rng.uniform(1.9, 2.4), 1.0, rng.uniform(1.5, 1.9)], np.float32)
    note("sensor noise", shot=gain, read=float(np.sqrt(read_variance)), bayer=mosaic)
    linear = np.clip(picture, 0, 1) ** np.float32(2.2)
    variance = gain * linear * balance + np.float32(read_variance) * balance**2
    noise = np.sqrt(variance) * white(rng, picture, gray=False)
    if mosaic:
        noise = _through_bayer(noise)
    return np.clip(linear + noise, 0, 1) ** np.float32(1 / 2.2)


_GREEN = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32) / 4
_RED_OR_BLUE = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 4


def _through_bayer(noise: Floats) -> Array:
    """Kept where the filter passes the channel, and interpolated bilinearly in between."""
    kept = np.zeros_like(noise)
    kept[::2, ::2, 0] = noise[::2, ::2, 0]
    kept[::2, 1::2, 1], kept[1::2, ::2, 1] = noise[::2, 1::2, 1], noise[1::2, ::2, 1]
    kept[1::2, 1::2, 2] = noise[1::2, 1::2, 2]
    kernels = (_RED_OR_BLUE, _GREEN, _RED_OR_BLUE)
    return np.dstack([cv2.filter2D(kept[..., channel], -1, kernel) for channel, kernel in enumerate(kernels)])


@step
def film_grain(
    picture: Floats,
    rng: np.random.Generator,
    sigma: Range = (3.0, 14.0),
    size: Range = (0.4, 1.4),
    color: Range = (0.0, 0.6),
) -> Array:
    """Grain of film: correlated over `size` pixels (the sigma of its blur), strongest in the middle tones.

    A share u of an emulsion covered by opaque grains varies by √(u · (1 - u)) (the Boolean model, Newson et al. 2017); `sigma` is
    the strength at the middle, in levels. `color`: the share of the grain's variance that is each channel's own.
    """
    strength, grain, own = number(rng, sigma), number(rng, size), number(rng, color)
    note("grain", sigma=strength, size=grain, color=own)
    common, each = np.float32(np.sqrt(1 - own)), np.float32(np.sqrt(own))
    field = _correlated(common * white(rng, picture, gray=True) + each * white(rng, picture, gray=False), grain)
    tone = np.clip(picture @ LUMA, 0, 1)[..., None]
    return np.clip(picture + field * np.sqrt(tone * (1 - tone)) * np.float32(2 * strength / 255), 0, 1)


def _correlated(field: Array, sigma: float) -> Array:
    """Blurred, with the variance that it had: the kernel's squares add up to 1. Rows and columns are blurred apart."""
    half = max(1, int(np.ceil(3 * sigma)))
    line = np.exp(-0.5 * (np.arange(-half, half + 1) / max(sigma, 1e-3)) ** 2)
    line = (line / np.sqrt((line**2).sum())).astype(np.float32)
    return cv2.sepFilter2D(field, -1, line, line, borderType=cv2.BORDER_REFLECT_101)
