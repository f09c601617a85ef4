"""SSIM (Wang, Bovik, Sheikh, Simoncelli 2004: Image quality assessment: from error visibility to structural similarity)."""

import cv2
import numpy as np

from upscale.image import Floats
from upscale_training.metrics.psnr import Doubles, cut, luma

WINDOW, SIGMA = 11, 1.5
"""The paper's Gaussian window, in pixels."""

_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ssim(sr: Floats, hr: Floats, border: int = 0) -> float:
    """Mean over the three channels, without `border` pixels on each side; 1 for equal pictures.

    Only windows that lie wholly in the picture count. Raises ValueError for different shapes, and where not one fits.
    """
    first, second = (cut(picture, border).astype(np.float64) * 255 for picture in (sr, hr))
    if first.shape != second.shape:
        raise ValueError(f"pictures of different shapes, {first.shape} and {second.shape}, cannot be compared")
    return float(np.mean([_ssim(first[..., channel], second[..., channel]) for channel in range(3)]))


def ssim_y(sr: Floats, hr: Floats, border: int = 0) -> float:
    """The same on luma (16..235 of 255)."""
    return _ssim(luma(cut(sr, border)), luma(cut(hr, border)))


def _ssim(sr: Doubles, hr: Doubles) -> float:
    """Of one channel in 0..255."""
    if sr.shape != hr.shape:
        raise ValueError(f"pictures of different shapes, {sr.shape} and {hr.shape}, cannot be compared")
    if min(sr.shape) < WINDOW:
        raise ValueError(f"SSIM needs {WINDOW}×{WINDOW} pixels inside the border, not {sr.shape[1]}×{sr.shape[0]}")
    mean_sr, mean_hr = _blurred(sr), _blurred(hr)
    squares, product = mean_sr**2 + mean_hr**2, mean_sr * mean_hr
    variances = _blurred(sr**2) + _blurred(hr**2) - squares
    covariance = _blurred(sr * hr) - product
    similarity = (2 * product + _C1) * (2 * covariance + _C2) / ((squares + _C1) * (variances + _C2))
    return float(similarity.mean())


def _blurred(channel: Doubles) -> Doubles:
    """The Gaussian mean of every window that fits."""
    kernel, half = cv2.getGaussianKernel(WINDOW, SIGMA), WINDOW // 2
    return np.asarray(cv2.sepFilter2D(channel, cv2.CV_64F, kernel, kernel)[half:-half, half:-half], np.float64)
