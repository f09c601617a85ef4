"""LDL: locally discriminative learning (Liang et al. 2022, arXiv:2203.09195). Where the generator's output is noisier against
the truth than the averaged generator's, that is likely an artifact rather than detail, and is pulled back.
"""

import torch.nn.functional as F
from torch import Tensor

from upscale_training.losses.pixel import full
from upscale_training.losses.spread import windowed_variance

WINDOW = 7
"""Side of the square in which the residual's variance is taken (section 3.2: n = 7)."""

_EVEN = 1e-12
"""A residual's variance that counts as none; the power 1/5 has no finite slope at 0."""


def ldl(sr: Tensor, hr: Tensor, ema_sr: Tensor) -> Tensor:
    """L1 under the artifact map: mean |map · sr - map · hr|. The map carries gradient too, as in the authors' code."""
    found = artifact_map(sr, hr, ema_sr)
    return F.l1_loss(found * full(sr), found * full(hr))


def artifact_map(sr: Tensor, hr: Tensor, ema_sr: Tensor, window: int = WINDOW) -> Tensor:
    """(N, 3, H, W) each → (N, 1, H, W): variance of the residual around each pixel, times the whole residual's variance to the
    power 1/5; 0 where the averaged generator is further from the truth. Sides at least (window + 1) / 2.
    """
    sr, hr, ema_sr = full(sr), full(hr), full(ema_sr)
    residual = (hr - sr).abs().sum(1, keepdim=True)
    steady = (hr - ema_sr).abs().sum(1, keepdim=True)
    whole = residual.var((-3, -2, -1), keepdim=True).clamp(min=_EVEN) ** 0.2
    return whole * local_variance(residual, window) * (residual >= steady)


def local_variance(x: Tensor, window: int) -> Tensor:
    """(N, 1, H, W) → the same: unbiased variance in the square around each pixel, mirrored at the rim."""
    padded = F.pad(x, [window // 2] * 4, mode="reflect")
    return windowed_variance(padded, window) * (window**2 / (window**2 - 1))
