"""Checks before a run: twins, broken and gray pictures, settings, weights, memory, disk and time."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from upscale.checkpoint import write_safetensors
from upscale.errors import ModelError, OutputError
from upscale.image import Floats
from upscale.spec import ModelSpec
from upscale_training import preflight as module
from upscale_training.adversary import AdversaryRecipe
from upscale_training.adversary.multiscale import MultiScaleDiscriminator
from upscale_training.adversary.patch import PatchDiscriminator
from upscale_training.adversary.penalties import r1
from upscale_training.adversary.strided import StridedDiscriminator
from upscale_training.adversary.unet import UNetDiscriminator
from upscale_training.adversary.vgg import VGGDiscriminator
from upscale_training.backbones import Backbone, BackboneName, random_backbone
from upscale_training.data.pictures import Listing, list_pictures
from upscale_training.degrade.presets import PRESETS
from upscale_training.errors import BackboneMissingError, DataError, RecipeError
from upscale_training.generator import checkpoint_of, fresh
from upscale_training.losses import ldl, perceptual
from upscale_training.preflight import checked, memory_need, preflight, start_warnings
from upscale_training.recipe import Recipe, Stage
from upscale_training.run import Found, Order
from upscale_training.terms import Seen, Term

SPEC = ModelSpec("tiny", "compact", 2, features=8, blocks=2, activation="prelu")
CPU = torch.device("cpu")
L1 = Term("l1", 1.0, F.l1_loss)


def recipe_of(*terms: Term, spec: ModelSpec = SPEC, **changes: object) -> Recipe:
    stage = replace(Stage("only", 10, terms or (L1,), batch=4, crop=32), **changes)  # pyright: ignore[reportArgumentType]
    return Recipe("test", spec, (stage,), PRESETS["bicubic"], precision="fp32", seed=5, log_every=5, validate_every=5)


def drawn(seed: int, width: int = 160, height: int = 120) -> np.ndarray:
    """A picture of soft colored shapes, uint8 BGR."""
    rng = np.random.default_rng(seed)
    coarse = np.float32(rng.random((9, 12, 3)) * 255)
    soft = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.uint8(np.clip(soft + rng.normal(0, 3, soft.shape), 0, 255))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve pictures, 160×120."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(12):
        cv2.imwrite(str(folder / f"{number:02}.png"), drawn(number))
    return folder


@pytest.fixture
def val(tmp_path: Path) -> Path:
    folder = tmp_path / "val"
    folder.mkdir()
    for number in range(100, 103):
        cv2.imwrite(str(folder / f"{number}.png"), drawn(number))
    return folder


def listing_of(folder: Path) -> Listing:
    return list_pictures([folder], 32)


def findings(photos: Path, val: Path, recipe: Recipe, trial: bool = False, **options: object) -> module.Findings:
    order = Order(Path("recipe.py"), (photos,), photos.parent / "run", **options)  # pyright: ignore[reportArgumentType]
    return preflight(order, recipe, Found(listing_of(photos), listing_of(val)), CPU, trial=trial)


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that is known at once, for tests of something else."""
    monkeypatch.setattr(module, "memory_need", lambda recipe, stage: module.Need(1000, 1000, 10_000))


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    def only(count: float) -> None:
        monkeypatch.setattr(module, "free_bytes", lambda device: int(count))

    return only


def test_a_sound_run_has_facts_and_no_warnings(photos: Path, val: Path) -> None:
    found = findings(photos, val, recipe_of())
    assert found.warnings == ()
    assert found.train == listing_of(photos)
    assert found.parts == (1,)
    assert found.seconds is None
    assert found.facts[0].startswith("12 pictures of 0.02 megapixels (median); each is seen 3 times")
    assert "memory for 4 crops of 32" in found.facts[1]


def other_size(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)


def as_it_is(picture: np.ndarray) -> np.ndarray:
    return picture


@pytest.mark.parametrize(
    ("name", "change", "options"),
    [
        ("same.png", as_it_is, []),
        ("saved.jpg", as_it_is, [cv2.IMWRITE_JPEG_QUALITY, 30]),
        ("small.webp", other_size, [cv2.IMWRITE_WEBP_QUALITY, 60]),
        ("small.png", other_size, []),
    ],
)
def test_twins_of_held_out_pictures_are_not_trained_on(
    photos: Path, val: Path, name: str, change: Callable[[np.ndarray], np.ndarray], options: list[int]
) -> None:
    cv2.imwrite(str(photos / name), change(drawn(101)), options)
    kept, warnings = checked(listing_of(photos), listing_of(val))
    assert name not in {entry.path.name for entry in kept.entries}
    assert len(kept.entries) == 12
    assert any(f"1 training pictures are held out too and are not trained on: {name} is 101.png" in w for w in warnings)


def test_large_jpegs_are_decoded_small_and_still_recognized(photos: Path, val: Path) -> None:
    large = cv2.resize(drawn(102), (1280, 960), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(photos / "large.jpg"), large)
    kept, _ = checked(listing_of(photos), listing_of(val))
    assert "large.jpg" not in {entry.path.name for entry in kept.entries}


