"""Flat places stay flat: contrast that the truth has not, where it has little.

Perceptual losses compare directions of features, in which the faint grain of a wall weighs as much as its bricks. A small network
cannot draw grain; it draws a weave, and dotted seams along edges, which are nearer to it than nothing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from upscale_training.losses.pixel import full
from upscale_training.losses.spread import windowed_variance

FLOOR = 2 / 255
"""Added to the truth's own contrast, so that excess nobody sees costs little where the truth has none."""

_LEAST = 0.25 / 255
"""Keeps the root's gradient finite where nothing varies."""


def excess_contrast(sr: Tensor, hr: Tensor, window: int = 5) -> Tensor:
    """Mean of max(0, s(sr) - s(hr)) / (s(hr) + FLOOR), s being the standard deviation in `window`² pixels, color by color.

    (N, 3, H, W) both, sides of `window` at least. 0 where the result is nowhere livelier than the truth.
    """
    own, wanted = _deviation(full(sr), window), _deviation(full(hr), window)
    return (F.relu(own - wanted) / (wanted + FLOOR)).mean()


def _deviation(picture: Tensor, window: int) -> Tensor:
    return torch.sqrt(windowed_variance(picture, window) + _LEAST**2)
