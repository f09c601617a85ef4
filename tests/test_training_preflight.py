"""Checks before a run: pictures, settings, weights, memory, disk and time, and what is said of them."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from soft_pictures import drawn, folder_of

from upscale.checkpoint import write_safetensors
from upscale.errors import ModelError, OutputError
from upscale.spec import ModelSpec
from upscale_training import preflight as module
from upscale_training.adversary import AdversaryRecipe
from upscale_training.adversary.unet import UNetDiscriminator
from upscale_training.backbones import Backbone, BackboneName
from upscale_training.data.pictures import Listing, list_pictures
from upscale_training.degrade.presets import PRESETS
from upscale_training.errors import BackboneMissingError, DataError, RecipeError
from upscale_training.generator import checkpoint_of, fresh
from upscale_training.losses import perceptual
from upscale_training.order import Found, Order
from upscale_training.preflight import checked, preflight, start_warnings
from upscale_training.recipe import Recipe, Stage
from upscale_training.rehearsal import Need, memory_need
from upscale_training.terms import Term

SPEC = ModelSpec("tiny", "compact", 2, features=8, blocks=2, activation="prelu")
L1 = Term("l1", 1.0, F.l1_loss)


def recipe_of(*terms: Term, **changes: object) -> Recipe:
    stage = replace(Stage("only", 10, terms or (L1,), batch=4, crop=32), **changes)  # pyright: ignore[reportArgumentType]
    return Recipe("test", SPEC, (stage,), PRESETS["bicubic"], precision="fp32", seed=5, log_every=5, validate_every=5)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "photos", range(12))


@pytest.fixture
def val(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "val", range(100, 103))


def listing_of(folder: Path) -> Listing:
    return list_pictures([folder], 32)


Sought = Callable[..., module.Findings]


@pytest.fixture
def findings(photos: Path, val: Path) -> Sought:
    def sought(recipe: Recipe, workers: int | None = None, **options: object) -> module.Findings:
        order = Order(Path("recipe.py"), (photos,), photos.parent / "run", workers=workers)
        found = Found(listing_of(photos), listing_of(val))
        return preflight(order, recipe, found, torch.device("cpu"), **options)  # pyright: ignore[reportArgumentType]

    return sought


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that is known at once, for tests of something else."""
    monkeypatch.setattr(module, "memory_need", lambda recipe, stage: Need(1000, 1000, 10_000))


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    def only(count: float) -> None:
        monkeypatch.setattr(module, "free_bytes", lambda device: int(count))

    return only


def test_a_sound_run_has_facts_and_no_warnings(findings: Sought, photos: Path) -> None:
    found = findings(recipe_of())
    assert found.warnings == ()
    assert found.train == listing_of(photos)
    assert found.parts == (1,)
    assert found.seconds is None
    assert found.facts[0].startswith("12 pictures of 0.02 megapixels (median); each is seen 3 times")
    assert "memory for 4 crops of 32" in found.facts[1]


def test_twins_of_held_out_pictures_are_not_trained_on(photos: Path, val: Path) -> None:
    cv2.imwrite(str(photos / "saved.jpg"), drawn(101), [cv2.IMWRITE_JPEG_QUALITY, 30])
    kept, warnings = checked(listing_of(photos), listing_of(val))
    assert [entry.path.name for entry in kept.entries] == [f"{number:02}.png" for number in range(12)]
    said = "1 training pictures are held out too and are not trained on: saved.jpg is 101.png"
    assert warnings == [said]


def test_nothing_left_after_twins_is_an_error(photos: Path, val: Path) -> None:
    for path in photos.iterdir():
        shutil.copy(path, val / path.name)
    with pytest.raises(DataError, match="every one is held out too; give --val others"):
        checked(listing_of(photos), listing_of(val))


