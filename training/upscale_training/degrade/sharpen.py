"""Sharpening: halos in what is given to the network, and Real-ESRGAN's sharpened targets."""

import cv2
import numpy as np

from upscale.image import Array, Floats
from upscale_training.degrade import note
from upscale_training.degrade.combine import step
from upscale_training.degrade.draw import Range, number


def sharpen_target(picture: Floats, weight: float = 0.5, size: int = 51, threshold: float = 10.0) -> Floats:
    """Unsharp masking where a difference is worth it: what Real-ESRGAN does to its targets (its USM, basicsr 1.4.2's usm_sharp).

    `size`: of the Gaussian's kernel in pixels, odd; its sigma is OpenCV's for that size, 0.3 · ((size - 1) / 2 - 1) + 0.8 = 8.
    `threshold`: of the difference to the blurred picture, in 8-bit levels; the mask that it gives is blurred the same way.
    """
    residual = picture - _blurred(picture, size)
    mask = _blurred((np.abs(residual) * 255 > threshold).astype(np.float32), size)
    sharp = np.clip(picture + np.float32(weight) * residual, 0, 1)
    return np.asarray(mask * sharp + (1 - mask) * picture, dtype=np.float32)


def _blurred(picture: Floats, size: int) -> Array:
    return cv2.GaussianBlur(picture, (size, size), 0, borderType=cv2.BORDER_REFLECT_101)


@step
def usm(picture: Floats, rng: np.random.Generator) -> Array:
    """`sharpen_target` as a step: Real-ESRGAN also makes its inputs from sharpened pictures."""
    note("usm")
    return sharpen_target(picture)


@step
def halos(picture: Floats, rng: np.random.Generator, amount: Range = (0.2, 1.2), sigma: Range = (0.6, 2.0)) -> Array:
    """Unsharp masking as cameras, scanners and television do it: bright and dark seams along edges.

    `amount` times the difference to the picture blurred by `sigma` pixels is added.
    """
    strength, width = number(rng, amount), number(rng, sigma)
    note("halos", amount=strength, sigma=width)
    blurred = cv2.GaussianBlur(picture, (0, 0), width, borderType=cv2.BORDER_REFLECT_101)
    return np.clip(picture + np.float32(strength) * (picture - blurred), 0, 1)