def test_identical_files_are_found_where_thumbnails_say_nothing(
    photos: Path, val: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEVELS_APART", -1.0)
    shutil.copy(val / "100.png", photos / "copy.png")
    kept, _ = checked(listing_of(photos), listing_of(val))
    assert {entry.path.name for entry in listing_of(photos).entries} - {e.path.name for e in kept.entries} == {
        "copy.png"
    }


def test_flat_pictures_of_different_brightness_are_no_twins(photos: Path, val: Path) -> None:
    cv2.imwrite(str(photos / "dark.png"), np.full((64, 64, 3), 20, np.uint8))
    cv2.imwrite(str(val / "bright.png"), np.full((64, 64, 3), 230, np.uint8))
    kept, _ = checked(listing_of(photos), listing_of(val))
    assert len(kept.entries) == 13


def test_nothing_left_after_twins_is_an_error(photos: Path, val: Path) -> None:
    for path in photos.iterdir():
        shutil.copy(path, val / path.name)
    with pytest.raises(DataError, match="every one is held out too; give --val others"):
        checked(listing_of(photos), listing_of(val))


def test_too_few_to_hold_some_out_is_said(photos: Path) -> None:
    listing = listing_of(photos)
    kept, warnings = checked(listing, listing)
    assert kept == listing
    assert "judged on the pictures that it learns from" in warnings[0]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_pictures_that_end_too_early_are_left_out_and_counted(photos: Path, val: Path, suffix: str) -> None:
    whole = cv2.imencode(suffix, drawn(50))[1].tobytes()
    (photos / f"half{suffix}").write_bytes(whole[: len(whole) * 6 // 10])
    (photos / "tiny.png").write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    listing = listing_of(photos)
    kept, warnings = checked(listing, listing_of(val))
    assert f"half{suffix}" not in {entry.path.name for entry in kept.entries}
    assert {bad.path.name for bad in kept.bad} == {f"half{suffix}", "tiny.png"}
    assert warnings[0].startswith("2 of 14 pictures are left out: ")
    assert "tiny.png" in warnings[0]


def test_gray_pictures_are_warned_of(tmp_path: Path, val: Path) -> None:
    folder = tmp_path / "gray"
    folder.mkdir()
    for number in range(4):
        cv2.imwrite(str(folder / f"{number}.jpg"), cv2.cvtColor(drawn(number), cv2.COLOR_BGR2GRAY))
    assert "4 of 4 pictures have no color" in checked(listing_of(folder), listing_of(val))[1][0]
    cv2.imwrite(str(folder / "color.jpg"), drawn(9))
    assert not checked(listing_of(folder), listing_of(val))[1]


@pytest.mark.usefixtures("light")
def test_few_pictures_for_many_steps_are_warned_of(photos: Path, val: Path) -> None:
    found = findings(photos, val, recipe_of(steps=1000))
    assert "12 pictures are few for 4000 samples" in found.warnings[0]


@pytest.mark.parametrize(
    ("changes", "message"), [({"crop": 33}, "a crop of 33 is no multiple of 2"), ({}, "cannot share")]
)
def test_settings_that_contradict_each_other(photos: Path, val: Path, changes: dict[str, int], message: str) -> None:
    order = Order(Path("recipe.py"), (photos,), photos.parent / "run")
    with pytest.raises(RecipeError, match=message):
        preflight(order, recipe_of(**changes), Found(listing_of(photos), listing_of(val)), CPU, world=3)


def test_a_later_stages_missing_backbone_ends_the_run_at_once(photos: Path, val: Path) -> None:
    def missing(name: BackboneName) -> Backbone:
        raise BackboneMissingError(f"{name} is missing; train with --pixel-only")

    first = recipe_of()
    later = replace(first.stages[0], name="later", terms=(perceptual(1.0),))
    both, order = (
        replace(first, stages=(*first.stages, later)),
        Order(Path("recipe.py"), (photos,), photos.parent / "run"),
    )
    with pytest.raises(BackboneMissingError, match="vgg19 is missing"):
        preflight(order, both, Found(listing_of(photos), listing_of(val)), CPU, load=missing)


def test_the_model_to_begin_with(tmp_path: Path) -> None:
    file = tmp_path / "parent.safetensors"
    parent = replace(SPEC, name="parent", blocks=3)
    write_safetensors(checkpoint_of(fresh(parent, 0), {}), file)
    assert start_warnings(replace(recipe_of(), start=str(file), network=parent)) == []
    assert "blocks 3 instead of 2" in start_warnings(replace(recipe_of(), start=str(file)))[0]
    other = ModelSpec("r", "rrdb", 2, features=8, growth=4, blocks=1)
    with pytest.raises(RecipeError, match="nothing to take over"):
        start_warnings(replace(recipe_of(), start=str(file), network=other))
    with pytest.raises(ModelError):
        start_warnings(replace(recipe_of(), start=str(tmp_path / "gone.safetensors")))
    assert "begins from scratch" in start_warnings(recipe_of(adversary=AdversaryRecipe(UNetDiscriminator)))[0]


def broken(picture: Floats, rng: np.random.Generator) -> Floats:
    raise KeyError("noise")


def test_a_degradation_that_fails_is_named(photos: Path, val: Path) -> None:
    with pytest.raises(RecipeError, match=r"stage only: its degradation fails .KeyError: 'noise'"):
        findings(photos, val, recipe_of(degradation=lambda scale: broken))


def test_memory_grows_with_crops_size_and_what_looks_at_them() -> None:
    def need(recipe: Recipe) -> module.Need:
        return memory_need(recipe, recipe.stages[0])

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
    recipe = recipe_of(spec=spec, crop=128)
    kept = 64 * 64 * 4 * 5 * 2 * 48
    assert module.SPARE * 0.95 * kept < memory_need(recipe, recipe.stages[0]).each < module.SPARE * 1.5 * kept


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
    recipe, plain = recipe_of(adversary=adversary, crop=128), recipe_of(crop=128)
    need, alone = (memory_need(one, one.stages[0]) for one in (recipe, plain))
    assert need.each >= alone.each
    assert need.fixed > alone.fixed


def test_backbones_are_counted_without_being_there(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(L1, perceptual(1.0, "vgg16"), crop=64)
    plain = recipe_of(crop=64)
    seen, alone = (memory_need(one, one.stages[0]) for one in (recipe, plain))
    weights = sum(value.numel() for value in random_backbone("vgg16", 0).parameters())
    assert seen.fixed - alone.fixed > 4 * weights
    assert seen.each > 64 * 64 * 4 * 64 * 2


def test_a_discriminator_that_does_not_fit_the_crop_is_told_of_before_the_run(photos: Path, val: Path) -> None:
    with pytest.raises(RecipeError, match="takes 128×128 pictures, not 64×64"):
        findings(photos, val, recipe_of(adversary=AdversaryRecipe(partial(VGGDiscriminator, 4)), crop=64))


def counted(sr: Tensor, hr: Tensor) -> Tensor:
    """A person's loss that needs numbers, which the rehearsal has not."""
    return (sr - hr).abs().mean() * (1 if float(hr.detach().mean()) > 0.5 else 2)


def test_a_loss_that_cannot_be_rehearsed_is_not_counted() -> None:
    recipe = recipe_of(L1, Term("own", 1.0, counted))
    plain = recipe_of()
    assert memory_need(recipe, recipe.stages[0]).each >= memory_need(plain, plain.stages[0]).each


def test_a_batch_that_does_not_fit_is_cut(photos: Path, val: Path, free: Callable[[float], None]) -> None:
    recipe = recipe_of(batch=8)
    need, cache = memory_need(recipe, recipe.stages[0]), 3 * listing_of(photos).pixels
    free((need.total(3) + cache + 10) / module.SHARE)
    found = findings(photos, val, recipe)
    assert found.parts == (3,)
    assert found.bytes_needed == (need.total(3),)
    assert "it is cut into 3 parts" in found.warnings[0]


def test_one_crop_that_does_not_fit_is_an_error(photos: Path, val: Path, free: Callable[[float], None]) -> None:
    free(1e5)
    with pytest.raises(RecipeError, match=r"stage only: one crop of 32 pixels needs .* lower --crop"):
        findings(photos, val, recipe_of())


@pytest.mark.usefixtures("light")
def test_disks_that_are_full(photos: Path, val: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = SimpleNamespace(free=1000)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda place: room)
    with pytest.raises(OutputError, match="a checkpoint takes"):
        findings(photos, val, recipe_of())
    room.free = 150_000
    assert "make room" in findings(photos, val, recipe_of()).warnings[0]


@pytest.mark.usefixtures("light")
def test_a_trial_says_how_long_it_will_take(photos: Path, val: Path) -> None:
    adversary = AdversaryRecipe(partial(PatchDiscriminator, 8, 2, norm="none"))
    short = findings(photos, val, recipe_of(adversary=adversary, steps=10), trial=True)
    long = findings(photos, val, recipe_of(adversary=adversary, steps=100_000), trial=True)
    assert short.seconds is not None
    assert long.seconds is not None
    assert long.seconds > 100 * short.seconds > 0
    assert "for 100000 steps on cpu" in long.facts[-1]


def test_a_trial_leaves_the_recipes_losses_usable(photos: Path, val: Path) -> None:
    """What is rehearsed without numbers must not stay in the recipe."""
    late = perceptual(1.0, "vgg16")
    recipe = recipe_of(L1, late, crop=32)
    memory_need(recipe, recipe.stages[0])
    loss = late.loss
    assert getattr(loss, "built", None) is None
    hr = torch.rand(1, 3, 32, 32)
    assert torch.isfinite(L1(Seen(hr, hr, hr)))
