"""Degradations: what happened to a picture before somebody wants it enlarged, as functions that compose.

A degradation takes a picture, float32 (H, W, 3) RGB in [0, 1], and the generator that all its chance comes from, and
returns a new picture of that kind: smaller, or of the same size. Steps are made by functions whose parameters are ranges,
`jpeg(quality=(30, 95))`, and put together by `combine`; presets are functions scale → degradation. All of them are
values that pickle, since pictures are degraded in worker processes. A custom degradation is any such function.
"""

from collections.abc import Callable

import numpy as np

from upscale.image import Floats
from upscale_training.degrade.notes import Note, note, recorded

__all__ = ["Degradation", "Note", "Preset", "note", "recorded"]

Degradation = Callable[[Floats, np.random.Generator], Floats]
"""(picture, chance) → picture. The picture given is not changed. Same picture and same state of the generator, same result."""

Preset = Callable[[int], Degradation]
"""scale → a degradation whose result has exactly 1/scale of the picture's sides, which must be multiples of the scale."""
