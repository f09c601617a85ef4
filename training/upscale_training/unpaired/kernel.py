"""In which direction bad pictures are blurred more.

How blurred a scene is cannot be told from its spectrum alone; `imitate` knows it by its edges, as one number. But a Gaussian
blur with covariance C weakens the power at ω by exp(-ωᵀCω), and what of this depends on the direction shows against what
natural scenes are on average: as strong for ω as for ω mirrored, up to a factor that is the same for coarse and fine waves.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from upscale_training.imitate.blocks import Plane
from upscale_training.unpaired.field import power
from upscale_training.unpaired.likelihood import Spectrum

Skew = tuple[float, float]
"""(C_xx - C_yy) / 2 and C_xy in pixels², x to the right, y down."""

_SIDE = 32
_LOWEST, _HIGHEST = 0.15 * np.pi, 0.6 * np.pi
_RINGS = 8
_CLEAR = 2.0
"""Waves must be so many times as strong as the noise."""
_FEWEST = 100
_SURE = 3.0
_NARROWEST = 0.15

_WAVES = np.fft.fftfreq(_SIDE) * 2 * np.pi
_RADIUS = np.hypot(_WAVES[:, None], _WAVES[None])
_ANGLE = np.arctan2(_WAVES[:, None], _WAVES[None])
_INSIDE = (_RADIUS > _LOWEST) & (_RADIUS < _HIGHEST)
_RING = np.digitize(_RADIUS, np.linspace(_LOWEST, _HIGHEST, _RINGS + 1))


def skew(luma: Plane, noise: Spectrum) -> Skew | None:
    """Of one picture (H, W), levels of 0..255, whose noise has this spectrum (logarithms of σ); None where noise hides it.

    The log power is fitted by any function of the radius, what scenes do (cos 2θ, sin 2θ, cos 4θ), and the blur.
    """
    if min(luma.shape) < 2 * _SIDE:
        return None
    seen, hidden = _lively(luma), power((_SIDE, _SIDE), np.exp(noise).astype(np.float32))
    clear = _INSIDE & (seen > _CLEAR * hidden)
    if clear.sum() < _FEWEST:
        return None
    angle, square = _ANGLE[clear], np.square(_RADIUS[clear])
    scenes = [np.cos(2 * angle), np.sin(2 * angle), np.cos(4 * angle)]
    rings = [(_RING[clear] == ring).astype(np.float64) for ring in range(1, _RINGS + 1)]
    columns = [*rings, *scenes, -square * np.cos(2 * angle), -square * np.sin(2 * angle)]
    found = np.linalg.lstsq(np.stack(columns, 1), np.log((seen - hidden)[clear]), rcond=None)[0]
    return float(found[-2]), float(found[-1])


def agreed(skews: Sequence[Skew | None]) -> Skew:
    """What the pictures say together; (0, 0) where that is no more than chance."""
    known = np.array([each for each in skews if each is not None], np.float64).reshape(-1, 2)
    if len(known) < 3:
        return 0.0, 0.0
    middle = np.median(known, axis=0)
    doubt = 1.4826 * np.median(np.abs(known - middle), axis=0) * 1.25 / np.sqrt(len(known))  # a median's standard error
    sure = np.hypot(*middle) > _SURE * np.hypot(*doubt)
    return (float(middle[0]), float(middle[1])) if sure else (0.0, 0.0)


def ellipse(blur: float, by: Skew) -> tuple[float, float, float]:
    """σ along, σ across and the angle (radians, from right to down) of a blur whose geometric mean σ is `blur`.

    Edges tell of the smaller σ rather than of the larger one, which makes `imitate`'s number about the geometric mean.
    """
    half = float(np.hypot(*by))
    mean = float(np.hypot(half, blur**2))
    narrow = min(_NARROWEST, blur)
    return (
        float(np.sqrt(mean + half)),
        max(narrow, float(np.sqrt(max(mean - half, 0.0)))),
        float(np.arctan2(by[1], by[0]) / 2),
    )


def _lively(luma: Plane) -> npt.NDArray[np.float64]:
    """(side, side): mean power of the livelier half of the picture's windows; white noise of σ 1 has 1."""
    window = np.outer(np.hanning(_SIDE), np.hanning(_SIDE))
    rows, columns = (range(0, length - _SIDE + 1, _SIDE // 2) for length in luma.shape)
    pieces = np.stack([luma[row : row + _SIDE, column : column + _SIDE] for row in rows for column in columns])
    waves = np.fft.fft2((pieces - pieces.mean((1, 2), keepdims=True)) * window)
    powers = np.square(np.abs(waves)) / np.square(window).sum()
    lively = powers[:, 1:4, 1:4].sum((1, 2))
    return np.asarray(powers[lively >= np.median(lively)].mean(0), np.float64)
