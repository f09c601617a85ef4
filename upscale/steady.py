"""Less flicker: what a network, which sees one frame at a time, draws differently in each frame is held along the motion.

The previous result is moved to where its content is now (optical flow of the input frames: DIS, Kroeger et al. 2016) and
kept wherever it can be trusted. Averaging frames would blur, and LPIPS notices even two. So history is not averaged in but
*taken*, as far as it lies near what the network says now: within a share of the local contrast, and within the 3×3
neighborhood's range (neighborhood clamping: Karis 2014, "High-quality temporal supersampling"). Wide areas follow the
network always, so that fades do not lag. What blur the repeated warping leaves is measured against the network's result
(gradient energy, locally) and put back.

Trust comes from the input frames alone: the previous one, warped, must look like this one up to noise and contrast, and
the flow must lead back to where it came from. Anything else (cuts, uncovered background, new objects) is the network's.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from upscale.image import Array, Floats, from_float

RECOMMENDED = 0.6
"""The strength that benchmarks/flicker.py measures: half of the flicker gone; sharpness, PSNR and LPIPS kept."""

_HOLD = 0.95
"""Share of history in the part that is taken from it; what is left lets a wrong history fade in some 20 frames."""

_REACH = 1.5
"""How far from the network's result history may lie, in local standard deviations, at strength 1; and in levels of 255."""

_SHARPEN = 0.75
"""Exponent on (wanted / found gradient energy); 0.5 would be exact if the high-pass below were the whole gradient."""

_MOST_GAIN = 1.5
_LEAST_TRUST = 0.2
"""Mean over the picture; below it everything has changed, and what still seems to fit does so by chance."""

_SMALLEST = 16
"""Input pixels; shorter sides are too small for the flow's patches."""


class Steady:
    """Takes the frames of one video in order. `strength` 0 (leaves all as it is) to 1; raises ValueError for others.

    Equal calls give equal results, from any `state` on, with the same number of OpenCV's threads.
    """

    def __init__(self, strength: float) -> None:
        if not 0 <= strength <= 1:
            raise ValueError(f"a strength is 0 to 1, not {strength}")
        self._strength = strength
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_MEDIUM)
        self._past: tuple[Floats, Floats] | None = None

    @property
    def state(self) -> dict[str, npt.NDArray[Any]]:
        """What later frames depend on: `source` and `result` as last seen and given; empty before the first frame."""
        return {} if self._past is None else {"source": self._past[0].copy(), "result": self._past[1].copy()}

    @state.setter
    def state(self, stored: dict[str, npt.NDArray[Any]]) -> None:
        self._past = None
        if stored:
            self._past = stored["source"].astype(np.float32), stored["result"].astype(np.float32)

    def frame(self, source: Floats, result: Floats) -> Floats:
        """`result` (h, w, 3) steadied: the same shape, float32 in [0, 1].

        `source` (H, W, 3) is the frame that the network was given, both RGB in [0, 1]; h/H and w/W need not be equal. When
        a side changes, all starts anew.
        """
        if self._strength == 0:
            return result
        steadied = result
        if self._past is not None and _fits(self._past, source, result):
            before, history = self._past
            motion = _motion(self._flow, source, before)
            if motion.trust.mean() >= _LEAST_TRUST:
                steadied = _steadied(result, history, motion, self._strength)
        self._past = source.copy(), steadied.copy()
        return steadied


@dataclass(frozen=True, slots=True, eq=False)
class _Motion:
    """Per input pixel: `flow` (H, W, 2), where its content was in the previous frame, as (x, y) in input pixels to add;
    `trust` (H, W) in [0, 1]."""

    flow: Floats
    trust: Floats


def _fits(past: tuple[Floats, Floats], source: Floats, result: Floats) -> bool:
    return past[0].shape == source.shape and past[1].shape == result.shape and min(source.shape[:2]) >= _SMALLEST


def _motion(estimator: cv2.DISOpticalFlow, source: Floats, before: Floats) -> _Motion:
    now, then = (from_float(_gray(picture), np.uint8) for picture in (source, before))
    flow = _floats(estimator.calc(now, then, None))  # type: ignore[call-overload]
    returning = _floats(estimator.calc(then, now, None))  # type: ignore[call-overload]
    places = _grid(*now.shape) + flow
    trust = _likeness(source, _moved(before, places, cv2.INTER_CUBIC))
    trust *= _consistency(flow, _moved(returning, places, cv2.INTER_LINEAR))
    inside = (places > -0.6) & (places < np.array(now.shape[::-1], np.float32) - 0.4)
    return _Motion(flow, _floats(cv2.blur(trust * (inside[..., 0] & inside[..., 1]), (3, 3))))


def _likeness(source: Floats, expected: Floats) -> Floats:
    """(H, W), 1 where two frames differ by no more than noise and a quarter of a pixel's motion explain, 0 at twice that."""
    gray = _gray(source)
    slopes = [cv2.Sobel(gray, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1))]
    contrast = _floats(cv2.blur(_length(_floats(slopes[0]), _floats(slopes[1])), (5, 5)))
    difference = _floats(cv2.blur(_mean(np.abs(source - expected)), (5, 5)))
    return _floats(np.clip(2 - difference / (1.5 / 255 + 1.7 * _noise(gray) + 0.25 * contrast), 0, 1))


def _noise(gray: Floats) -> float:
    """Standard deviation of the noise, at most 6 levels: Immerkær 1996, with the median, which edges move less."""
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
    found = np.median(np.abs(cv2.filter2D(gray, cv2.CV_32F, mask))) / 0.6745
    return min(float(found), 6 / 255)


