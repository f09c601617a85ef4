"""The loss against the up-sampling's grid: sees the pattern, nothing else, and takes it away."""

import pytest
import torch
from torch import Tensor

from upscale_training.losses import grid, l1
from upscale_training.losses.grid import grid_pattern


def pictures(seed: int, count: int = 2, side: int = 64) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def checkers(strength: float, side: int = 64) -> Tensor:
    """Every other pixel of every other row lighter, in one color: (1, 3, side, side)."""
    pattern = torch.zeros(1, 3, side, side)
    pattern[:, 1, ::2, ::2] = strength
    return pattern


def test_truth_and_a_shift_of_colors_have_no_grid() -> None:
    hr = pictures(0)
    assert float(grid_pattern(hr, hr)) == 0
    shift = torch.tensor([0.1, -0.05, 0.2]).view(1, 3, 1, 1)
    assert float(grid_pattern(hr + shift, hr)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("period", [2, 4])
def test_a_grid_is_measured_by_its_strength(period: int) -> None:
    hr = pictures(1)
    weak, strong = (float(grid_pattern(hr + checkers(strength), hr, period)) for strength in (0.01, 0.02))
    assert weak == pytest.approx(
        0.01 * 2 * 0.25 * 0.75 / 3, rel=1e-3
    )  # a quarter of one color's places, around their mean
    assert strong == pytest.approx(2 * weak, rel=1e-3)


def test_errors_that_are_no_grid_hardly_count_and_fewer_the_larger_the_picture() -> None:
    small, large = (float(grid_pattern(pictures(2, 2, side), pictures(3, 2, side))) for side in (64, 256))
    assert small < 0.02
    assert large == pytest.approx(small / 4, rel=0.4)


def test_sides_that_are_no_multiples_and_half_precision() -> None:
    hr = pictures(4)[..., :63, :62]
    assert float(grid_pattern(hr.bfloat16(), hr.bfloat16())) == 0
    assert float(grid_pattern(hr + checkers(0.1)[..., :63, :62], hr)) > 0.005


def test_descent_takes_the_grid_away_and_leaves_the_picture() -> None:
    hr = pictures(5)
    sr = (hr + checkers(0.05)).requires_grad_()
    before = float(grid_pattern(sr.detach(), hr))
    optimizer = torch.optim.SGD([sr], lr=100.0)
    for _ in range(60):
        optimizer.zero_grad()
        grid_pattern(sr, hr).backward()
        optimizer.step()
    after = sr.detach()
    assert float(grid_pattern(after, hr)) < 0.2 * before
    assert float((after - hr).abs().mean()) <= float((checkers(0.05)).abs().mean()) + 0.01


def test_the_term_weighs_what_it_is_told_and_takes_the_scale() -> None:
    term = grid(3.0, period=2)
    assert (term.name, term.weight) == ("grid", 3.0)
    assert term.name != l1(1.0).name
