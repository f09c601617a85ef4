"""The adversary at play: who gets which gradient, what a step changes, resume, accumulation, augmentation, half precision."""

import copy
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from upscale_training.adversary import Adversary, AdversaryRecipe
from upscale_training.adversary.augment import Augment
from upscale_training.adversary.chance import seeded
from upscale_training.adversary.games import GAMES, Game, relativistic_average, wasserstein
from upscale_training.adversary.multiscale import MultiScaleDiscriminator
from upscale_training.adversary.net import Discriminator
from upscale_training.adversary.patch import PatchDiscriminator
from upscale_training.adversary.penalties import gradient_penalty, r1, r2
from upscale_training.adversary.projected import ProjectedDiscriminator
from upscale_training.adversary.real import Taught, mixed_real
from upscale_training.adversary.strided import StridedDiscriminator
from upscale_training.adversary.thin import thin_patch
from upscale_training.adversary.unet import UNetDiscriminator
from upscale_training.backbones import random_backbone
from upscale_training.errors import RecipeError, RunError

SIDE = 32
SR = torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
HR = torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))

unet = partial(UNetDiscriminator, 4)
thin = partial(thin_patch, 4)
batch_normed = partial(StridedDiscriminator, SIDE, 4)
batch_free = partial(StridedDiscriminator, SIDE, 4, batch_norm=False)
two_scales = partial(MultiScaleDiscriminator, partial(PatchDiscriminator, 4, strided=1, norm="instance"), 2)


def on_alexnet() -> Discriminator:
    return ProjectedDiscriminator(random_backbone("alexnet", 0), width=4)


every_game = pytest.mark.parametrize("game", GAMES, ids=lambda game: game.name)
every_kind = pytest.mark.parametrize(
    "net", [unet, thin, batch_normed, two_scales], ids=["unet", "thin", "strided", "scales"]
)


def player(net: Callable[[], Discriminator] = thin, seed: int = 0, **more: Any) -> Adversary:
    return Adversary(AdversaryRecipe(net, **more), seed=seed)


def snapshot(adversary: Adversary) -> dict[str, Any]:
    return copy.deepcopy(adversary.state_dict())


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return one == other


@every_game
def test_the_generators_loss_leaves_no_gradient_in_the_discriminator(game: Game) -> None:
    adversary, sr = player(game=game), SR.clone().requires_grad_()
    loss = adversary.generator_loss(sr, HR, 0)
    loss.backward()
    assert loss.shape == ()
    assert sr.grad is not None
    assert sr.grad.abs().sum() > 0
    assert all(parameter.grad is None and parameter.requires_grad for parameter in adversary.net.parameters())


@every_game
@every_kind
def test_a_step_learns_to_tell_and_gives_the_generator_nothing(game: Game, net: Callable[[], Discriminator]) -> None:
    adversary, sr = player(net, game=game, learning_rate=2e-3), SR.clone().requires_grad_()
    before = [parameter.detach().clone() for parameter in adversary.parameters]
    facts = [adversary.step(sr, HR, step) for step in range(4)]
    assert sr.grad is None
    assert facts[-1]["loss"] < facts[0]["loss"]
    assert any(not torch.equal(old, new) for old, new in zip(before, adversary.parameters, strict=True))
    assert all(parameter.grad is None for parameter in adversary.parameters)
    assert set(facts[0]) == {"loss", "real", "fake", "logit_real", "logit_fake", "gradient", "skipped"}
    assert all(0 <= float(facts[0][share]) <= 1 for share in ("real", "fake"))
    assert float(facts[0]["gradient"]) > 0
    assert facts[0]["skipped"] == 0


def test_a_discriminator_that_can_tell_says_so() -> None:
    adversary = player(unet, learning_rate=5e-3)
    dark, light = SR * 0.2, HR * 0.2 + 0.8
    facts = [adversary.step(dark, light, step) for step in range(20)][-1]
    assert float(facts["real"]) > 0.9
    assert float(facts["fake"]) > 0.9
    assert facts["logit_real"] > facts["logit_fake"]
    assert adversary.held_out(light) > 0.9
    assert adversary.held_out(dark) < 0.1


