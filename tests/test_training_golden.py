"""Our losses and whole steps equal the original basicsr's; golden/make_training_golden.py says how the values were made.

Losses are compared in float64, where only rounding of constants is left; whole steps in fp32, as they are trained.
"""

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale.nets import Network, build
from upscale.spec import ModelSpec
from upscale_training import losses
from upscale_training.adversary import Adversary, AdversaryRecipe, games, penalties
from upscale_training.adversary.unet import UNetDiscriminator
from upscale_training.adversary.vgg import VGGDiscriminator
from upscale_training.backbones import Backbone, BackboneName
from upscale_training.backbones.nets import parameter_shapes
from upscale_training.distributed import Group
from upscale_training.generator import Ema
from upscale_training.losses.artifacts import artifact_map, ldl
from upscale_training.losses.deep import LAYERS, Perceptual
from upscale_training.losses.pixel import charbonnier
from upscale_training.players import Players
from upscale_training.precision import Arithmetic
from upscale_training.recipe import Stage
from upscale_training.step import Facts, Pictures, train_step
from upscale_training.terms import Term

FOLDER = Path(__file__).resolve().parent / "golden"
EXACT = 1e-6
"""Relative, in float64: the constants of ImageNet's normalisation are fp32 on both sides."""

Golden = dict[str, npt.NDArray[np.float64]]


def _load_formula() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_training_golden", FOLDER / "make_training_golden.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


formula = _load_formula()


def golden(name: str) -> Golden:
    with np.load(FOLDER / f"training_{name}.npz") as stored:
        return {key: stored[key] for key in stored if key != "versions"}


@pytest.fixture(scope="module")
def values() -> Golden:
    return golden("losses")


@pytest.fixture(scope="module")
def backbone() -> Callable[[BackboneName], Backbone]:
    kept: dict[BackboneName, Backbone] = {}

    def load(name: BackboneName) -> Backbone:
        if name not in kept:
            shapes = parameter_shapes(name)
            state = {key: formula.parameter(formula.BACKBONE_SEED, key, shape) for key, shape in shapes.items()}
            kept[name] = Backbone(name, {key: torch.from_numpy(value) for key, value in state.items()})
        return kept[name]

    return load


def exact(name: str, *shape: int) -> Tensor:
    return torch.from_numpy(formula.picture(name, *shape))


def check(values: Golden, name: str, loss: Tensor, of: Tensor) -> None:
    (gradient,) = torch.autograd.grad(loss, of)
    np.testing.assert_allclose(loss.item(), values[name], rtol=EXACT)
    close(formula.digest(name, gradient.numpy()), values[f"gradient/{name}"], EXACT, name)


def close(found: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64], tolerance: float, name: str) -> None:
    """Digests: all values within `tolerance` of the tensor's root mean square, which stands first."""
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * wanted[0], err_msg=name)


