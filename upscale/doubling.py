"""The filter of alias-free doubling: enlarging features by 2 with a windowed sinc instead of repeating each pixel.

Nearest-neighbor doubling leaves copies of the spectrum above the old Nyquist frequency; what the next layers make of them
sticks to the pixel grid while the picture moves under it (Karras et al. 2021, Alias-Free Generative Adversarial Networks,
arXiv:2106.12423, sections 2 and 3.2). Each output pixel lies a quarter of a pixel beside an input pixel, as it does when
pixels are repeated, and is a sum of the 6 × 6 nearest input pixels; beyond the picture's rim its pixels repeat.
"""

import numpy as np

from upscale.image import Floats

REACH = 3
"""Pixels that an output pixel sees on each side of the input pixel that it lies in."""

BETA = 4.0
"""Kaiser's parameter: how steeply the window falls."""


def taps() -> Floats:
    """(2, 7): weights of the input pixels i - 3 to i + 3 for the output pixels 2i and 2i + 1. Each row sums to 1."""
    distance = np.arange(-REACH, REACH) + 0.25  # from the output pixel at i - 1/4
    window = np.i0(BETA * np.sqrt(1 - (distance / REACH) ** 2))
    weights = np.sinc(distance) * window
    weights /= weights.sum()
    return np.array([[*weights, 0], [0, *weights[::-1]]], np.float32)


def kernel(features: int) -> Floats:
    """(4·features, 1, 7, 7): a grouped convolution whose outputs a pixel-shuffle by 2 puts into their places."""
    rows, columns = taps()[:, np.newaxis, :, np.newaxis], taps()[np.newaxis, :, np.newaxis, :]
    phases = (rows * columns).reshape(4, 1, 2 * REACH + 1, 2 * REACH + 1)
    return np.tile(phases, (features, 1, 1, 1))