def test_held_out_compares_with_the_fakes_where_logits_have_no_zero() -> None:
    adversary = player(game=wasserstein, learning_rate=5e-3)
    dark, light = SR * 0.2, HR * 0.2 + 0.8
    for step in range(30):
        adversary.step(dark, light, step)
    for layer in adversary.net.modules():  # all logits alike far above zero: only the comparison remains
        if isinstance(layer, torch.nn.Conv2d) and layer.out_channels == 1:
            assert layer.bias is not None
            layer.bias.data.add_(100)
    assert adversary.held_out(light) == 1.0  # with the mean of before
    assert adversary.held_out(light, dark) > 0.9
    assert adversary.held_out(dark, light) < 0.1


@every_kind
def test_measuring_and_pausing_change_nothing(net: Callable[[], Discriminator]) -> None:
    adversary = player(net, penalties=(r1(every=1),) if net is thin else ())
    adversary.step(SR, HR, 0)
    before = snapshot(adversary)
    adversary.held_out(HR)
    adversary.held_out(HR, SR)
    assert same(before, snapshot(adversary))
    adversary.paused = True
    facts = adversary.step(SR, HR, 1)
    assert set(facts) == {"real", "fake", "logit_real", "logit_fake", "paused"}
    for key in ("net", "optimizer"):
        assert same(before[key], snapshot(adversary)[key])
    adversary.paused = False
    adversary.step(SR, HR, 1)
    assert not same(before["net"], snapshot(adversary)["net"])


def test_speed_and_schedule_multiply_the_learning_rate() -> None:
    moved: list[float] = []
    for speed, schedule in [(1.0, 1.0), (0.25, 1.0), (1.0, 0.5), (0.0, 1.0)]:
        adversary = player(learning_rate=1e-3)
        before = [parameter.detach().clone() for parameter in adversary.parameters]
        adversary.speed = speed
        adversary.step(SR, HR, 0, schedule=schedule)
        moves = [(new.detach() - old).abs().max() for old, new in zip(before, adversary.parameters, strict=True)]
        moved.append(float(torch.stack(moves).max()))
    assert moved == pytest.approx([1e-3, 0.25e-3, 0.5e-3, 0], rel=1e-3)  # Adam's first step is the rate


def test_who_learns_when() -> None:
    recipe = AdversaryRecipe(thin, every=3, generator_every=2, generator_from=4)
    assert [step for step in range(9) if recipe.learns(step)] == [0, 3, 6]
    assert [step for step in range(9) if recipe.generator_learns(step)] == [5, 7]
    adversary = Adversary(recipe)
    before = snapshot(adversary)
    assert adversary.step(SR, HR, 1) == {}
    assert same(before, snapshot(adversary))
    assert adversary.step(SR, HR, 3)


@every_kind
def test_a_resumed_adversary_goes_on_to_the_bit(net: Callable[[], Discriminator]) -> None:
    more: dict[str, Any] = {"augment": Augment(), "penalties": (gradient_penalty(every=2),) if net is thin else ()}
    unbroken = player(net, **more)
    for step in range(3):
        unbroken.step(SR, HR, step)
    unbroken.speed = 0.5
    resumed = player(net, seed=0, **more)
    resumed.load_state_dict(pickle.loads(pickle.dumps(unbroken.state_dict())))
    for step in range(3, 6):
        losses = [each.generator_loss(SR, HR, step) for each in (unbroken, resumed)]
        assert torch.equal(*losses)
        assert same(unbroken.step(SR, HR, step), resumed.step(SR, HR, step))
    assert same(snapshot(unbroken), snapshot(resumed))


def test_the_state_of_another_network_is_refused() -> None:
    state = player(unet).state_dict()
    with pytest.raises(RunError, match="resume with the recipe"):
        player(thin).load_state_dict(state)


