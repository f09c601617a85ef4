"""Where degradations are called: they are often people's own functions, and what is wrong with them is said in one line."""

import math
import textwrap
from typing import Any, cast

import numpy as np

from upscale.image import Array, Floats
from upscale_training.degrade import Degradation, Preset
from upscale_training.errors import RecipeError
from upscale_training.user_code import calling

LOWEST, HIGHEST = -2.0, 3.0
"""Filters overshoot [0, 1] by a fraction, noise by a few sigma. What lies beyond is in other units, such as levels of 0..255."""


def made(preset: Preset, scale: int) -> Degradation:
    """The preset's degradation for a scale. Raises RecipeError, naming the function, where it fails or returns none."""
    with calling(told(preset)):
        degradation: Any = preset(scale)
    if not callable(degradation):
        raise RecipeError(f"{told(preset)} returned {_kind(degradation)}, expected a function (picture, rng) → picture")
    return cast("Degradation", degradation)


def applied(degradation: Degradation, picture: Floats, rng: np.random.Generator, scale: int = 1) -> Floats:
    """`picture` (H, W, 3) degraded: float32 of exactly 1/scale of its sides, finite, perhaps a little outside of [0, 1].

    Raises RecipeError, naming the function, where it fails or returns anything else.
    """
    with calling(told(degradation)):
        result: Any = degradation(picture, rng)
    expected = (picture.shape[0] // scale, picture.shape[1] // scale, 3)
    if fault := _fault(result, expected):
        how = f": 1/{scale} of the sides, as shrink({scale}) leaves it" if scale > 1 else ""
        raise RecipeError(f"{told(degradation)} returned {fault}, expected floats in [0, 1], {expected}{how}")
    return np.asarray(result, np.float32)


def told(function: Any) -> str:
    """A function by its file, line and name; a chain of steps by what it is made of."""
    code = getattr(function, "__code__", None)
    if code is not None:
        return f"{code.co_filename}:{code.co_firstlineno}: {function.__qualname__}"
    return f"the degradation {textwrap.shorten(repr(function), 160, placeholder=' …')}"


def _fault(result: object, expected: tuple[int, int, int]) -> str | None:
    if not isinstance(result, np.ndarray):
        return _kind(result)
    array = cast("Array", result)
    if array.dtype.kind != "f" or array.shape != expected:
        return _kind(array)
    lowest, highest = float(array.min()), float(array.max())
    if math.isnan(lowest):
        return "NaN"
    return None if lowest >= LOWEST and highest <= HIGHEST else f"values from {lowest:.4g} to {highest:.4g}"


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        array = cast("Array", value)
        return f"an array of {array.dtype}, {array.shape}"
    return "None" if value is None else f"a value of type {type(value).__name__}"