def _consistency(flow: Floats, back: Floats) -> Floats:
    """(H, W), 1 where the flow there and back cancel out, 0 where they do not (Sundaram et al. 2010, tighter by half)."""
    squares = [np.einsum("yxi,yxi->yx", vectors, vectors) for vectors in (flow + back, flow, back)]
    return _floats(np.clip(2 - squares[0] / (0.01 * (squares[1] + squares[2]) + 0.25), 0, 1))


def _steadied(result: Floats, history: Floats, motion: _Motion, strength: float) -> Floats:
    height, width = result.shape[:2]
    factors = np.array([width / motion.flow.shape[1], height / motion.flow.shape[0]], np.float32)
    unit = float(factors.mean())
    places = _floats(cv2.resize(motion.flow * factors, (width, height)))
    places += _grid(height, width)
    trust = _floats(cv2.resize(motion.trust, (width, height)))
    steadied = _near(_sharply_moved(history, places), result)
    steadied -= result
    steadied -= _wide(steadied, motion.trust)
    limit = _three((strength * _REACH) * (_contrast(_gray(result), unit) + np.float32(1 / 255)))
    np.clip(steadied, -limit, limit, out=steadied)
    steadied *= _three(_HOLD * trust)
    steadied += result
    steadied += _missing_detail(steadied, result, motion.trust, unit)
    return np.clip(steadied, 0, 1, out=steadied)


def _near(moved: Floats, result: Floats) -> Floats:
    """Each value within the range of the result's 3×3 pixels around."""
    box = np.ones((3, 3), np.uint8)
    return np.clip(moved, _floats(cv2.erode(result, box)), _floats(cv2.dilate(result, box)), out=moved)


def _wide(difference: Floats, trust: Floats) -> Floats:
    """The difference's low frequencies (Gaussian of 5 input pixels), of trusted pixels alone; `trust` at the input's size.
    A box would not do: it turns some frequencies around, and those would grow from frame to frame."""
    small = _floats(cv2.resize(difference, trust.shape[::-1], interpolation=cv2.INTER_AREA)) * trust[..., None]
    weights = _floats(cv2.GaussianBlur(trust, (0, 0), 5)) + np.float32(1e-3)
    mean = _floats(cv2.GaussianBlur(small, (0, 0), 5)) / weights[..., None]
    return _floats(cv2.resize(mean, difference.shape[1::-1]))


def _contrast(gray: Floats, unit: float) -> Floats:
    """(h, w): standard deviation around each pixel, within 3 input pixels or so; `unit`: output per input pixel."""
    window = (_odd(2.5 * unit),) * 2
    away = gray - _floats(cv2.blur(gray, window))
    return np.sqrt(_floats(cv2.blur(away * away, window)))


def _missing_detail(steadied: Floats, result: Floats, trust: Floats, unit: float) -> Floats:
    """(h, w, 3): the finest detail, as much of it as the gradients are weaker than the result's over 8 input pixels."""
    wanted, found = (
        _floats(cv2.blur(_gradients(one, trust.shape), (8, 8))) + np.float32(1e-7) for one in (result, steadied)
    )
    gain = _floats((np.clip((wanted / found) ** _SHARPEN, 1, _MOST_GAIN) - 1) * trust)
    detail = steadied - _floats(cv2.GaussianBlur(steadied, (0, 0), 0.6 * unit))
    detail *= _three(_floats(cv2.resize(gain, steadied.shape[1::-1])))
    return detail


def _gradients(picture: Floats, small: tuple[int, ...]) -> Floats:
    """Squared gradient, mean of the channels (gray would miss the flicker's colors, and 5 % of the detail stay lost), shrunk
    to `small` (H, W)."""
    energy = np.zeros(small, np.float32)
    for axis in (0, 1):
        slope = np.diff(picture, axis=axis)
        np.multiply(slope, slope, out=slope)
        energy += _floats(cv2.resize(_mean(slope), small[::-1], interpolation=cv2.INTER_AREA))
    return energy


def _mean(picture: Floats) -> Floats:
    """(h, w): mean of the three channels."""
    return _floats(cv2.transform(picture, np.full((1, 3), 1 / 3, np.float32)))


def _gray(picture: Floats) -> Floats:
    return _floats(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))


def _three(values: Array) -> Floats:
    """(h, w) for each of three channels."""
    return _floats(cv2.merge([_floats(values)] * 3))


def _sharply_moved(picture: Floats, places: Floats) -> Floats:
    """Cubic for the colors, Lanczos for the brightness: as crisp as Lanczos for all, in half the time."""
    moved = _moved(picture, places, cv2.INTER_CUBIC)
    moved += _three(_moved(_gray(picture), places, cv2.INTER_LANCZOS4) - _gray(moved))
    return moved


def _moved(picture: Floats, places: Floats, interpolation: int) -> Floats:
    """The picture's values at `places` (h, w, 2), x and y in its pixels; its border goes on outside."""
    return _floats(cv2.remap(picture, places, None, interpolation, borderMode=cv2.BORDER_REPLICATE))  # type: ignore[call-overload]


@lru_cache(maxsize=2)
def _grid(height: int, width: int) -> Floats:
    """(height, width, 2): each pixel's own x and y. Not to be changed."""
    return np.ascontiguousarray(np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=2), np.float32)


def _odd(length: float) -> int:
    return 2 * int(length / 2) + 1


def _floats(values: Array) -> Floats:
    return np.asarray(values, np.float32)


__all__ = ["RECOMMENDED", "Steady"]


def _length(x: Floats, y: Floats) -> Floats:
    """Not OpenCV's `magnitude`, which rounds otherwise from call to call."""
    return np.sqrt(x * x + y * y, dtype=np.float32)