# Losses


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("l1", losses.l1(1.0).loss),
        ("mse", losses.mse(1.0).loss),
        ("charbonnier", losses.charbonnier(1.0).loss),
        ("charbonnier", charbonnier),
        ("charbonnier_1e-6", losses.charbonnier(1.0, eps=1e-6).loss),
    ],
)
def test_pixel_losses(values: Golden, name: str, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    sr = exact("sr", 2, 3, 24, 16).requires_grad_()
    check(values, name, loss(sr, exact("hr", 2, 3, 24, 16)), sr)


@pytest.mark.parametrize("name", ["vgg19", "vgg16"])
@pytest.mark.parametrize(("kind", "compared"), [("perceptual", "features"), ("style", "style")])
def test_perceptual_and_style(
    values: Golden, backbone: Callable[[BackboneName], Backbone], name: BackboneName, kind: str, compared: Any
) -> None:
    sr, hr = exact("sr", 1, 3, 32, 32).requires_grad_(), exact("hr", 1, 3, 32, 32)
    eye = backbone(name).double()
    try:
        check(values, f"{kind}_{name}", Perceptual(eye, LAYERS[name], compared)(sr, hr), sr)
    finally:
        eye.float()


def test_artifact_map_and_ldl(values: Golden) -> None:
    sr, hr, ema = exact("sr", 2, 3, 20, 16).requires_grad_(), exact("hr", 2, 3, 20, 16), exact("ema", 2, 3, 20, 16)
    np.testing.assert_allclose(artifact_map(sr, hr, ema).detach(), values["map"], rtol=1e-6, atol=1e-12)
    check(values, "ldl", ldl(sr, hr, ema), sr)


GAMES = {
    "vanilla": games.non_saturating,
    "wgan_softplus": games.non_saturating,
    "lsgan": games.least_squares,
    "wgan": games.wasserstein,
    "hinge": games.hinge,
}


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.parametrize("kind", ["fake/discriminator", "real/discriminator", "real/generator"])
def test_games(values: Golden, name: str, kind: str) -> None:
    game = GAMES[name]
    label, side = kind.split("/")
    logits = torch.from_numpy(formula.numbers(f"logits/{label == 'real'}", 2, 1, 6, 5) * 3).requires_grad_()
    if side == "generator":
        # basicsr's weight of 0.1 is the generator's alone; ours is the term's
        check(values, f"{name}/{kind}", 0.1 * game.on_generator(logits), logits)
    else:
        check(values, f"{name}/{kind}", (game.on_real if label == "real" else game.on_fake)(logits), logits)


def test_minimax_is_the_negative_of_vanilla_on_fakes(values: Golden) -> None:
    logits = torch.from_numpy(formula.numbers("logits/False", 2, 1, 6, 5) * 3)
    np.testing.assert_allclose(-0.1 * games.minimax.on_generator(logits), values["vanilla/fake/generator"], rtol=EXACT)


def test_r1(values: Golden) -> None:
    """basicsr sums a picture's logits; ours divides by their number, so that r1 does not grow with the map of logits."""
    critic, real = formula.penalty_critic().float(), exact("hr", 2, 3, 16, 16).float()
    found = penalties.squared_gradient(critic, real) * 16 * 16
    np.testing.assert_allclose(found.item(), values["r1"], rtol=1e-5)


def test_gradient_penalty(values: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    critic = formula.penalty_critic().float()
    real, fake = (exact(name, 2, 3, 16, 16)[:, :, :1, :1].float() for name in ("hr", "sr"))
    mix = torch.from_numpy((formula.numbers("mix", 2, 1, 1, 1) + 1) / 2).float()
    # basicsr: mix · real + (1 - mix) · fake; ours goes the other way
    monkeypatch.setattr(torch, "rand", lambda *_shape, **_rest: 1 - mix)
    found = penalties.between(critic, real, fake, torch.Generator())
    np.testing.assert_allclose(found.item(), values["gradient_penalty"], rtol=1e-5)


# Whole steps


class Recorder(Group):
    """Alone, as Group() is; keeps the gradients that would have been averaged: the discriminator's are gone after a step."""

    seen: list[list[Tensor]]

    def average(self, gradients: Sequence[Tensor]) -> None:
        self.seen.append([gradient.clone() for gradient in gradients])


def filled(network: nn.Module, seed: int) -> None:
    """The formula's weights; spectral norm's vectors where they settle."""
    with torch.no_grad():
        for key, value in network.named_parameters():
            value.copy_(torch.from_numpy(formula.parameter(seed, key.removesuffix("_orig"), tuple(value.shape))))
        for module in network.modules():
            if hasattr(module, "weight_orig"):
                u, v = formula.top_singular(module.weight_orig.numpy())
                module.weight_u.copy_(torch.from_numpy(u))
                module.weight_v.copy_(torch.from_numpy(v))


def played(stage: Stage, size: int) -> tuple[Players, Facts, list[list[Tensor]]]:
    assert stage.adversary is not None
    network: Network = build(ModelSpec("golden", "rrdb", 4, features=8, growth=4, blocks=1))
    filled(network, formula.GENERATOR_SEED)
    ema = Ema(network, 0.999)
    ema.updates = 100_000  # a young average keeps less than basicsr's does; an old one as much
    filled(ema.network, formula.AVERAGE_SEED)
    adversary = Adversary(stage.adversary)
    filled(adversary.net, formula.DISCRIMINATOR_SEED)
    group = Recorder()
    object.__setattr__(group, "seen", [])  # a frozen dataclass
    optimizer = torch.optim.Adam(network.parameters(), betas=formula.BETAS)
    arithmetic = Arithmetic("fp32", torch.device("cpu"))
    players = Players(network, ema, optimizer, arithmetic, adversary, group)
    lr, hr = (exact(name, 2, 3, side, side).float() for name, side in (("lr", size // 4), ("hr", size)))
    return players, train_step(players, Pictures(lr, hr), stage, 0), group.seen


def stage_of(terms: tuple[Term, ...], adversary: AdversaryRecipe) -> Stage:
    return Stage("golden", 1000, terms, adversary, batch=2, learning_rate=formula.RATE_GENERATOR)


def adversary_of(net: Callable[[], Any], game: games.Game, weight: float) -> AdversaryRecipe:
    return AdversaryRecipe(net, game, weight, formula.RATE_DISCRIMINATOR, formula.BETAS)


def compare(name: str, players: Players, facts: Facts, gradients: list[list[Tensor]], terms: dict[str, str]) -> None:
    """`terms`: our name of each generator's loss → basicsr's, whose logged values are weighted."""
    wanted = golden(name)
    assert players.adversary is not None
    for ours, theirs in terms.items():
        found = float(facts[f"losses.{ours}"]) * float(facts[f"weights.{ours}"])
        np.testing.assert_allclose(found, wanted[f"loss/{theirs}"], rtol=1e-5, err_msg=ours)
    both = wanted["loss/l_d_real"] + wanted["loss/l_d_fake"]
    np.testing.assert_allclose(float(facts["game.loss"]), both, rtol=1e-5)

    networks = {"generator": players.network, "discriminator": players.adversary.net}
    counts = {part: len(list(network.parameters())) for part, network in networks.items()}
    by_length = {len(each): each for each in gradients}
    for part, network in networks.items():
        compare_all(wanted, f"gradient/{part}", network, by_length[counts[part]], 1e-3)
        compare_all(wanted, f"after/{part}", network, network.parameters(), 1e-4)
    if any(key.startswith("after/average") for key in wanted):
        average = players.ema.network
        compare_all(wanted, "after/average", average, average.parameters(), 1e-6)


def compare_all(wanted: Golden, prefix: str, network: nn.Module, tensors: Iterable[Tensor], tolerance: float) -> None:
    keys = [key.removesuffix("_orig") for key, _ in network.named_parameters()]
    assert {f"{prefix}/{key}" for key in keys} == {key for key in wanted if key.startswith(f"{prefix}/")}
    for key, tensor in zip(keys, tensors, strict=True):
        found = formula.digest(key, tensor.detach().double().numpy())
        close(found, wanted[f"{prefix}/{key}"], tolerance, f"{prefix}/{key}")


def test_step_of_esrgan(backbone: Callable[[BackboneName], Backbone]) -> None:
    """Relativistic average game, VGG-style discriminator with batch norm."""
    eye = Perceptual(backbone("vgg19"), {"conv2_2": 1.0})
    terms = (losses.l1(1e-2), Term("perceptual", 1.0, eye))
    adversary = adversary_of(lambda: VGGDiscriminator(2, 128), games.relativistic_average, 5e-3)
    names = {"l1": "l_g_pix", "perceptual": "l_g_percep", "adversary": "l_g_gan"}
    compare("step_esrgan", *played(stage_of(terms, adversary), 128), names)


def unet() -> AdversaryRecipe:
    return adversary_of(lambda: UNetDiscriminator(4), games.non_saturating, 0.1)


def test_step_of_real_esrgan(backbone: Callable[[BackboneName], Backbone]) -> None:
    """Vanilla game, U-Net with spectral norm, five layers of VGG19."""
    eye = Perceptual(backbone("vgg19"), LAYERS["vgg19"])
    terms = (Term("l1", 1.0, F.l1_loss), Term("perceptual", 1.0, eye))
    names = {"l1": "l_g_pix", "perceptual": "l_g_percep", "adversary": "l_g_gan"}
    compare("step_realesrgan", *played(stage_of(terms, unet()), 32), names)


def test_step_with_ldl() -> None:
    """Against the averaged generator's output, before it is updated."""
    names = {"l1": "l_g_pix", "ldl": "l_g_ldl", "adversary": "l_g_gan"}
    compare("step_realesrgan_ldl", *played(stage_of((losses.l1(1.0), losses.ldl(1.0)), unet()), 32), names)
