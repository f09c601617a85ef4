"""NIQE (Mittal, Soundararajan, Bovik 2013: Making a "completely blind" image quality analyzer): lower is more natural.

It compares the statistics of a picture's blocks with those of sharp photographs; no original is needed. Parameters of
those photographs: niqe.npz, from the authors' release (see NOTICE). Computed as their MATLAB code does.
"""

import functools
import importlib.resources
import math

import cv2
import numpy as np

from upscale.image import Floats
from upscale.resample import catmull_rom
from upscale_training.metrics.psnr import Doubles, luma

BLOCK = 96
"""Side of the blocks in pixels; what does not fill a block is left out."""

_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))


def niqe(picture: Floats) -> float:
    """Of a picture (H, W, 3), RGB in [0, 1]. NaN where its blocks are too flat to tell.

    Raises ValueError for a picture of fewer than two blocks of 96×96: there is no spread to be had of one.
    """
    rows, columns = (side // BLOCK for side in picture.shape[:2])
    if rows * columns < 2:
        raise ValueError(f"NIQE needs 192×96 pixels or more, not {picture.shape[1]}×{picture.shape[0]}")
    gray = np.rint(luma(picture))[: rows * BLOCK, : columns * BLOCK]
    half = _halved(_halved(gray).T).T
    features = np.concatenate([_features(gray, BLOCK), _features(half, BLOCK // 2)], axis=1)
    return _distance(features)


def _features(gray: Doubles, side: int) -> Doubles:
    """(blocks, 18): parameters of the distributions of normalized pixels, and of products of neighbors."""
    blocks = _blocks(_normalized(gray), side)
    shape, left, right = _asymmetric(blocks)
    found = [shape, (left + right) / 2]
    for shift in _SHIFTS:
        shape, left, right = _asymmetric(blocks * np.roll(blocks, shift, axis=(1, 2)))
        mean = (right - left) * _gamma(2 / shape) / _gamma(1 / shape)
        found += [shape, mean, left, right]
    return np.stack(found, axis=1)


def _normalized(gray: Doubles) -> Doubles:
    """Equation 1: less the local mean, by the local deviation. A 7×7 Gaussian of 7/6 pixels, the rim replicated.

    Where the picture is flat this is 0, but its computation leaves a rounding error, whose sign `_asymmetric` would count:
    the original's third digit hangs on it.
    """
    mean = _blurred(gray)
    apart = gray - mean
    apart[np.abs(apart) < 1e-9] = 0.0
    return apart / (np.sqrt(np.abs(_blurred(gray**2) - mean**2)) + 1)


def _blurred(gray: Doubles) -> Doubles:
    kernel = cv2.getGaussianKernel(7, 7 / 6)
    return np.asarray(cv2.sepFilter2D(gray, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_REPLICATE), np.float64)


def _halved(gray: Doubles) -> Doubles:
    """Half as many rows, an even number: MATLAB's antialiased bicubic imresize, in doubles."""
    weights = catmull_rom((np.arange(8) - 3.5) / 2)
    mirrored = np.pad(gray, ((3, 3), (0, 0)), mode="symmetric")
    rows = [weight * mirrored[tap : tap + len(gray) : 2] for tap, weight in enumerate(weights / weights.sum())]
    return np.sum(rows, axis=0)


def _blocks(gray: Doubles, side: int) -> Doubles:
    rows, columns = (length // side for length in gray.shape)
    return gray.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side, side)


def _asymmetric(blocks: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Shape α and scales β on the left and right of an asymmetric generalized Gaussian, by its moments (Lasmar, Stitou,
    Berthoumieu 2009), for each block; NaN where a block has no value on one side."""
    values = blocks.reshape(len(blocks), -1)
    squares = values**2
    with np.errstate(divide="ignore", invalid="ignore"):
        left, right = (np.sqrt((squares * side).sum(1) / side.sum(1)) for side in (values < 0, values > 0))
        ratio = left / right
        spread = np.abs(values).mean(1) ** 2 / squares.mean(1)
        spread *= (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = _shape_of(spread)
    factor = np.sqrt(_gamma(1 / shape) / _gamma(3 / shape))
    return shape, left * factor, right * factor


def _shape_of(spread: Doubles) -> Doubles:
    """The α of a table whose E|x|² / E[x²] is nearest; the table's first where that is NaN."""
    shapes, spreads = _table()
    place = np.clip(np.searchsorted(spreads, spread), 1, len(spreads) - 1)
    nearer = np.abs(spread - spreads[place - 1]) <= np.abs(spreads[place] - spread)
    return np.where(np.isnan(spread), shapes[0], shapes[place - nearer])


@functools.cache
def _table() -> tuple[Doubles, Doubles]:
    """α from 0.2 to 10 and its Γ(2/α)² / (Γ(1/α) Γ(3/α)), which grows with it."""
    shapes = np.arange(0.2, 10.001, 0.001)
    return shapes, _gamma(2 / shapes) ** 2 / (_gamma(1 / shapes) * _gamma(3 / shapes))


def _gamma(x: Doubles) -> Doubles:
    return np.array([math.gamma(value) for value in x])


def _distance(features: Doubles) -> float:
    """Equation 10: between two multivariate Gaussians. Blocks with a NaN count for the means of their other features."""
    mean, covariance = _pristine()
    whole = features[~np.isnan(features).any(axis=1)]
    if len(whole) < 2:
        return math.nan
    apart = mean - np.nanmean(features, axis=0)
    inverse = np.linalg.pinv((covariance + np.cov(whole, rowvar=False)) / 2)
    return float(np.sqrt(apart @ inverse @ apart))


@functools.cache
def _pristine() -> tuple[Doubles, Doubles]:
    """Mean (36,) and covariance (36, 36) of the features of sharp photographs."""
    with (importlib.resources.files(__package__ or "") / "niqe.npz").open("rb") as file, np.load(file) as stored:
        return stored["mean"], stored["covariance"]