def test_the_seed_decides_and_the_global_generator_stays() -> None:
    torch.rand(1)
    before = torch.get_rng_state()
    one, again, other = (player(seed=seed).net.state_dict() for seed in (3, 3, 4))
    assert same(one, again)
    assert not same(one, other)
    adversary = player(augment=Augment(), penalties=(gradient_penalty(),))
    adversary.generator_loss(SR, HR, 0)
    adversary.step(SR, HR, 0)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("net", [unet, thin])
def test_micro_batches_add_up_to_the_batch(net: Callable[[], Discriminator]) -> None:
    gradients: list[list[Tensor]] = []
    for parts in (1, 2):
        adversary = player(net)
        adversary.net.eval()  # spectral norm's iteration would run twice as often
        adversary.begin(0)
        for part, (sr, hr) in enumerate(zip(SR.chunk(parts), HR.chunk(parts), strict=True)):
            adversary.backward(sr, hr, 1 / parts, part)
        found: list[Tensor] = []
        facts = adversary.finish(lambda each, found=found: found.extend(one.clone() for one in each))
        gradients.append([*found, torch.as_tensor(facts["loss"]), torch.as_tensor(facts["real"])])
    for whole, halves in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, halves, rtol=1e-4, atol=1e-6)


def test_processes_may_average_the_gradients() -> None:
    def halve(gradients: list[Tensor]) -> None:
        for gradient in gradients:
            gradient.mul_(0.5)

    alone, averaged = player(), player()
    one, other = alone.step(SR, HR, 0), averaged.step(SR, HR, 0, sync=halve)
    assert other["gradient"] == pytest.approx(float(one["gradient"]) / 2, rel=1e-5)


def test_a_gradient_that_is_not_finite_is_skipped() -> None:
    adversary = player()
    adversary.step(SR, HR, 0)
    before = snapshot(adversary)
    facts = adversary.step(torch.full_like(SR, float("nan")), HR, 1)
    assert facts["skipped"] == 1
    after = snapshot(adversary)
    assert same([value for key, value in before["net"].items() if "orig" in key or "bias" in key],
                [value for key, value in after["net"].items() if "orig" in key or "bias" in key])  # fmt: skip
    assert same(before["optimizer"], after["optimizer"])
    assert adversary.step(SR, HR, 2)["skipped"] == 0


def test_the_gradients_norm_is_cut() -> None:
    adversary = player(max_norm=1e-3)
    kept: list[float] = []
    plain = adversary.optimizer.step

    def spy() -> None:
        kept.append(
            float(torch.nn.utils.get_total_norm([each.grad for each in adversary.parameters if each.grad is not None]))
        )
        plain()

    adversary.optimizer.step = spy  # type: ignore[method-assign]
    facts = adversary.step(SR, HR, 0)
    assert float(facts["gradient"]) > 1e-3
    assert kept == [pytest.approx(1e-3, rel=1e-2)]


@every_game
@pytest.mark.parametrize("net", [unet, on_alexnet], ids=["unet", "projected"])
def test_bfloat16_plays_nearly_the_same_game(game: Game, net: Callable[[], Discriminator]) -> None:
    sr, hr = (torch.nn.functional.interpolate(each, 64) for each in (SR[:2], HR[:2]))
    found: list[list[float]] = []
    for enabled in (False, True):
        adversary = player(net, game=game, penalties=(r1(every=1),))
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            x = sr.clone().requires_grad_()
            loss = adversary.generator_loss(x, hr, 0)
        loss.backward()
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            facts = adversary.step(sr, hr, 0)
            after = adversary.step(sr, hr, 1)
        assert after["loss"] != facts["loss"]  # the second step sees the new parameters, not autocast's cached ones
        found.append([float(loss.detach()), float(facts["loss"]), float(facts["r1"])])
        assert all(parameter.dtype == torch.float32 for parameter in adversary.parameters)
    assert found[1] == pytest.approx(found[0], rel=0.03, abs=0.03)


