"""PSNR, on RGB and on luma as the field measures it."""

import math

import numpy as np
import numpy.typing as npt

from upscale.image import Floats

Doubles = npt.NDArray[np.float64]


def psnr(sr: Floats, hr: Floats, border: int = 0) -> float:
    """Peak signal-to-noise ratio in dB over all channels, without `border` pixels on each side; inf for equal pictures."""
    return _decibels(cut(sr, border), cut(hr, border), 1.0)


def psnr_y(sr: Floats, hr: Floats, border: int = 0) -> float:
    """The same on luma. Luma spans 219 levels, but the peak is 255: that is how papers count."""
    return _decibels(luma(cut(sr, border)), luma(cut(hr, border)), 255.0)


def luma(picture: Floats) -> Doubles:
    """(H, W, 3) RGB in [0, 1] → Y (H, W) in [16, 235], unrounded: MATLAB's rgb2ycbcr (ITU-R BT.601)."""
    return picture.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) + 16.0


def cut(picture: Floats, border: int) -> Floats:
    """Without `border` pixels on each side. Raises ValueError where nothing is left."""
    height, width = picture.shape[:2]
    if 2 * border >= min(height, width):
        raise ValueError(f"nothing of a picture of {width}×{height} is left without {border} pixels on each side")
    return picture[border : height - border, border : width - border]


def _decibels(sr: npt.NDArray[np.floating], hr: npt.NDArray[np.floating], peak: float) -> float:
    if sr.shape != hr.shape:
        raise ValueError(f"pictures of different shapes, {sr.shape} and {hr.shape}, cannot be compared")
    error = float(np.mean((sr.astype(np.float64) - hr.astype(np.float64)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)
