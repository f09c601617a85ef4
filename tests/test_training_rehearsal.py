"""Memory by steps without numbers, time by trials."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from upscale.image import Floats
from upscale.spec import ModelSpec
from upscale_training import rehearsal as module
from upscale_training.adversary import AdversaryRecipe
from upscale_training.adversary.multiscale import MultiScaleDiscriminator
from upscale_training.adversary.patch import PatchDiscriminator
from upscale_training.adversary.penalties import r1
from upscale_training.adversary.strided import StridedDiscriminator
from upscale_training.adversary.unet import UNetDiscriminator
from upscale_training.adversary.vgg import VGGDiscriminator
from upscale_training.backbones import random_backbone
from upscale_training.data.pictures import list_pictures
from upscale_training.degrade.presets import PRESETS
from upscale_training.errors import RecipeError
from upscale_training.losses import Late, ldl, perceptual
from upscale_training.players import Ground
from upscale_training.recipe import Recipe, Stage
from upscale_training.rehearsal import Need, memory_need, run_seconds, sample_seconds
from upscale_training.terms import Seen, Term

SPEC = ModelSpec("tiny", "compact", 2, features=8, blocks=2, activation="prelu")
L1 = Term("l1", 1.0, F.l1_loss)


def recipe_of(*terms: Term, spec: ModelSpec = SPEC, **changes: object) -> Recipe:
    stage = replace(Stage("only", 10, terms or (L1,), batch=4, crop=32), **changes)  # pyright: ignore[reportArgumentType]
    return Recipe("test", spec, (stage,), PRESETS["bicubic"], precision="fp32", seed=5)


def need(recipe: Recipe) -> Need:
    return memory_need(recipe, recipe.stages[0])


def test_memory_grows_with_crops_size_and_what_looks_at_them() -> None:
    plain, larger = need(recipe_of()), need(recipe_of(crop=64))
    assert larger.each == pytest.approx(4 * plain.each, rel=0.05)
    half = need(replace(recipe_of(), precision="bf16"))
    assert 0.4 * plain.each < half.each < 0.9 * plain.each
    judged = need(recipe_of(L1, ldl(1.0), adversary=AdversaryRecipe(partial(UNetDiscriminator, 16))))
    assert judged.each > 2 * plain.each
    assert judged.fixed > plain.fixed


def test_memory_of_a_compact_network_is_that_of_its_activations() -> None:
    """fp32: of each of 5 hidden layers the convolution's and the activation's output are kept, 48 channels each."""
    spec = ModelSpec("c", "compact", 2, features=48, blocks=4, activation="prelu")
    kept = 64 * 64 * 4 * 5 * 2 * 48
    assert module.SPARE * 0.95 * kept < need(recipe_of(spec=spec, crop=128)).each < module.SPARE * 1.5 * kept


@pytest.mark.parametrize(
    "adversary",
    [
        AdversaryRecipe(partial(VGGDiscriminator, 4)),
        AdversaryRecipe(partial(MultiScaleDiscriminator, partial(PatchDiscriminator, 8, 2), 2)),
        AdversaryRecipe(partial(StridedDiscriminator, 128, 48)),
        AdversaryRecipe(partial(PatchDiscriminator, 8, 2, norm="none"), penalties=(r1(1.0),)),
    ],
)
def test_every_adversary_can_be_rehearsed(adversary: AdversaryRecipe) -> None:
    judged, alone = need(recipe_of(adversary=adversary, crop=128)), need(recipe_of(crop=128))
    assert judged.each >= alone.each
    assert judged.fixed > alone.fixed


def test_a_discriminator_that_does_not_fit_the_crop_is_told_of() -> None:
    with pytest.raises(RecipeError, match="takes 128×128 pictures, not 64×64"):
        need(recipe_of(adversary=AdversaryRecipe(partial(VGGDiscriminator, 4)), crop=64))


def test_backbones_are_counted_without_being_there() -> None:
    seen, alone = need(recipe_of(L1, perceptual(1.0, "vgg16"), crop=64)), need(recipe_of(crop=64))
    weights = sum(value.numel() for value in random_backbone("vgg16", 0).parameters())
    assert seen.fixed - alone.fixed > 4 * weights
    assert seen.each > 64 * 64 * 4 * 64 * 2


def counted(sr: Tensor, hr: Tensor) -> Tensor:
    """A person's loss that needs numbers, which the rehearsal has not."""
    return (sr - hr).abs().mean() * (1 if float(hr.detach().mean()) > 0.5 else 2)


def test_a_loss_that_cannot_be_rehearsed_is_not_counted() -> None:
    assert need(recipe_of(L1, Term("own", 1.0, counted))).each >= need(recipe_of()).each


def test_the_recipes_losses_stay_usable() -> None:
    """What is rehearsed without numbers must not stay in the recipe."""
    late = perceptual(1.0, "vgg16")
    need(recipe_of(L1, late))
    assert isinstance(late.loss, Late)
    assert late.loss.built is None
    hr = torch.rand(1, 3, 32, 32)
    assert torch.isfinite(L1(Seen(hr, hr, hr)))


def test_a_trial_says_how_long_all_stages_will_take() -> None:
    adversary = AdversaryRecipe(partial(PatchDiscriminator, 8, 2, norm="none"))
    short = recipe_of(adversary=adversary)
    long = replace(short, stages=(*short.stages, replace(short.stages[0], steps=1_000_000)))
    ground = Ground(torch.device("cpu"))
    assert run_seconds(long, (1, 1), ground) > 1000 * run_seconds(short, (1,), ground) > 0


def broken(picture: Floats, rng: np.random.Generator) -> Floats:
    raise KeyError("noise")


def test_samples_are_made_on_trial(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((64, 64, 3), 99, np.uint8))
    listing = list_pictures([tmp_path], 32)
    assert sample_seconds(recipe_of(), listing) > 0
    with pytest.raises(RecipeError, match="broken fails with KeyError: 'noise'"):
        sample_seconds(recipe_of(degradation=lambda scale: broken), listing)
