"""The loss against flicker: a moved scene that comes out the same costs nothing, all else does."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale_training.errors import RecipeError
from upscale_training.losses import steady
from upscale_training.losses.coarse import shrunk
from upscale_training.losses.moved import steadiness
from upscale_training.terms import Seen

SCALE = 2


class Enlarged(nn.Module):
    """A network that is bicubic interpolation, and what `add` does to it."""

    def __init__(self, add: Callable[[Tensor], Tensor] = lambda picture: picture) -> None:
        super().__init__()
        self.add = add

    def forward(self, lr: Tensor) -> Tensor:
        return self.add(F.interpolate(lr, scale_factor=SCALE, mode="bicubic", antialias=True))


def waves(length: float, side: int = 80) -> Tensor:
    """A scene of waves of `length` pixels: (1, 3, side, side)."""
    line = torch.sin(torch.arange(side) * (2 * torch.pi / length))
    return (0.5 + 0.2 * (line.view(-1, 1) + line.view(1, -1))).expand(1, 3, side, side).contiguous()


def seen(network: nn.Module, hr: Tensor, faults: Tensor | float = 0.0, seed: int = 1, **changed: Any) -> Seen:
    lr = shrunk(hr, (hr.shape[-2] // SCALE, hr.shape[-1] // SCALE)) + faults
    sr = network(lr).requires_grad_()
    return Seen(lr, hr, sr, ema=network, chance=random.Random(seed), **changed)


def cost(looked_at: Seen, sigma: float = 0.0) -> float:
    return steadiness(looked_at, sigma=sigma).item()


def test_a_scene_that_small_pixels_can_hold_costs_almost_nothing() -> None:
    assert cost(seen(Enlarged(), waves(40))) < 1e-3


def test_what_sticks_to_the_pixels_costs_and_the_more_the_stronger() -> None:
    lines = torch.zeros(80, 80)
    lines[::3] = 1

    def with_lines(strength: float) -> float:
        return cost(seen(Enlarged(lambda made: made + strength * lines), waves(40)))

    assert with_lines(0.04) == pytest.approx(2 * with_lines(0.02), rel=0.05)
    assert with_lines(0.02) > 0.005


def test_faults_of_the_input_stay_where_they_are_and_noise_is_drawn_anew() -> None:
    faults = 0.05 * torch.randn(1, 3, 40, 40, generator=torch.Generator().manual_seed(5))
    assert cost(seen(Enlarged(), waves(40), faults)) > 0.01
    assert cost(seen(Enlarged(), waves(40)), sigma=8) > 0.01


def test_chance_decides_and_only_chance() -> None:
    first, again, other = (cost(seen(Enlarged(), waves(7), seed=seed), 2) for seed in (1, 1, 2))
    assert first == again != other


def test_only_the_result_gets_a_gradient() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3 * SCALE**2, 1), nn.PixelShuffle(SCALE))
    looked_at = seen(network, waves(7))
    leaf = looked_at.sr.detach().requires_grad_()
    looked_at.sr = leaf
    steady(0.5)(looked_at).backward()  # pyright: ignore[reportUnknownMemberType]
    assert leaf.grad is not None
    assert float(leaf.grad.abs().sum()) > 0
    assert all(value.grad is None for value in network.parameters())
    assert float(leaf.grad[..., :8, :].abs().sum()) == 0  # the rim does not count


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(RecipeError, match="raise the stage's crop"):
        steadiness(seen(Enlarged(), waves(7, 24)))
    looked_at = seen(Enlarged(), waves(7))
    looked_at.ema = None
    with pytest.raises(RecipeError, match="average"):
        steadiness(looked_at)
