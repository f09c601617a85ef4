"""Losses that compare frequencies: Fourier amplitudes, focal frequencies, Haar wavelets."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from upscale_training.losses.pixel import full

Transform = Callable[..., Tensor]

_fft: Any = torch.fft
_fft2, _rfft2 = cast(Transform, _fft.fft2), cast(Transform, _fft.rfft2)  # torch leaves them untyped


def amplitude(sr: Tensor, hr: Tensor) -> Tensor:
    """L1 between the Fourier amplitudes of (N, C, H, W) pictures, in units of pixel values (orthonormal transform).

    The amplitude part of Fuoli et al. 2021 (arXiv:2106.00783): says how much of each frequency, not where.
    """
    ours, theirs = (_rfft2(full(x), norm="ortho").abs() for x in (sr, hr))
    return (ours - theirs).abs().mean()


def focal_frequency(sr: Tensor, hr: Tensor, alpha: float = 1.0) -> Tensor:
    """Focal frequency loss (Jiang et al. 2021, arXiv:2012.12821): squared differences of the Fourier coefficients, each
    weighted by its own magnitude to the power `alpha`, divided by the largest of its channel; the weights get no gradient.
    """
    difference = _fft2(full(sr) - full(hr), norm="ortho")
    square = difference.real.square() + difference.imag.square()
    with torch.no_grad():
        weight = square.sqrt() ** alpha
        weight = weight / weight.amax((-2, -1), keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
    return (weight * square).mean()


def wavelet(sr: Tensor, hr: Tensor, levels: Sequence[float] = (1.0, 1.0, 1.0)) -> Tensor:
    """L1 between the Haar details of (N, C, H, W) pictures, finest level first, each with its weight.

    The transform is the stationary one, as in Korkmaz & Tekalp 2024 (arXiv:2404.11273): not decimated, so that no phase of
    the pixel grid is preferred. It is linear, so the details of the difference are compared with none. Sides must be longer
    than 2 ** len(levels) - 1.
    """
    x = full(sr) - full(hr)
    total = x.new_zeros(())
    for level, weight in enumerate(levels):
        x, *details = haar(x, 2**level)
        total = total + weight * sum((detail.abs().mean() for detail in details), total.new_zeros(()))
    return total


def haar(x: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(…, H, W) → mean, and differences along x, along y and along both, of pixels `step` apart; sides shrink by `step`."""
    left, right = x[..., :-step], x[..., step:]
    low, high = (left + right) / 2, (left - right) / 2
    (ll, lh), (hl, hh) = (_vertical(low, step), _vertical(high, step))
    return ll, hl, lh, hh


def _vertical(x: Tensor, step: int) -> tuple[Tensor, Tensor]:
    above, below = x[..., :-step, :], x[..., step:, :]
    return (above + below) / 2, (above - below) / 2
