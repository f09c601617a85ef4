"""Pictures to learn from: what is found, what samples are made of, and that all chance comes from (seed, index)."""

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from upscale.image import Floats
from upscale_training.data.feed import Batch, Share, feed, numbers
from upscale_training.data.held_out import pairs, split
from upscale_training.data.pictures import Listing, Reader, list_pictures, read_picture
from upscale_training.data.samples import Cut, Samples
from upscale_training.degrade.combine import chain
from upscale_training.degrade.stills import jpeg
from upscale_training.errors import DataError, RecipeError


def halved(picture: Floats, rng: np.random.Generator) -> Floats:
    """A degradation with chance in it, so that a lost seed shows."""
    small = cv2.resize(picture, (picture.shape[1] // 2, picture.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return np.float32(small + rng.normal(0, 0.05, small.shape))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures of noise and gradients, 80×96 pixels, one in a subfolder."""
    place = tmp_path / "photos"
    (place / "more").mkdir(parents=True)
    for index in range(6):
        rng = np.random.default_rng(index)
        picture = np.uint8(np.clip(rng.normal(128, 40, (80, 96, 3)), 0, 255))
        name = place / ("more/x.png" if index == 5 else f"{index}.png")
        cv2.imwrite(str(name), picture)
    return place


def samples_in(folder: Path, seed: int = 3, crop: int = 32) -> Samples:
    return Samples(list_pictures([folder], crop), Cut(crop, (0.5, 1.0)), 2, halved, seed)


def batches(samples: Samples, steps: range, workers: int = 0, share: Share | None = None) -> list[Batch]:
    return list(feed(partial(same, samples), steps, 4, share or Share(), workers))


def same(samples: Samples) -> Samples:
    return samples


def test_listing_finds_subfolders_and_says_why_others_are_left_out(folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (folder / "notes.txt").write_text("no picture")
    cv2.imwrite(str(folder / "tiny.png"), np.zeros((8, 8, 3), np.uint8))
    listing = list_pictures([folder], 32)
    assert [entry.path.name for entry in listing.entries] == ["0.png", "1.png", "2.png", "3.png", "4.png", "x.png"]
    reasons = {bad.path.name: bad.reason for bad in listing.bad}
    assert reasons.keys() == {"broken.png", "tiny.png"}
    assert "8×8 is smaller than a crop of 32×32" in reasons["tiny.png"]


def test_a_folder_without_pictures_is_refused_with_the_reason(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "tiny.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="no picture of at least 32×32"):
        list_pictures([tmp_path], 32)
    with pytest.raises(DataError, match="no such file or folder"):
        list_pictures([tmp_path / "gone"], 32)


def test_sixteen_bits_stay_until_the_crop_is_cut(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (40, 40, 3)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    assert np.array_equal(read_picture(tmp_path / "deep.png"), deep[..., ::-1])


def test_samples_have_the_promised_shapes_and_differ(folder: Path) -> None:
    samples, reader = replace(samples_in(folder), with_clean=True), Reader()
    made = [samples.sample(index, reader) for index in range(6)]
    for sample in made:
        assert sample.hr.shape == (32, 32, 3)
        assert sample.hr.dtype == np.uint8
        assert sample.lr.shape == (16, 16, 3)
        assert sample.clean is not None
        assert not np.array_equal(sample.clean, sample.lr)
        # The twin shows the same place: its mean color is the original's.
        assert abs(float(sample.lr.mean()) - float(sample.hr.mean())) < 6
    assert len({sample.hr.tobytes() for sample in made}) == 6


def test_every_picture_is_used_once_in_an_epoch(folder: Path) -> None:
    samples = samples_in(folder)
    names = [samples._entry(index, 0).path.name for index in range(12)]  # pyright: ignore[reportPrivateUsage]
    assert sorted(names[:6]) == sorted(names[6:]) == ["0.png", "1.png", "2.png", "3.png", "4.png", "x.png"]
    assert names[:6] != names[6:]


def test_the_same_seed_gives_the_same_data_for_any_number_of_workers_and_any_beginning(folder: Path) -> None:
    samples = samples_in(folder)
    alone = batches(samples, range(4))
    for others in (batches(samples, range(4), workers=2), batches(samples, range(4))):
        for one, other in zip(alone, others, strict=True):
            assert torch.equal(one.lr, other.lr)
            assert torch.equal(one.hr, other.hr)
    later = batches(samples, range(2, 4))
    assert torch.equal(later[0].lr, alone[2].lr)
    assert not torch.equal(batches(samples_in(folder, seed=4), range(1))[0].lr, alone[0].lr)


def test_processes_share_a_batch_without_overlap(folder: Path) -> None:
    whole = batches(samples_in(folder), range(2))
    halves = [batches(samples_in(folder), range(2), share=Share(rank, 2)) for rank in range(2)]
    for step in range(2):
        assert torch.equal(torch.cat([half[step].hr for half in halves]), whole[step].hr)
    assert list(numbers(3, 4, Share(1, 2))) == [14, 15]


def test_a_bad_picture_is_replaced_and_told_of(folder: Path) -> None:
    samples = samples_in(folder)
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:200])
    made = [samples.sample(index, Reader()) for index in range(6)]
    bad = [one for sample in made for one in sample.bad]
    assert [one.path.name for one in bad] == ["2.png"]
    assert "2.png" in bad[0].reason
    assert all(sample.hr.shape == (32, 32, 3) for sample in made)


def test_a_lost_disk_ends_the_run(folder: Path) -> None:
    samples = samples_in(folder)
    for entry in samples.listing.entries:
        entry.path.unlink()
    with pytest.raises(DataError, match="is the disk still there"):
        samples.sample(0, Reader())


WRONG: list[tuple[Callable[[Floats], Any], str]] = [
    (lambda small: small * np.nan, "returned NaN"),
    (lambda small: small * 255, "returned values from .* to "),
    (lambda small: np.uint8(small * 255), r"returned an array of uint8, \(16, 16, 3\)"),
    (lambda small: small[..., 0], r"returned an array of float32, \(16, 16\)"),
    (lambda small: small.repeat(2, 0), r"returned an array of float32, \(32, 16, 3\)"),
    (lambda small: small.tolist(), "returned a value of type list"),
    (lambda small: None, "returned None"),
]


@pytest.mark.parametrize(("spoiled", "said"), WRONG)
def test_a_degradation_that_returns_nonsense_is_named(
    folder: Path, spoiled: Callable[[Floats], Any], said: str
) -> None:
    def spoil(picture: Floats, rng: np.random.Generator) -> Any:
        return spoiled(picture[::2, ::2])

    with pytest.raises(RecipeError, match=rf"test_training_data\.py:\d+: .*spoil {said}.*\[0, 1\], \(16, 16, 3\)"):
        replace(samples_in(folder), degradation=spoil).sample(0, Reader())
    with pytest.raises(RecipeError, match=r"spoil returned .*expected floats in \[0, 1\], \(32, 32, 3\)"):
        replace(samples_in(folder), target=spoil).sample(0, Reader())


def test_a_chain_without_a_shrink_is_told_by_its_steps(folder: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"jpeg\(30\).* returned .*\(32, 32, 3\), expected .* as shrink\(2\) leaves it"
    ):
        replace(samples_in(folder), degradation=chain(jpeg(30))).sample(0, Reader())


def test_what_filters_and_noise_overshoot_is_no_nonsense(folder: Path) -> None:
    def overshooting(picture: Floats, rng: np.random.Generator) -> Floats:
        return picture[::2, ::2] * 2 - np.float32(0.5)

    assert replace(samples_in(folder), degradation=overshooting).sample(0, Reader()).lr.shape == (16, 16, 3)


def leaving(picture: Floats, rng: np.random.Generator) -> Floats:
    sys.exit(0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_degradation_that_fails_is_one_line_from_any_process(folder: Path, workers: int) -> None:
    with pytest.raises(RecipeError) as caught:
        batches(replace(samples_in(folder), degradation=leaving), range(1), workers)
    assert re.fullmatch(r"\S+test_training_data.py:\d+: leaving fails with sys.exit\(0\), which .*", str(caught.value))


def test_a_crop_must_be_a_multiple_of_the_scale(folder: Path) -> None:
    with pytest.raises(DataError, match="no multiple of the scale"):
        samples_in(folder, crop=33)


def test_detailed_places_are_preferred(tmp_path: Path) -> None:
    picture = np.full((64, 512, 3), 128, np.uint8)
    picture[:, 400:] = np.random.default_rng(0).integers(0, 256, (64, 112, 3))
    cv2.imwrite(str(tmp_path / "sky.png"), picture)
    listing = list_pictures([tmp_path], 32)

    def share(detail: int) -> float:
        samples = Samples(listing, Cut(32, detail=detail), 2, halved, 0)
        reader = Reader()
        return float(np.mean([samples.sample(index, reader).hr.std() > 10 for index in range(40)]))

    assert share(8) > share(1) + 0.3


def test_held_out_pictures_do_not_depend_on_the_folders_order(folder: Path) -> None:
    listing = list_pictures([folder], 32)
    turned = Listing(listing.entries[::-1], ())
    train, held_out = split(listing, 12)
    assert len(held_out.entries) == 1
    assert {entry.path for entry in train.entries}.isdisjoint(entry.path for entry in held_out.entries)
    assert {entry.path for entry in split(turned, 12)[1].entries} == {entry.path for entry in held_out.entries}
    with pytest.raises(DataError, match="too few to hold some out"):
        split(Listing(listing.entries[:3], ()), 12)


def test_validation_pairs_are_the_same_every_time(folder: Path) -> None:
    listing = list_pictures([folder], 32)
    first, bad = pairs(listing, halved, 2, seed=1, count=3, side=51)
    again, _ = pairs(listing, halved, 2, seed=1, count=3, side=51)
    assert not bad
    assert [pair.name for pair in first] == ["0", "2", "4"]
    assert all(np.array_equal(one.lr, other.lr) for one, other in zip(first, again, strict=True))
    assert first[0].hr.shape == (50, 50, 3)
    assert first[0].lr.shape == (25, 25, 3)


def test_the_cache_keeps_to_its_bound(folder: Path) -> None:
    entries = list_pictures([folder], 32).entries
    reader = Reader(capacity=2 * 80 * 96 * 3)
    for entry in entries:
        reader.read(entry.path)
    assert len(reader._kept) == 2  # pyright: ignore[reportPrivateUsage]
    assert reader.read(entries[-1].path) is reader.read(entries[-1].path)