def test_nothing_that_can_be_decoded_is_an_error(tmp_path: Path, val: Path) -> None:
    half = tmp_path / "half.jpg"
    half.write_bytes(cv2.imencode(".jpg", drawn(50))[1].tobytes()[:3000])
    with pytest.raises(DataError, match=r"none of 1 training pictures can be used; the first: .*half\.jpg"):
        checked(list_pictures([half], 32), listing_of(val))


def test_too_few_to_hold_some_out_is_said(photos: Path) -> None:
    listing = listing_of(photos)
    kept, warnings = checked(listing, listing)
    assert kept == listing
    assert "judged on the pictures that it learns from" in warnings[0]


def test_pictures_that_end_too_early_or_are_small_are_left_out_and_counted(photos: Path, val: Path) -> None:
    whole = cv2.imencode(".jpg", drawn(50))[1].tobytes()
    (photos / "half.jpg").write_bytes(whole[: len(whole) * 6 // 10])
    (photos / "tiny.png").write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    kept, warnings = checked(listing_of(photos), listing_of(val))
    assert len(kept.entries) == 12
    assert {bad.path.name for bad in kept.bad} == {"half.jpg", "tiny.png"}
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
def test_few_pictures_for_many_steps_are_warned_of(findings: Sought) -> None:
    assert "12 pictures are few for 4000 samples" in findings(recipe_of(steps=1000)).warnings[0]


@pytest.mark.parametrize(
    ("changes", "message"), [({"crop": 33}, "a crop of 33 is no multiple of 2"), ({}, "cannot share")]
)
def test_settings_that_contradict_each_other(findings: Sought, changes: dict[str, int], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        findings(recipe_of(**changes), world=3)


def test_a_later_stages_missing_backbone_ends_the_run_at_once(findings: Sought) -> None:
    def missing(name: BackboneName) -> Backbone:
        raise BackboneMissingError(f"{name} is missing; train with --pixel-only")

    first = recipe_of()
    later = replace(first.stages[0], name="later", terms=(perceptual(1.0),))
    with pytest.raises(BackboneMissingError, match="vgg19 is missing"):
        findings(replace(first, stages=(*first.stages, later)), load=missing)


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
    assert start_warnings(recipe_of()) == []


def test_a_batch_that_does_not_fit_is_cut(findings: Sought, photos: Path, free: Callable[[float], None]) -> None:
    recipe = recipe_of(batch=8)
    need, cache = memory_need(recipe, recipe.stages[0]), 3 * listing_of(photos).pixels
    free((need.total(3) + cache + 10) / module.SHARE)
    found = findings(recipe)
    assert found.parts == (3,)
    assert found.bytes_needed == (need.total(3),)
    assert "it is cut into 3 parts" in found.warnings[0]


def test_one_crop_that_does_not_fit_is_an_error(findings: Sought, free: Callable[[float], None]) -> None:
    free(1e5)
    with pytest.raises(RecipeError, match=r"stage only: one crop of 32 pixels needs .* lower --crop"):
        findings(recipe_of())


@pytest.mark.usefixtures("light")
def test_disks_that_are_full(findings: Sought, monkeypatch: pytest.MonkeyPatch) -> None:
    room = SimpleNamespace(free=1000)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda place: room)
    with pytest.raises(OutputError, match="a checkpoint takes"):
        findings(recipe_of())
    room.free = 150_000
    assert "make room" in findings(recipe_of()).warnings[0]


@pytest.mark.usefixtures("light")
def test_the_time_of_a_trial_includes_samples_that_the_same_cores_make(
    findings: Sought, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "sample_seconds", lambda recipe, train: 0.5)
    monkeypatch.setattr(module, "run_seconds", lambda recipe, parts, ground: 100.0 * len(parts))
    found = findings(recipe_of(steps=100), trial=True)
    assert found.seconds == 100 + 0.5 * 4 * 100
    assert found.facts[-1] == "about 5 minutes for 100 steps on cpu, by a trial of each stage"
    assert findings(recipe_of(steps=100), workers=2, trial=True).seconds == 100
