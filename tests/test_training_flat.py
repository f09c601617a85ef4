"""The loss for flat places: sees a weave on a wall, hardly one in a lawn, and nothing where the result is calmer than the truth."""

import pytest
import torch
from torch import Tensor

from upscale_training.losses import flat
from upscale_training.losses.flat import excess_contrast
from upscale_training.terms import Seen


def noise(sigma: float) -> Tensor:
    """Gray with noise of so many levels."""
    return 0.5 + torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0)) * (sigma / 255)


def weave(sigma: float) -> Tensor:
    """Columns that are lighter and darker by so many levels in turn."""
    columns = torch.ones(48)
    columns[::2] = -1
    return columns.expand(1, 3, 48, 48) * (sigma / 255)


def test_the_truth_and_all_that_is_calmer_costs_nothing() -> None:
    truth = noise(8)
    assert float(excess_contrast(truth, truth)) == 0
    assert float(excess_contrast(truth * 0.5, truth)) == 0
    assert float(excess_contrast(truth + 0.1, truth)) == pytest.approx(0, abs=1e-4)


def test_a_weave_is_measured_in_terms_of_what_the_truth_varies_by() -> None:
    wall = torch.full((2, 3, 48, 48), 0.5)
    assert float(excess_contrast(wall + weave(4), wall)) == pytest.approx((4 - 0.25) / (2 + 0.25), rel=0.05)
    lawn = noise(20)
    assert float(excess_contrast(lawn + weave(4), lawn)) < 0.1


def test_a_weave_goes_away_where_the_truth_is_flat() -> None:
    wall, drawn = torch.full((2, 3, 48, 48), 0.5), (0.5 + weave(4)).repeat(2, 1, 1, 1).requires_grad_()
    optimizer, term = torch.optim.Adam([drawn], lr=0.002), flat(1.0)
    for _ in range(30):
        optimizer.zero_grad()
        loss = term(Seen(lr=wall, hr=wall, sr=drawn))
        loss.backward()
        optimizer.step()
    assert float(drawn.detach().std()) < 1 / 255


def test_nothing_varies_and_half_precision() -> None:
    still = torch.full((1, 3, 16, 16), 0.25, dtype=torch.bfloat16, requires_grad=True)
    loss = excess_contrast(still, torch.zeros(1, 3, 16, 16))
    loss.backward()
    assert loss.dtype == torch.float32
    assert still.grad is not None
    assert bool(still.grad.isfinite().all())
