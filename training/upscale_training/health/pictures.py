"""The health of pictures: what is measured at each validation beside the metrics."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from upscale_training.backbones import Backbone, load_backbone
from upscale_training.errors import BackboneMissingError
from upscale_training.health.checkerboard import checkerboard
from upscale_training.health.diversity import diversity

_CONTENT = 8 / 255
"""A truth whose pixels spread less than this (standard deviation) may come out flat."""

_FLAT = 0.1
"""Flat is what spreads less than this share of the truth's spread; even a network of 50 steps reaches 0.75."""


def found_alexnet() -> Backbone | None:
    """AlexNet, where its weights are on this machine."""
    try:
        return load_backbone("alexnet")
    except BackboneMissingError:
        return None


class Checkup:
    """The measures of the log's "health". Pictures without any number that is none count; with no such picture, and where
    pictures are too small, a measure is NaN: not measured.

    finite        whether the output of every picture holds numbers only; `overflow`: the share of values that are none
    constant      share of the pictures with content that come out as one color
    checkerboard  see checkerboard(); the trainer adds `checkerboard_start`: of the trained network it began with
    drift         mean shift of the colors [R, G, B], in 8-bit levels; `drift_worst`: the largest of one picture
    diversity     see diversity(); `diversity_eyes`: whose features it was measured with, "alexnet" or "wavelets"
    """

    def __init__(self, find: Callable[[], Backbone | None] = found_alexnet) -> None:
        self._backbone = find()

    @torch.no_grad()
    def __call__(self, sr: Sequence[Tensor], hr: Sequence[Tensor], lr: Sequence[Tensor]) -> dict[str, Any]:
        """Lists of pictures (1, 3, H, W), RGB in [0, 1], one device; `lr` smaller by the scale."""
        if self._backbone is not None:
            self._backbone.to(sr[0].device)
        overflow = not_finite(sr)
        shifts = drifts(sr, lr)
        return {
            "finite": overflow == 0.0,
            "overflow": overflow,
            "constant": flat(sr, hr),
            "checkerboard": checkerboard(sr, hr, sr[0].shape[-1] // lr[0].shape[-1]),
            "drift": _mean_shift(shifts),
            "drift_worst": max((abs(value) for shift in shifts for value in shift), default=math.nan),
            "diversity": diversity(sr, hr, lr, self._backbone),
            "diversity_eyes": "wavelets" if self._backbone is None else self._backbone.name,
        }


def not_finite(pictures: Sequence[Tensor]) -> float:
    """The share of all values that are NaN or infinite."""
    wrong = sum(int((~torch.isfinite(picture)).sum()) for picture in pictures)
    return wrong / max(1, sum(picture.numel() for picture in pictures))


def flat(sr: Sequence[Tensor], hr: Sequence[Tensor]) -> float:
    """The share of pictures with content that come out gray, black or white: spread below a tenth of the truth's. What
    clipping leaves counts, and what is no number is black. NaN where no truth has content."""
    spreads = [(_spread(one), _spread(other)) for one, other in zip(sr, hr, strict=True)]
    known = [made < _FLAT * true for made, true in spreads if true >= _CONTENT]
    return sum(known) / len(known) if known else math.nan


def drifts(sr: Sequence[Tensor], lr: Sequence[Tensor]) -> list[list[float]]:
    """For each picture without NaN, the shift of its mean [R, G, B] from the input's, in 8-bit levels (sr clipped).

    Measured on 30 held-out pictures, means over all: animevideov3 +1.5, 4xLSDIRCompactC3 -1.7, general-x4v3 -3.3, x4plus -3.7
    levels at the worst channel; x4plus reaches 10.6 in one picture.
    """
    pairs = [(one, other) for one, other in zip(sr, lr, strict=True) if bool(torch.isfinite(one).all())]
    shifts = (255 * (_means(one.clamp(0, 1)) - _means(other)) for one, other in pairs)
    return [[float(value) for value in shift] for shift in shifts]


def _mean_shift(shifts: Sequence[Sequence[float]]) -> list[float]:
    return [sum(values) / len(values) for values in zip(*shifts, strict=True)] or [math.nan] * 3


def _means(picture: Tensor) -> Tensor:
    return picture.mean((0, 2, 3), dtype=torch.float64)


def _spread(picture: Tensor) -> float:
    """The largest standard deviation of a channel."""
    return float(torch.nan_to_num(picture, 0.0, 0.0, 0.0).clamp(0, 1).flatten(2).std(-1).max())
