"""Loss of diversity: a collapsed generator adds the same few patterns everywhere, whatever the picture.

What a network adds is sr - bicubic(lr), what it ought to add hr - bicubic(lr). The effective rank (Roy & Vetterli 2007, "The
effective rank: a measure of effective dimensionality") of their deep features counts how many directions they take; the one
divided by the other is the share of the truth's diversity. Only smoother is not collapsed: features past a nonlinearity see
edges in all directions as well in a soft picture.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from upscale_training.backbones import Backbone

LAYER = "relu2"
"""Of AlexNet: of ten layers of AlexNet and VGG16 that were tried, the one that tells collapsed from soft best."""

_SMALLEST, _LARGEST = 48, 256
"""Sides in pixels: smaller pictures are left out, of larger ones the middle is taken, so that a CPU needs seconds."""

Eyes = Callable[[Tensor], Tensor]
"""A residual (1, 3, H, W), about -1..1 → its features (1, C, h, w)."""


def diversity(sr: Sequence[Tensor], hr: Sequence[Tensor], lr: Sequence[Tensor], backbone: Backbone | None) -> float:
    """Effective rank of the features of all sr - bicubic, as a share of that of hr - bicubic: 0 to little above 1.

    Pictures (1, 3, H, W), RGB in [0, 1]. The features are AlexNet's, or `wavelet_features` where `backbone` is None; both have
    the same limit. NaN where all pictures are smaller than 48 pixels, or no output holds numbers only. Measured on 10
    held-out pictures ×4 (AlexNet / wavelets): x4plus 1.05 / 0.94, animevideov3 1.02 / 0.89, general-x4v3 1.06 / 0.81, a compact
    network after 500 steps of L1 0.88 / 0.97; on 15, one wave, as strong as the local contrast, added everywhere 0.45 / 0.22,
    one tile 0.55 / 0.57.
    """
    usable = [each for each in zip(sr, hr, lr, strict=True) if _usable(each[0])]
    eyes = wavelet_features if backbone is None else _through(backbone)
    made = _rank(eyes, (_residual(one, small) for one, _, small in usable))
    true = _rank(eyes, (_residual(one, small) for _, one, small in usable))
    return made / true if true > 0 else math.nan


def effective_rank(covariance: Tensor) -> float:
    """exp of the entropy of the singular values' shares: 1 for a single direction, n for n equal ones, 0 for nothing.

    `covariance`: (n, n), symmetric; the singular values of the data are the roots of its eigenvalues.
    """
    found = cast("Tensor", torch.linalg.eigvalsh(covariance.double()))  # pyright: ignore[reportUnknownMemberType]
    values = found.clamp_min(0).sqrt()
    values = values[values > 1e-9 * values.max()]
    if not len(values):
        return 0.0
    shares = values / values.sum()
    return math.exp(-float((shares * shares.log()).sum()))


def wavelet_features(residual: Tensor) -> Tensor:
    """(1, 3, H, W), at least 48 pixels a side → (1, 144, h, w): the strength of waves in the strength of waves, six directions
    and two lengths each, without any weights (two layers of a scattering network, Bruna & Mallat 2013)."""
    gray = residual.mean(1, keepdim=True)
    first = F.avg_pool2d(_strength(gray), 2)
    second = _strength(first.transpose(0, 1))
    return F.avg_pool2d(second, 2).flatten(0, 1)[None]


def _through(backbone: Backbone) -> Eyes:
    return lambda residual: backbone.features(0.5 + residual, [LAYER])[LAYER]


def _usable(sr: Tensor) -> bool:
    return min(sr.shape[-2:]) >= _SMALLEST and bool(torch.isfinite(sr).all())


def _residual(picture: Tensor, lr: Tensor) -> Tensor:
    """The middle of picture - bicubic, by Keys's kernel (a = -0.5), which PyTorch uses where it is to antialias."""
    bicubic = F.interpolate(lr, size=picture.shape[-2:], mode="bicubic", antialias=True)
    residual = picture.clamp(0, 1) - bicubic
    top, left = (max(0, side - _LARGEST) // 2 for side in picture.shape[-2:])
    return residual[..., top : top + _LARGEST, left : left + _LARGEST]


def _rank(eyes: Eyes, residuals: Iterable[Tensor]) -> float:
    """One effective rank for the features at all places of all pictures."""
    count, total, products = 0, torch.zeros(()), torch.zeros(())
    for residual in residuals:
        rows = eyes(residual)[0].flatten(1).T.double().cpu()
        count, total, products = count + len(rows), total + rows.sum(0), products + rows.T @ rows
    if not count:
        return 0.0
    mean = total / count
    return effective_rank(products / count - mean[:, None] * mean)


def _strength(pictures: Tensor) -> Tensor:
    """(N, 1, H, W) → (N, 12, H - 14, W - 14): the amplitude of each wave, by its two phases."""
    waves = F.conv2d(pictures, _waves().to(pictures))
    return (waves[:, 0::2].square() + waves[:, 1::2].square()).sqrt()


@cache
def _waves() -> Tensor:
    """(24, 1, 15, 15): Gabor's waves of 4 and 8 pixels, in six directions and two phases, without a mean."""
    place = torch.arange(-7, 8).float()
    y, x = torch.meshgrid(place, place, indexing="ij")
    kernels: list[Tensor] = []
    for length in (4, 8):
        bell = torch.exp(-2 * (x.square() + y.square()) / length**2)
        for direction in range(6):
            angle = math.pi * direction / 6
            phase = 2 * math.pi / length * (x * math.cos(angle) + y * math.sin(angle))
            kernels += [_wave(phase.cos(), bell), _wave(phase.sin(), bell)]
    return torch.stack(kernels)[:, None]


def _wave(values: Tensor, bell: Tensor) -> Tensor:
    kernel = values * bell
    kernel = kernel - bell * (kernel.sum() / bell.sum())
    return kernel / kernel.abs().sum()
