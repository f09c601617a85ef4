"""Blur: lenses, focus, motion of a hand, resizing; and the ringing of a sharp low-pass."""

import math

import cv2
import numpy as np

from upscale.image import Array, Floats
from upscale_training.degrade import kernels, note
from upscale_training.degrade.combine import step
from upscale_training.degrade.draw import Range, chance, choice, ends, number
from upscale_training.degrade.kernels import Kernel

KINDS = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")
"""The kinds of `mixed_blur` in the order of its weights, by basicsr's names."""

ODD_SIZES = tuple(range(7, 22, 2))
"""Kernel sizes in pixels that Real-ESRGAN draws from."""

_ANGLES = (-math.pi, math.pi)


def filtered(picture: Floats, kernel: Kernel) -> Array:
    """Each channel correlated with the kernel; the picture is mirrored at its rim (without repeating the rim). Not clipped."""
    return cv2.filter2D(picture, -1, kernel.astype(np.float32), borderType=cv2.BORDER_REFLECT_101)


@step
def gaussian_blur(picture: Floats, rng: np.random.Generator, sigma: Range = (0.2, 3.0)) -> Array:
    """The same in all directions; `sigma` in pixels of the picture that it gets."""
    drawn = number(rng, sigma)
    note("blur", sigma=drawn)
    if drawn <= 0:
        return picture
    size = 2 * math.ceil(4 * drawn) + 1
    return cv2.GaussianBlur(picture, (size, size), drawn, borderType=cv2.BORDER_REFLECT_101)


@step
def skewed_blur(
    picture: Floats,
    rng: np.random.Generator,
    sigma: Range = (0.2, 3.0),
    ratio: Range = (0.3, 1.0),
    angle: Range = _ANGLES,
) -> Array:
    """An anisotropic Gaussian: `sigma` along `angle` (radians), `ratio` times that across it, as of a camera that moved."""
    along, share, theta = number(rng, sigma), number(rng, ratio), number(rng, angle)
    note("blur", sigma=along, across=along * share, angle=theta)
    return filtered(picture, kernels.gaussian(2 * math.ceil(4 * along) + 1, along, along * share, theta))


@step
def sinc_blur(
    picture: Floats, rng: np.random.Generator, cutoff: Range | None = None, sizes: tuple[int, ...] = ODD_SIZES
) -> Array:
    """A sharp low-pass that rings. `cutoff` in radians a pixel; by default Real-ESRGAN's: from pi/3, from pi/5 for kernels of
    13 pixels or more, up to pi."""
    size = choice(rng, sizes)
    drawn = number(rng, cutoff or (math.pi / (3 if size < 13 else 5), math.pi))
    note("sinc", cutoff=drawn, size=size)
    return np.clip(filtered(picture, kernels.sinc(size, drawn)), 0, 1)


@step
def mixed_blur(
    picture: Floats,
    rng: np.random.Generator,
    sigma: Range = (0.2, 3.0),
    weights: tuple[float, ...] = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03),
    generalized: tuple[float, float] = (0.5, 4.0),
    plateau: tuple[float, float] = (1.0, 2.0),
    sizes: tuple[int, ...] = ODD_SIZES,
) -> Array:
    """One of the six `KINDS`, drawn as basicsr's random_mixed_kernels draws; `generalized` and `plateau` are ranges of beta,
    of which either side of 1 is as likely as the other."""
    size, kind = choice(rng, sizes), choice(rng, KINDS, weights)
    round_one = not kind.endswith("aniso")
    x = number(rng, sigma)
    y, theta = (x, 0.0) if round_one else (number(rng, sigma), number(rng, _ANGLES))
    drawn = {"kind": kind, "sigma": x} | ({} if round_one else {"across": y, "angle": theta})
    if kind.startswith("generalized"):
        drawn["beta"] = beta = _beta(rng, generalized)
        kernel = kernels.generalized_gaussian(size, x, y, theta, beta)
    elif kind.startswith("plateau"):
        drawn["beta"] = beta = _beta(rng, plateau)
        kernel = kernels.plateau(size, x, y, theta, beta)
    else:
        kernel = kernels.gaussian(size, x, y, theta)
    note("blur", size=size, **drawn)
    return filtered(picture, kernel)


def _beta(rng: np.random.Generator, of: tuple[float, float]) -> float:
    low, high = ends(of)
    return float(rng.uniform(low, 1) if chance(rng, 0.5) else rng.uniform(1, high))