def test_a_loss_scaler_is_undone() -> None:
    plain, scaled = player(penalties=(r1(every=1),)), player(penalties=(r1(every=1),))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    one, other = plain.step(SR, HR, 0), scaled.step(SR, HR, 0, scaler)
    assert other["gradient"] == pytest.approx(float(one["gradient"]), rel=1e-4)
    for ours, theirs in zip(plain.parameters, scaled.parameters, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)
    scaler.update()
    before = [parameter.detach().clone() for parameter in scaled.parameters]
    assert scaled.step(torch.full_like(SR, float("inf")), HR, 1, scaler)["skipped"] == 1
    assert same(before, [parameter.detach() for parameter in scaled.parameters])
    scaler.update()
    assert scaler.get_scale() < 1024


def test_features_are_differentiable_and_the_discriminator_stays_out() -> None:
    adversary, x = player(unet), SR.clone().requires_grad_()
    sum(feature.abs().mean() for feature in adversary.features(x)).backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in adversary.parameters)


def test_what_is_frozen_stays_frozen() -> None:
    adversary = player(on_alexnet)
    assert isinstance(adversary.net, ProjectedDiscriminator)
    large = torch.nn.functional.interpolate(SR, 64)
    adversary.generator_loss(large, large, 0)
    assert not any(parameter.requires_grad for parameter in adversary.net.backbone.parameters())
    assert len(adversary.parameters) == len(list(adversary.net.heads.parameters()))
    assert not any("backbone" in key for key in adversary.state_dict()["net"])


# Augmentation


def test_equal_chance_changes_real_and_fake_alike() -> None:
    seen: list[Tensor] = []

    class Spy(UNetDiscriminator):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach().clone())
            return super().forward(x)

    adversary = player(partial(Spy, 4), augment=Augment(), game=relativistic_average)
    adversary.generator_loss(HR, HR, 5)
    adversary.step(HR, HR, 5)
    assert len(seen) == 4
    assert all(torch.equal(seen[0], each) for each in seen[1:])
    assert not torch.equal(seen[0], HR)
    adversary.generator_loss(HR, HR, 6)
    adversary.generator_loss(HR, HR, 5, part=1)
    assert not torch.equal(seen[0], seen[4])
    assert not torch.equal(seen[0], seen[6])


def test_augmentation_lets_gradients_through() -> None:
    x = HR.double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda crop: Augment()(crop, seeded(1)), (x[:2, :, :6, :6].detach().requires_grad_(),), fast_mode=True
    )
    (gradient,) = torch.autograd.grad(Augment()(x, seeded(0)).sum(), x)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0


def test_translation_moves_by_whole_pixels_and_fills_with_black() -> None:
    moved = Augment(color=0, cutout=0)(HR + 1, seeded(3))
    shifts: set[tuple[int, int]] = set()
    for one, original in zip(moved, HR + 1, strict=True):
        rows, columns = (one.sum(dim=0) > 0).any(1), (one.sum(dim=0) > 0).any(0)
        inside = one[:, rows][:, :, columns]
        height, width = inside.shape[1:]
        top, left = (int(axis.int().argmax()) for axis in (rows, columns))
        wide = original[:, 0 if top else SIDE - height :, 0 if left else SIDE - width :]
        assert torch.equal(inside, wide[:, :height, :width])
        assert min(height, width) >= SIDE * 7 // 8
        shifts.add((height, width))
    assert len(shifts) > 1


