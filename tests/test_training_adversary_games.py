"""The games: known values, the direction in which every loss pulls, and a small picture of each that ends in a draw."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale_training.adversary import Adversary, AdversaryRecipe, games
from upscale_training.adversary.games import GAMES, Absolute, Game, Relative, rated
from upscale_training.adversary.net import Discriminator
from upscale_training.adversary.penalties import gradient_penalty, r1, r2

every_game = pytest.mark.parametrize("game", GAMES, ids=lambda game: game.name)

REAL, FAKE = torch.tensor([[2.0], [-0.5], [0.7]]), torch.tensor([[-1.0], [0.3], [0.6]])


def discriminator_loss(game: Game, real: Tensor, fake: Tensor) -> Tensor:
    return game.on_real(real) + game.on_fake(fake) if isinstance(game, Absolute) else game.on_discriminator(real, fake)


def generator_loss(game: Game, real: Tensor, fake: Tensor) -> Tensor:
    return game.on_generator(fake) if isinstance(game, Absolute) else game.on_generator(real, fake)


@every_game
def test_the_discriminator_raises_real_logits_and_lowers_fake_ones(game: Game) -> None:
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    on_real, on_fake = torch.autograd.grad(discriminator_loss(game, real, fake), (real, fake))
    beyond = (real > 1) & torch.tensor(game in (games.least_squares, games.hinge))
    assert (on_real[~beyond] < 0).all()
    pulled_to_zero = (fake < 0) & torch.tensor(game is games.least_squares)
    satisfied = (fake <= -1) & torch.tensor(game is games.hinge)
    assert (on_fake[~pulled_to_zero & ~satisfied] > 0).all()


@every_game
def test_the_generator_raises_its_logits_and_leaves_the_real_ones(game: Game) -> None:
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    loss = generator_loss(game, real, fake)
    on_fake, on_real = torch.autograd.grad(loss, (fake, real), allow_unused=True)
    assert (on_fake < 0).all()
    assert on_real is None
    assert loss.shape == ()


@every_game
def test_a_better_discriminator_has_a_smaller_loss_and_a_worse_generator_a_greater(game: Game) -> None:
    near, far = torch.full((4, 1, 2, 2), 0.1), torch.full((4, 1, 2, 2), 0.4)
    half = torch.tensor(0.5)
    assert discriminator_loss(game, half + far, half - far) < discriminator_loss(game, half + near, half - near)
    assert generator_loss(game, half + far, half - far) > generator_loss(game, half + near, half - near)


def test_basicsrs_vanilla_and_its_relativistic_average() -> None:
    ones, zeros = torch.ones(3, 1), torch.zeros(3, 1)
    bce = F.binary_cross_entropy_with_logits
    game = games.non_saturating
    torch.testing.assert_close(game.on_real(REAL), bce(REAL, ones))
    torch.testing.assert_close(game.on_fake(FAKE), bce(FAKE, zeros))
    torch.testing.assert_close(game.on_generator(FAKE), bce(FAKE, ones))
    torch.testing.assert_close(games.minimax.on_generator(FAKE), -bce(FAKE, zeros))
    relative = games.relativistic_average
    wanted = (bce(REAL - FAKE.mean(), ones) + bce(FAKE - REAL.mean(), zeros)) / 2
    torch.testing.assert_close(relative.on_discriminator(REAL, FAKE), wanted)
    wanted = (bce(REAL - FAKE.mean(), zeros) + bce(FAKE - REAL.mean(), ones)) / 2
    torch.testing.assert_close(relative.on_generator(REAL, FAKE), wanted)


def test_the_other_games_values() -> None:
    squares, hinge = games.least_squares, games.hinge
    assert float(squares.on_real(REAL)) == pytest.approx((1 + 1.5**2 + 0.3**2) / 3)
    assert float(squares.on_fake(FAKE)) == pytest.approx((1 + 0.3**2 + 0.6**2) / 3)
    assert float(hinge.on_real(REAL)) == pytest.approx((0 + 1.5 + 0.3) / 3)
    assert float(hinge.on_fake(FAKE)) == pytest.approx((0 + 1.3 + 1.6) / 3)
    assert float(hinge.on_generator(FAKE)) == pytest.approx(0.1 / 3)
    assert float(games.wasserstein.on_real(REAL) + games.wasserstein.on_fake(FAKE)) == pytest.approx(-2.3 / 3)
    pairs = F.softplus(torch.tensor([-3.0, 0.8, -0.1])).mean()
    torch.testing.assert_close(games.relativistic_pairing.on_discriminator(REAL, FAKE), pairs)
    pairs = F.softplus(torch.tensor([3.0, -0.8, 0.1])).mean()
    torch.testing.assert_close(games.relativistic_pairing.on_generator(REAL, FAKE), pairs)


@pytest.mark.parametrize(
    ("game", "real", "fake"),
    [
        (games.non_saturating, 2 / 3, 1 / 3),  # about 0
        (games.least_squares, 2 / 3, 2 / 3),  # about 1/2
        (games.wasserstein, 2 / 3, 3 / 3),  # about the other's mean: -1/30 and 11/15
        (games.relativistic_average, 2 / 3, 3 / 3),
        (games.relativistic_pairing, 2 / 3, 2 / 3),  # pair by pair
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_what_counts_as_rated_right(game: Game, real: float, fake: float) -> None:
    assert [float(share) for share in rated(game, REAL, FAKE)] == pytest.approx([real, fake])


def test_a_pairing_without_pairs_compares_with_the_mean() -> None:
    assert isinstance(games.relativistic_pairing, Relative)
    assert float(rated(games.relativistic_pairing, REAL, torch.tensor(0.65))[0]) == pytest.approx(2 / 3)


class Critic(Discriminator):
    """A logit for a picture's color, of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.mean(dim=(2, 3)))

    def features(self, x: Tensor) -> list[Tensor]:
        return [self.layers[:2](x.mean(dim=(2, 3)))]


PENALTIES = {
    "wasserstein": (gradient_penalty(1.0),),
    "relativistic pairing": (r1(0.2, every=1), r2(0.2, every=1)),
}


@every_game
def test_a_small_game_ends_near_the_truth(game: Game) -> None:
    """A generator of one color (three numbers and noise) finds the color of the real pictures."""
    chance = torch.Generator().manual_seed(0)
    truth = torch.tensor([0.7, 0.3, 0.5]).view(1, 3, 1, 1)
    color = torch.full((1, 3, 1, 1), 0.45).requires_grad_()
    before = (color - truth).abs().max().item()
    penalties = PENALTIES.get(game.name, (r1(0.2, every=1),))
    adversary = Adversary(AdversaryRecipe(Critic, game, 1.0, 1e-2, (0.5, 0.9), penalties), seed=1)
    optimizer = torch.optim.Adam([color], 8e-3, (0.5, 0.9))
    trail: list[Tensor] = []
    for step in range(200):
        noise = 0.05 * torch.randn(2, 16, 3, 1, 1, generator=chance)
        sr, hr = color + noise[0], truth + noise[1]
        optimizer.zero_grad()
        adversary.generator_loss(sr, hr, step).backward()
        optimizer.step()
        adversary.step(sr, hr, step)
        trail.append(color.detach().clone())
    after = (torch.stack(trail[-50:]).mean(0) - truth).abs().max().item()
    assert after < 0.25 * before, f"{before:.3f} → {after:.3f}"


def test_games_pickle_and_are_values() -> None:
    import pickle

    for game in GAMES:
        assert pickle.loads(pickle.dumps(game)) == game
    assert partial(Critic)().features(torch.zeros(1, 3, 2, 2))[0].shape == (1, 16)
