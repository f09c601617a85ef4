"""Resizing, with the filters that programs use. Edges are aligned, so that no filter shifts the picture."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from upscale.image import Array, Floats, from_float, to_float
from upscale.resample import catmull_rom, lanczos
from upscale_training.degrade import Degradation, note
from upscale_training.degrade.combine import chain, step
from upscale_training.degrade.draw import Range, choice, number

Filter = Literal[
    "area",
    "bilinear",
    "bicubic",
    "lanczos",
    "nearest",
    "antialiased bilinear",
    "antialiased bicubic",
    "antialiased lanczos",
    "matlab bicubic",
]
"""The plain ones are OpenCV's, which look at as many pixels for shrinking as for enlarging (but area, the mean), and so alias;
bicubic has a = -0.75, as torch's. The antialiased ones are `imresize`; MATLAB's is its bicubic for pictures of 8 bits."""

Kernel = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]

PUBLISHED: tuple[Filter, ...] = ("area", "bilinear", "bicubic")
"""What Real-ESRGAN draws from."""

GOOD: tuple[Filter, ...] = ("area", "antialiased bilinear", "antialiased bicubic", "antialiased lanczos")
"""What browsers, phones and image programs shrink with."""

_OPENCV = {
    "area": cv2.INTER_AREA,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
    "nearest": cv2.INTER_NEAREST,
}


def triangle(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Linear interpolation's kernel."""
    return np.maximum(0.0, 1.0 - np.abs(x))


_KERNELS: Mapping[str, tuple[Kernel, int]] = {
    "bilinear": (triangle, 1),
    "bicubic": (catmull_rom, 2),
    "lanczos": (lanczos, 3),
}


def resized_to(picture: Floats, size: tuple[int, int], by: Filter) -> Array:
    """`picture` with `size` (rows, columns). Cubic and Lanczos overshoot: not clipped."""
    if picture.shape[:2] == size:
        return picture
    if by == "matlab bicubic":
        return imresize(picture, size, levels=True)
    if by.startswith("antialiased "):
        return imresize(picture, size, *_KERNELS[by.removeprefix("antialiased ")])
    return cv2.resize(picture, (size[1], size[0]), interpolation=_OPENCV[by])


def imresize(
    picture: Floats, size: tuple[int, int], kernel: Kernel = catmull_rom, reach: int = 2, levels: bool = False
) -> Floats:
    """MATLAB's imresize with antialiasing: the kernel (± `reach`) is stretched by the reduction. Not clipped.

    The rim is replicated, as MATLAB did when the benchmarks' pictures were made (newer ones mirror it). `levels`: what it makes
    of pictures of 8 bits: rows are resized first, and rounded and cut off before the columns are.
    """
    result = np.zeros((size[0], *picture.shape[1:]), np.float32)
    for rows, weights in _taps(picture.shape[0], size[0], kernel, reach):
        result += picture[rows] * weights[:, None, None]
    if levels:
        result = to_float(from_float(result, np.uint8))
    picture, result = result, np.zeros((*size, picture.shape[2]), np.float32)
    for columns, weights in _taps(picture.shape[1], size[1], kernel, reach):
        result += picture[:, columns] * weights[:, None]
    return result


def _taps(old: int, new: int, kernel: Kernel, reach: int) -> list[tuple[npt.NDArray[np.intp], Floats]]:
    """For each tap of the kernel: which of `old` samples each of `new` ones takes, and its weights there."""
    stretch = max(1.0, old / new)
    centers = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(centers - reach * stretch).astype(np.intp) + 1
    places = first[:, None] + np.arange(math.ceil(2 * reach * stretch))
    values = kernel((places - centers[:, None]) / stretch)
    values /= values.sum(axis=1, keepdims=True)
    places = np.clip(places, 0, old - 1)
    return [(places[:, tap], values[:, tap].astype(np.float32)) for tap in range(places.shape[1])]


def divided(picture: Floats, scale: int) -> tuple[int, int]:
    """1/scale of the picture's (rows, columns). Raises ValueError where the sides are no multiples of the scale."""
    height, width = picture.shape[:2]
    if height % scale or width % scale:
        raise ValueError(f"a picture of {width}×{height} has no exact 1/{scale}; crop it to multiples of {scale}")
    return height // scale, width // scale


@step
def shrink(picture: Floats, rng: np.random.Generator, scale: int, by: tuple[Filter, ...] = GOOD) -> Array:
    """To exactly 1/scale of the sides, by one of the filters. Raises ValueError where they are no multiples of the scale."""
    drawn = choice(rng, by)
    note("shrink", scale=scale, by=drawn)
    return np.clip(resized_to(picture, divided(picture, scale), drawn), 0, 1)


@step
def rescale(picture: Floats, rng: np.random.Generator, factor: Range, by: tuple[Filter, ...] = GOOD) -> Array:
    """To `factor` times the sides (rounded), by one of the filters. Changes the size: something has to bring it back."""
    drawn, filter_ = number(rng, factor), choice(rng, by)
    height, width = (max(1, round(side * drawn)) for side in picture.shape[:2])
    note("resize", factor=drawn, by=filter_)
    return np.clip(resized_to(picture, (height, width), filter_), 0, 1)


@dataclass(frozen=True, slots=True)
class Stopover:
    """Resized to `factor` times 1/scale of the sides, degraded there, and resized to exactly 1/scale."""

    scale: int
    factor: Range
    inner: Degradation
    by: tuple[Filter, ...]

    def __call__(self, picture: Floats, rng: np.random.Generator) -> Floats:
        height, width = divided(picture, self.scale)
        drawn, there, back = number(rng, self.factor), choice(rng, self.by), choice(rng, self.by)
        between = max(1, round(height * drawn)), max(1, round(width * drawn))
        note("resize", to=f"{between[1]}x{between[0]}", by=there)
        picture = self.inner(np.clip(resized_to(picture, between, there), 0, 1), rng)
        note("resize", to=f"{width}x{height}", by=back)
        return np.clip(resized_to(picture, (height, width), back), 0, 1)


def by_way_of(scale: int, factor: Range, *steps: Degradation, by: tuple[Filter, ...] = GOOD) -> Stopover:
    """To exactly 1/scale, with the steps done on the way at `factor` times that size: a photograph that was compressed for the
    web before it was shrunk to what somebody has."""
    return Stopover(scale, factor, chain(*steps), by)


def at_size(factor: Range, *steps: Degradation, by: tuple[Filter, ...] = GOOD) -> Stopover:
    """The steps done at `factor` times the picture's sides, then back to its own: a stream in a lower resolution, enlarged."""
    return by_way_of(1, factor, *steps, by=by)