def test_cutout_makes_a_hole_of_the_asked_size() -> None:
    cut = Augment(color=0, translation=0)(torch.ones(64, 3, SIDE, SIDE), seeded(0))
    holes = (cut == 0).all(dim=1)
    assert torch.equal(holes, (cut == 0).any(dim=1))
    areas = holes.sum(dim=(1, 2))
    assert areas.max() == (SIDE // 2) ** 2
    assert areas.min() >= (SIDE // 4) ** 2  # a hole centered in a corner
    assert holes.any(dim=0).all()


def test_color_shifts_brightness_saturation_and_contrast() -> None:
    gray = torch.full((64, 3, 4, 4), 0.5)
    bright = Augment(translation=0, cutout=0)(gray, seeded(0))  # a flat gray has neither contrast nor saturation
    levels = bright[:, 0, 0, 0]
    torch.testing.assert_close(bright, levels.view(-1, 1, 1, 1).expand_as(gray))
    assert -0.25 <= (levels - 0.5).min() < -0.15
    assert 0.15 < (levels - 0.5).max() <= 0.25
    spread = Augment(translation=0, cutout=0)(HR.repeat(16, 1, 1, 1), seeded(1))
    contrast = spread.mean(dim=1).std(dim=(1, 2)) / HR.repeat(16, 1, 1, 1).mean(dim=1).std(dim=(1, 2))
    assert 0.49 <= contrast.min() < 0.7
    assert 1.3 < contrast.max() <= 1.51
    assert torch.equal(Augment(0, 0, 0)(HR, seeded(0)), HR)


# What is real


def test_real_may_be_a_mixture_with_a_teachers_pictures() -> None:
    teacher = SR.clone().requires_grad_()
    many_hr, many_teacher = HR.repeat(100, 1, 1, 1), teacher.repeat(100, 1, 1, 1)
    mixed = mixed_real(many_hr, many_teacher, 0.25, seeded(0))
    taught = (mixed == many_teacher).all(dim=(1, 2, 3))
    true = (mixed == many_hr).all(dim=(1, 2, 3))
    assert (taught ^ true).all()
    assert taught.float().mean() == pytest.approx(0.25, abs=0.06)
    assert not mixed.requires_grad
    assert torch.equal(mixed, mixed_real(many_hr, many_teacher, 0.25, seeded(0)))
    assert torch.equal(mixed_real(HR, teacher, 0.0, seeded(0)), HR)
    assert torch.equal(mixed_real(HR, teacher, 1.0, seeded(0)), SR)


def test_r2_is_of_the_fakes_the_player_saw() -> None:
    facts = player(batch_free, penalties=(r1(every=1), r2(every=1)), augment=Augment()).step(HR, HR, 0)
    assert torch.equal(torch.as_tensor(facts["r1"]), torch.as_tensor(facts["r2"]))
    facts = player(batch_free, penalties=(r1(every=1), r2(every=1))).step(SR * 0.1, HR, 0)
    assert facts["r1"] != facts["r2"]


def test_a_teachers_pictures_count_as_real_for_their_share() -> None:
    hr, lr = torch.full((64, 3, 16, 16), 2.0), torch.rand(64, 3, 4, 4)
    taught = Taught("animevideov3", 0.25)
    mixed = taught(lr, hr, None, torch.Generator().manual_seed(0))
    replaced = (mixed != hr).flatten(1).any(1)
    assert 6 <= int(replaced.sum()) <= 26
    assert float(mixed[replaced].max()) <= 1.0
    with pytest.raises(RecipeError, match="with_clean=True"):
        Taught("animevideov3", clean=True)(lr, hr, None, torch.Generator())
    with pytest.raises(RecipeError, match="enlarges less"):
        taught(lr, torch.zeros(64, 3, 32, 32), None, torch.Generator())


def test_skill_is_how_much_better_than_guessing_it_is_and_outlives_a_resume() -> None:
    adversary = player(learning_rate=1e-2)
    assert float(adversary.skill) == pytest.approx(0.05)
    for number in range(60):
        adversary.step(torch.zeros_like(SR), torch.ones_like(HR), number)  # black against white: anybody learns that
    assert float(adversary.skill) == 1.0
    again = player(learning_rate=1e-2)
    again.load_state_dict(snapshot(adversary))
    assert float(again.skill) == 1.0
