"""One training step: terms, weights, micro-batches, adversary, averages, and steps that are left out."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from upscale.spec import ModelSpec
from upscale_training.adversary import AdversaryRecipe
from upscale_training.adversary.patch import PatchDiscriminator
from upscale_training.degrade.presets import PRESETS
from upscale_training.generator import arrays_of
from upscale_training.players import Ground, Players, first_players
from upscale_training.recipe import Recipe, Stage
from upscale_training.step import Pictures, train_step
from upscale_training.terms import Pull, Ramp, Seen, Term

SPEC = ModelSpec("tiny", "compact", 2, features=8, blocks=2, activation="prelu")
CPU = torch.device("cpu")


def patch() -> PatchDiscriminator:
    return PatchDiscriminator(8, 2, norm="none")


def recipe_of(*terms: Term, adversary: AdversaryRecipe | None = None, **changes: object) -> Recipe:
    stage = replace(Stage("only", 10, terms, adversary, batch=4, crop=32, learning_rate=1e-3), **changes)  # pyright: ignore[reportArgumentType]
    return Recipe("test", SPEC, (stage,), PRESETS["bicubic"], precision="fp32", seed=5)


def players_of(recipe: Recipe) -> Players:
    return first_players(recipe, Ground(CPU))[0]


def pictures(count: int = 4, seed: int = 0) -> Pictures:
    hr = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return Pictures(F.avg_pool2d(hr, 2), hr)


L1 = Term("l1", 1.0, F.l1_loss)


def test_a_step_is_adams_step_on_the_weighted_sum() -> None:
    """The detour over the gradients at the output gives what a plain backward pass gives."""
    mse = Term("mse", 3.0, F.mse_loss)
    recipe = recipe_of(L1, mse)
    players, plain = players_of(recipe), players_of(recipe)
    facts = train_step(players, pictures(), recipe.stages[0], 0)
    given = pictures()
    sr = plain.network(given.lr)
    loss = F.l1_loss(sr, given.hr) + 3 * F.mse_loss(sr, given.hr)
    loss.backward()
    for group in plain.optimizer.param_groups:
        group["lr"] = 1e-3
    plain.optimizer.step()
    for one, other in zip(players.network.parameters(), plain.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
    assert float(facts["losses.total"]) == pytest.approx(float(loss.detach()), rel=1e-5)
    assert float(facts["losses.mse"]) == pytest.approx(float(F.mse_loss(sr.detach(), given.hr)), rel=1e-5)


def test_micro_batches_add_up_to_the_batch() -> None:
    recipe = recipe_of(L1, adversary=AdversaryRecipe(patch))
    whole, parted = players_of(recipe), players_of(recipe)
    parted.parts = 3  # 2 + 1 + 1 pictures
    for step in range(3):
        a = train_step(whole, pictures(seed=step), recipe.stages[0], step)
        b = train_step(parted, pictures(seed=step), recipe.stages[0], step)
    assert float(a["losses.adversary"]) == pytest.approx(float(b["losses.adversary"]), rel=1e-4)
    for one, other in zip(whole.network.parameters(), parted.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_both_players_learn_and_the_facts_tell() -> None:
    recipe = recipe_of(L1, adversary=AdversaryRecipe(patch, weight=0.5))
    players = players_of(recipe)
    assert players.adversary is not None
    before = [value.clone() for value in players.adversary.parameters]
    facts = train_step(players, pictures(), recipe.stages[0], 0)
    assert {"losses.l1", "losses.adversary", "losses.total", "game.real", "game.fake", "game.loss"} <= facts.keys()
    assert {"gradients.generator", "gradients.discriminator", "gradients.l1", "gradients.adversary"} <= facts.keys()
    assert facts["weights.adversary"] == 0.5
    assert any(not torch.equal(old, new) for old, new in zip(before, players.adversary.parameters, strict=True))


def test_a_generator_that_waits_does_not_move() -> None:
    recipe = recipe_of(L1, adversary=AdversaryRecipe(patch, generator_from=2))
    players = players_of(recipe)
    before = arrays_of(players.network)
    train_step(players, pictures(), recipe.stages[0], 0)
    assert all((before[key] == value).all() for key, value in arrays_of(players.network).items())
    train_step(players, pictures(), recipe.stages[0], 2)
    assert any((before[key] != value).any() for key, value in arrays_of(players.network).items())


def test_a_step_that_is_not_finite_is_left_out_and_counted() -> None:
    def broken(sr: Tensor, hr: Tensor) -> Tensor:
        return (sr * float("nan")).sum()

    recipe = recipe_of(Term("broken", 1.0, broken))
    players = players_of(recipe)
    before = arrays_of(players.network)
    facts = train_step(players, pictures(), recipe.stages[0], 0)
    assert facts["skipped"] == 1.0
    assert all((before[key] == value).all() for key, value in arrays_of(players.network).items())


def test_weights_ramp_and_the_guard_scales_them() -> None:
    recipe = recipe_of(L1, Term("late", Ramp(0.0, 2.0, 0.5, 1.0), F.mse_loss))
    players = players_of(recipe)
    assert "losses.late" not in train_step(players, pictures(), recipe.stages[0], 2)
    assert train_step(players, pictures(), recipe.stages[0], 7)["weights.late"] == pytest.approx(0.8)
    players.factors["late"] = 0.25
    assert train_step(players, pictures(), recipe.stages[0], 7)["weights.late"] == pytest.approx(0.2)


def test_terms_see_features_and_pull_on_them() -> None:
    """A term on an inner layer alone moves the layers before it."""

    def on_features(seen: Seen) -> tuple[Tensor, ...]:
        return tuple(seen.generator_features)

    term = Term("inner", 1.0, lambda features: features.square().mean(), on_features)
    recipe = recipe_of(term, feature_layers=("body.1",))
    players = players_of(recipe)
    before = arrays_of(players.network)
    train_step(players, pictures(), recipe.stages[0], 0)
    after = arrays_of(players.network)
    assert (before["body.0.weight"] != after["body.0.weight"]).any()
    assert (before["body.6.weight"] == after["body.6.weight"]).all()


def test_the_average_follows_the_network() -> None:
    recipe = recipe_of(L1)
    players = players_of(recipe)
    start = arrays_of(players.network)
    train_step(players, pictures(), recipe.stages[0], 0)
    now, mean = arrays_of(players.network), arrays_of(players.ema.network)
    key = "body.0.weight"
    torch.testing.assert_close(torch.from_numpy(mean[key]), torch.from_numpy(0.1 * start[key] + 0.9 * now[key]))


def test_teachers_output_may_be_real() -> None:
    asked: list[float] = []

    def real(lr: Tensor, hr: Tensor, clean: Tensor | None, chance: torch.Generator) -> Tensor:
        asked.append(float(torch.rand(1, generator=chance)))
        return torch.zeros_like(hr)

    adversary = AdversaryRecipe(patch, learning_rate=1e-2)
    recipe = recipe_of(L1, adversary=adversary, real=real)
    players = players_of(recipe)
    for step in range(30):
        facts = train_step(players, pictures(seed=step), recipe.stages[0], step)
    assert len(set(asked)) == 30
    assert float(facts["game.real"]) == 1.0  # black is easily told from noise


def test_out_of_memory_leaves_everything_as_it_was() -> None:
    def full(sr: Tensor, hr: Tensor) -> Tensor:
        raise torch.OutOfMemoryError

    recipe = recipe_of(L1, Term("full", 1.0, full), adversary=AdversaryRecipe(patch))
    players = players_of(recipe)
    before = players.state()["network"]["body.0.weight"].clone()
    with pytest.raises(torch.OutOfMemoryError):
        train_step(players, pictures(), recipe.stages[0], 0)
    assert torch.equal(before, players.network.state_dict()["body.0.weight"])
    good = recipe_of(L1, adversary=AdversaryRecipe(patch))
    fresh = players_of(good)
    train_step(players, pictures(), good.stages[0], 0)
    train_step(fresh, pictures(), good.stages[0], 0)
    for one, other in zip(players.network.parameters(), fresh.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_bf16_trains_on_a_cpu() -> None:
    recipe = replace(recipe_of(L1, adversary=AdversaryRecipe(patch)), precision="bf16")
    players = players_of(recipe)
    losses = [
        float(train_step(players, pictures(), recipe.stages[0], step)["losses.l1"]) for step in (0, 1, 2, 3, 4, 5, 6)
    ]
    assert losses[-1] < losses[0]
    assert next(players.network.parameters()).dtype == torch.float32


def test_a_pull_keeps_its_share_whatever_the_loss_is_worth() -> None:
    """A loss a thousand times as large pulls no more; without gradient it gets no endless weight."""
    for scale in (1.0, 1000.0):
        twin = Term("twin", Pull(0.5), lambda sr, hr, scale=scale: scale * F.mse_loss(sr, hr))
        recipe = recipe_of(L1, twin)
        facts = train_step(players_of(recipe), pictures(), recipe.stages[0], 0)
        assert float(facts["gradients.twin"]) == pytest.approx(0.5 * float(facts["gradients.l1"]), rel=1e-4)
    flat = Term("flat", Pull(0.5, most=7.0), lambda sr, hr: 0.0 * sr.sum())
    recipe = recipe_of(L1, flat)
    assert float(train_step(players_of(recipe), pictures(), recipe.stages[0], 0)["weights.flat"]) == 7.0


def test_a_discriminator_that_guesses_pulls_a_twentieth_of_its_share() -> None:
    recipe = recipe_of(L1, adversary=AdversaryRecipe(patch, weight=Pull(0.2, most=1e9)))
    players = players_of(recipe)
    facts = train_step(players, pictures(), recipe.stages[0], 0)
    assert float(facts["gradients.adversary"] / facts["gradients.l1"]) == pytest.approx(0.2 / 20, rel=1e-3)
    assert players.adversary is not None
    players.adversary._right.fill_(0.9)  # pyright: ignore[reportPrivateUsage]
    facts = train_step(players, pictures(), recipe.stages[0], 1)
    assert float(facts["gradients.adversary"] / facts["gradients.l1"]) == pytest.approx(0.2, rel=1e-3)
