"""Blur kernels as formulas: what basicsr 1.4.2 (data/degradations.py) computes for the same numbers, see tests/golden.

Kernels are float64 (size, size), size odd, and add up to 1. Angles are in radians, sigmas in pixels. Formulas: Wang et al.,
Real-ESRGAN (2021), section 3.1; generalised Gaussian after Pascal et al., arXiv 1302.6498.
"""

import numpy as np
import numpy.typing as npt

Kernel = npt.NDArray[np.float64]

_NODES = np.cos((np.arange(64) + 0.5) * np.pi / 64)


def gaussian(size: int, sigma_x: float, sigma_y: float, theta: float = 0.0) -> Kernel:
    """exp(-d / 2) with d the squared distance in sigmas along axes turned by theta. Isotropic where both sigmas are equal."""
    return _normalized(np.exp(-0.5 * _distances(size, sigma_x, sigma_y, theta)))


def generalized_gaussian(size: int, sigma_x: float, sigma_y: float, theta: float, beta: float) -> Kernel:
    """exp(-d^beta / 2): beta 1 is the Gaussian, below it is more peaked, above it nearer to a disk."""
    return _normalized(np.exp(-0.5 * _distances(size, sigma_x, sigma_y, theta) ** beta))


def plateau(size: int, sigma_x: float, sigma_y: float, theta: float, beta: float) -> Kernel:
    """1 / (1 + d^beta): flat on top, with long tails."""
    return _normalized(1 / (_distances(size, sigma_x, sigma_y, theta) ** beta + 1))


def sinc(size: int, cutoff: float) -> Kernel:
    """The circular low-pass with its cutoff in radians a pixel (pi: all that a row can hold), cut off at the rim: it rings.

    cutoff · J1(cutoff · r) / (2 pi r), and cutoff² / (4 pi) in the middle.
    """
    half = size // 2
    # `fromfunction` would compute each of few distinct radii many times; Bessel functions are what takes the time here.
    squares, places = np.unique(
        np.add.outer(np.arange(-half, half + 1) ** 2, np.arange(-half, half + 1) ** 2), return_inverse=True
    )
    radii = np.sqrt(np.maximum(squares, 1))
    values = np.where(squares > 0, cutoff * _bessel_j1(cutoff * radii) / (2 * np.pi * radii), cutoff**2 / (4 * np.pi))
    return _normalized(values[places].reshape(size, size))


def _bessel_j1(x: Kernel) -> Kernel:
    """J1 by its integral, mean of sin(x · cos t) · cos t over half a turn. The integrand is periodic, so that 64 nodes are
    exact to float64 rounding for x up to 60; a kernel of 21 pixels needs 45."""
    return (np.sin(x[:, None] * _NODES) * _NODES).mean(axis=1)


def _distances(size: int, sigma_x: float, sigma_y: float, theta: float) -> Kernel:
    if size % 2 == 0:
        raise ValueError(f"a kernel's size must be odd, or it shifts the picture, not {size}")
    y, x = np.mgrid[-(size // 2) : size // 2 + 1, -(size // 2) : size // 2 + 1].astype(np.float64)
    along = (x * np.cos(theta) + y * np.sin(theta)) / sigma_x
    across = (y * np.cos(theta) - x * np.sin(theta)) / sigma_y
    return along**2 + across**2


def _normalized(kernel: Kernel) -> Kernel:
    return kernel / kernel.sum()
