"""Steadiness: a scene that moved by less than a pixel of the input, with other noise, comes out the same, moved.

A network that sees one frame at a time answers small changes of its input with large ones of its output: video flickers.
Eilertsen, Mantiuk, Unger 2019 (Single-frame regularization for temporally stable CNNs, arXiv:1902.10424) train against that
with a moved twin of each picture. Here the twin is enlarged by the averaged generator, without gradient, so that a step costs a
third more, and the average does not follow into the trivial answer, which is a blur.
"""

import random

import torch
import torch.nn.functional as F
from torch import Tensor

from upscale_training.errors import RecipeError
from upscale_training.losses.coarse import shrunk
from upscale_training.losses.pixel import full
from upscale_training.terms import Seen

RIM = 8
"""So many pixels of the result at each side do not count: there the twin shows what the picture has not."""


def steadiness(seen: Seen, reach: float = 1.0, sigma: float = 2.0) -> Tensor:
    """L1 between the result and the averaged generator's for the moved twin, moved back.

    `reach`: how far the scene moves at most, in pixels of the input, by whole pixels of the target (so that nothing is resampled).
    `sigma`: of the twin's own noise, in levels. What spoils the input, lr minus the shrunk target, stays where it is.
    Raises RecipeError where a crop is too small, or no average is kept.
    """
    if seen.ema is None:
        raise RecipeError("steadiness asks the averaged generator; its term needs a run that keeps an average (ema)")
    scale = seen.hr.shape[-1] // seen.lr.shape[-1]
    most = max(1, round(reach * scale))
    if min(seen.hr.shape[-2:]) < 4 * (most + RIM):
        raise RecipeError(f"steadiness needs crops of {4 * (most + RIM)} pixels at least; raise the stage's crop")
    down, across = _way(seen.chance, most)
    moved = torch.roll(seen.hr, (down, across), (-2, -1))
    with torch.no_grad():
        twin = full(seen.ema(_spoilt(seen, moved, sigma)))
    rim = RIM + most
    back = torch.roll(twin, (-down, -across), (-2, -1))
    return F.l1_loss(_inside(full(seen.sr), rim), _inside(back, rim))


def _way(chance: random.Random, most: int) -> tuple[int, int]:
    """Any move but none."""
    while True:
        way = chance.randint(-most, most), chance.randint(-most, most)
        if any(way):
            return way


def _spoilt(seen: Seen, moved: Tensor, sigma: float) -> Tensor:
    """The moved scene, small, with the faults of the input where they were and noise of its own."""
    size = seen.lr.shape[-2:]
    faults = seen.lr - shrunk(seen.hr, size)
    dice = torch.Generator(seen.lr.device).manual_seed(seen.chance.getrandbits(62))
    noise = torch.randn(seen.lr.shape, generator=dice, device=seen.lr.device) * (sigma / 255)
    return (shrunk(moved, size) + faults + noise).clamp(0, 1)


def _inside(picture: Tensor, rim: int) -> Tensor:
    return picture[..., rim:-rim, rim:-rim]
