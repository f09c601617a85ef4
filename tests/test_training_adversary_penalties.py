"""Penalties against what is known of linear and quadratic discriminators, and their laziness."""

import pytest
import torch
from torch import Tensor, nn

from upscale_training.adversary import Adversary, AdversaryRecipe
from upscale_training.adversary.chance import seeded
from upscale_training.adversary.games import wasserstein
from upscale_training.adversary.net import Discriminator, Logits
from upscale_training.adversary.penalties import Penalty, between, gradient_penalty, r1, r2, squared_gradient
from upscale_training.errors import RecipeError

SLOPE = torch.tensor([1.0, -2.0, 2.0]).view(1, 3, 1, 1)
"""Its squared norm is 9."""

REAL = torch.rand(4, 3, 5, 6, generator=torch.Generator().manual_seed(0))
FAKE = torch.rand(4, 3, 5, 6, generator=torch.Generator().manual_seed(1))


def linear(x: Tensor) -> Tensor:
    """One logit for a picture: gradient SLOPE at its first pixel, 0 elsewhere."""
    return (x[:, :, :1, :1] * SLOPE).sum(dim=(1, 2, 3))[:, None] + 3.0


def linear_map(x: Tensor) -> Tensor:
    """A logit for each pixel."""
    return (x * SLOPE).sum(dim=1, keepdim=True)


def quadratic(x: Tensor) -> Tensor:
    """|x|²/2: the gradient is x itself."""
    return x.square().flatten(1).sum(1, keepdim=True) / 2


def two_scales(x: Tensor) -> Logits:
    return [linear(x), 2 * linear(x)]


def test_r1_and_r2_of_a_linear_discriminator_are_its_squared_slope() -> None:
    for net, wanted in [(linear, 9.0), (linear_map, 9.0), (two_scales, (9 + 36) / 2)]:
        for penalty in (r1(), r2()):
            assert float(penalty.measure(net, REAL, FAKE, seeded(0))) == pytest.approx(wanted)


def test_r1_looks_at_real_pictures_and_r2_at_fake_ones() -> None:
    for penalty, pictures in [(r1(), REAL), (r2(), FAKE)]:
        wanted = pictures.square().flatten(1).sum(1).mean()
        torch.testing.assert_close(penalty.measure(quadratic, REAL, FAKE, seeded(0)), wanted)


def test_a_map_of_logits_is_penalized_alike_at_any_size() -> None:
    small = squared_gradient(linear_map, REAL[:, :, :2, :2])
    torch.testing.assert_close(small, squared_gradient(linear_map, REAL))


def test_the_gradient_penalty_wants_slope_one() -> None:
    assert float(between(linear, REAL, FAKE, seeded(0))) == pytest.approx((3 - 1) ** 2)
    assert float(between(lambda x: linear(x) / 3, REAL, FAKE, seeded(0))) == pytest.approx(0, abs=1e-10)
    # the critic of a map is its mean logit: 30 pixels with slope 3/30 each
    assert float(between(linear_map, REAL, FAKE, seeded(0))) == pytest.approx((3 / 30**0.5 - 1) ** 2)


def test_the_gradient_penalty_looks_between_real_and_fake_at_seeded_points() -> None:
    seen: list[Tensor] = []

    def net(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return linear(x)

    for seed in (0, 0, 1):
        between(net, torch.zeros_like(REAL), torch.ones_like(FAKE), seeded(seed))
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    shares = seen[0][:, 0, 0, 0]
    assert torch.equal(seen[0], shares.view(-1, 1, 1, 1).expand_as(REAL))
    assert len(set(shares.tolist())) == 4
    assert 0 <= shares.min() <= shares.max() < 1


def test_a_flat_discriminator_has_a_penalty_with_a_finite_slope() -> None:
    net = nn.Conv2d(3, 1, 1)
    nn.init.zeros_(net.weight)
    between(net, REAL, FAKE, seeded(0)).backward()
    assert net.weight.grad is not None
    assert torch.isfinite(net.weight.grad).all()


class Linear(Discriminator):
    """logit = weight · mean color."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0, 2.0]))

    def forward(self, x: Tensor) -> Tensor:
        return (x.mean(dim=(2, 3)) * self.weight).sum(1, keepdim=True)

    def features(self, x: Tensor) -> list[Tensor]:
        return [x]


def gradients_of(penalties: tuple[Penalty, ...], step: int, halves: bool = False) -> Tensor:
    adversary = Adversary(AdversaryRecipe(Linear, wasserstein, penalties=penalties))
    found: list[Tensor] = []
    adversary.begin(step)
    if halves:
        for part in (0, 1):
            adversary.backward(FAKE[2 * part : 2 * part + 2], REAL[2 * part : 2 * part + 2], 0.5, part)
    else:
        adversary.backward(FAKE, REAL)
    adversary.finish(lambda gradients: found.extend(gradient.clone() for gradient in gradients))
    return found[0]


def test_a_lazy_penalty_is_rare_and_as_much_stronger() -> None:
    game = gradients_of((), 0)
    slope = torch.tensor([1.0, -2.0, 2.0]) / 30  # of γ/2·|w|²/30, for γ = 1: the mean over 30 pixels
    for step, strength in [(0, 16), (1, 0), (15, 0), (16, 16), (32, 16)]:
        torch.testing.assert_close(gradients_of((r1(1.0, every=16),), step) - game, strength * slope)
    torch.testing.assert_close(gradients_of((r1(1.0, every=1),), 3) - game, slope)
    torch.testing.assert_close(gradients_of((r1(1.0, every=1), r2(2.0, every=1)), 3) - game, 3 * slope)


def test_accumulation_leaves_penalties_their_strength() -> None:
    penalties = (r1(1.0, every=4), r2(1.0, every=1))
    torch.testing.assert_close(gradients_of(penalties, 4, halves=True), gradients_of(penalties, 4))


def test_penalties_are_float32_under_autocast() -> None:
    class Spy(Linear):
        def forward(self, x: Tensor) -> Tensor:
            kinds.append((x.dtype, torch.is_autocast_enabled("cpu")))
            return super().forward(x)

    kinds: list[tuple[torch.dtype, bool]] = []
    adversary = Adversary(AdversaryRecipe(Spy, penalties=(r1(every=1), gradient_penalty())))
    with torch.autocast("cpu", torch.bfloat16):
        adversary.step(FAKE, REAL, 0)
    assert kinds == [(torch.float32, True)] * 2 + [(torch.float32, False)] * 2


def test_nonsense_in_a_recipe_is_refused() -> None:
    with pytest.raises(RecipeError, match="at least 1"):
        AdversaryRecipe(Linear, penalties=(r1(every=0),))
    with pytest.raises(RecipeError, match="at least 1"):
        AdversaryRecipe(Linear, every=0)
    with pytest.raises(RecipeError, match="two penalties of one name"):
        AdversaryRecipe(Linear, penalties=(r1(), r1()))
    with pytest.raises(RecipeError, match="learning rate is -1"):
        AdversaryRecipe(Linear, learning_rate=-1)
