"""Checkerboard: power that stands out at the up-sampling's own frequencies, the mark of uneven kernel overlap.

Odena et al. 2016 ("Deconvolution and checkerboard artifacts", distill.pub) describe the pattern, Aitken et al. 2017
(arXiv:1707.02937) the same for pixel-shuffles without ICNR. A network that enlarges 4 times can leave periods of 4 and 2
pixels along both axes: lines at a quarter of the sampling frequency and at half of it (Nyquist).
"""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import cast

import torch
from torch import Tensor

from upscale_training.health import limits

_TILES: dict[int, tuple[int, ...]] = {3: (48, 24)}
"""Lengths that are tried, in pixels: multiples of the periods, so that each line falls on one frequency."""

_USUAL_TILES = (64, 32)
_LINE = 1
"""A Hann window spreads a line over so many frequencies to each side."""

_NEAR, _FAR = 3, 6
"""The neighborhood: so many frequencies away. Farther ones would meet the lines of JPEG's blocks (period 8)."""

_FLOOR = (4 / 255) ** 2
"""Power of noise of 4 levels: where the truth is flat, peaks are measured against that. With 1.5 levels, animevideov3's faint
grid was beyond the limit of 1.05 in 18 % of the choices of 12 from 30 pictures; with 4 in 1 %."""

_EXCUSED = 1.15
"""The most of a start's own grid that a run is allowed; transposed convolutions leave as much."""

_HOVER = 1.01
"""So far above its start a run may hover whose learning rate is small."""


def checkerboard(sr: Sequence[Tensor], hr: Sequence[Tensor], scale: int) -> float:
    """How high amplitudes stand at the up-sampling's periods, in terms of the truth's spectrum: 1 where nothing stands out.

    For each picture, period and axis: excess = (P_sr at the period - P_sr around it) / (P_hr around it + floor), with P the
    mean power spectrum of the lines of pixels. Then √max(0, 1 + the axes' mean), the median over the pictures (so that a
    few odd ones decide nothing), and the most of the periods. The truth counts by what lies around the period, never by its
    own peak there: a JPEG's grid in the truth neither hides a checkerboard nor is taken for one.

    `sr`, `hr`: pictures (1, 3, H, W), RGB in [0, 1] (clipped here), equal in size. NaN where all are smaller than 32 pixels,
    or the output holds numbers that are none. Measured on 12 of 30 held-out pictures ×4, middles of 256 pixels (median over
    choices, and the range of nine in ten): x4plus 0.97 (0.95 to 0.98), animevideov3 1.02 (1.01 to 1.04), a compact network after
    500 steps 1.00; transposed convolutions after as many 1.17 and 1.16 (1.09 to 1.28), a pixel-shuffle without ICNR 1.06 (1.03 to
    1.11; after 50 steps 2.0). Also with ICNR it may reach 1.08 after 50 steps, and 0.98 after 500.
    """
    found = [_amplitudes(one, other, scale) for one, other in zip(sr, hr, strict=True)]
    known = [each for each in found if each]
    return max((median(values) for values in zip(*known, strict=True)), default=math.nan)


def against_start(health: Mapping[str, object]) -> float:
    """The log's "checkerboard" as it is to be judged: where the trained network that a run began with ("checkerboard_start") was
    beyond the limit itself, lower in proportion, so that what the start left is just allowed. NaN where it was not measured.

    Who begins with animevideov3 begins with its faint grid: 1.02, but on three held-out pictures anything to 1.10. No roll back
    helps against that. (Of networks without a grid, no three of 30 pictures measured more than 1.00.) A start
    with more than 1.15, such as one whose tail is new, is no excuse for that.
    """
    value, start = (health.get(key) for key in ("checkerboard", "checkerboard_start"))
    if not isinstance(value, int | float):
        return math.nan
    allowed = _HOVER * min(start, _EXCUSED) if isinstance(start, int | float) else 0.0
    return value / max(1.0, allowed / (limits.CHECKERBOARD.most or 1.0))


def periods(scale: int) -> tuple[int, ...]:
    """The periods, in pixels, that enlarging by `scale` can leave: 2 and its powers up to it, or 3."""
    return (3,) if scale == 3 else tuple(2**power for power in range(1, max(2, scale.bit_length() - 1) + 1))


def _amplitudes(sr: Tensor, hr: Tensor, scale: int) -> list[float]:
    """One picture's, for each period; none where the picture is too small or not finite."""
    length = _tile(min(sr.shape[-2:]), scale)
    if length is None or not bool(torch.isfinite(sr).all()):
        return []
    made, true = ([_spectrum(one, axis, length) for axis in (-1, -2)] for one in (sr, hr))
    reach = _reach(length, scale)
    return [_amplitude(made, true, length // period, reach) for period in periods(scale)]


def _amplitude(made: list[Tensor], true: list[Tensor], line: int, reach: int) -> float:
    excess = [
        (_at(one, line) - _around(one, line, reach)) / (_around(other, line, reach) + _FLOOR)
        for one, other in zip(made, true, strict=True)
    ]
    return math.sqrt(max(0.0, 1.0 + sum(excess) / len(excess)))


def _spectrum(picture: Tensor, axis: int, length: int) -> Tensor:
    """Mean power (length / 2 + 1,) of half-overlapping, Hann-windowed pieces along an axis (Welch 1967); white noise of
    variance v gives v at every frequency."""
    lines = picture.float().clamp(0, 1).transpose(-1, axis)
    window = torch.hann_window(length, device=picture.device)
    pieces = lines.unfold(-1, length, length // 2)
    pieces = (pieces - pieces.mean(-1, keepdim=True)) * (window / window.square().sum().sqrt())
    found = cast("Tensor", torch.fft.rfft(pieces))  # pyright: ignore[reportUnknownMemberType]
    return found.abs().square().flatten(0, -2).mean(0)


def _tile(side: int, scale: int) -> int | None:
    tiles = _TILES.get(scale, _USUAL_TILES)
    return next((length for length in tiles if length <= side and _reach(length, scale) >= _NEAR), None)


def _reach(length: int, scale: int) -> int:
    """How far the neighborhood may go before it meets the next line."""
    return min(_FAR, length // max(periods(scale)) - 2 * _LINE - 1)


def _at(spectrum: Tensor, line: int) -> float:
    return float(torch.stack([_folded(spectrum, line + offset) for offset in range(-_LINE, _LINE + 1)]).mean())


def _around(spectrum: Tensor, line: int, reach: int) -> float:
    """The plain mean of the neighborhood. On a steep slope that is more than a straight line between the sides: a period of 8
    shows only where it is strong, but the bends in a soft picture's spectrum are never taken for a peak."""
    offsets = [sign * offset for sign in (-1, 1) for offset in range(_NEAR, reach + 1)]
    return float(torch.stack([_folded(spectrum, line + offset) for offset in offsets]).mean())


def _folded(spectrum: Tensor, index: int) -> Tensor:
    """A real signal's spectrum mirrors at Nyquist."""
    last = len(spectrum) - 1
    return spectrum[index if index <= last else 2 * last - index]
