"""The contact sheet: originals, degraded variants, and what was drawn, where it belongs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from upscale.image import Array, Floats, from_float, to_float
from upscale_training.data.pictures import list_pictures
from upscale_training.degrade import note
from upscale_training.degrade.combine import chain
from upscale_training.degrade.noise import gaussian_noise
from upscale_training.degrade.presets import PRESETS, mild
from upscale_training.degrade.resize import shrink
from upscale_training.errors import DataError, RecipeError
from upscale_training.preview import CROP, contact_sheet, described, detailed_crop, read_some

GAP = 8


@pytest.fixture
def picture(make_photo: Callable[..., Array]) -> Floats:
    return to_float(make_photo(100, 130))


def test_cells_hold_the_original_and_the_variants(picture: Floats) -> None:
    degradation = chain(shrink(4), gaussian_noise(20))
    sheet = contact_sheet([("one", picture), ("two", 1 - picture)], degradation, 4, seed=3, count=2)
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] == GAP + 3 * (128 + GAP)
    crop = detailed_crop(picture, 4)
    np.testing.assert_array_equal(sheet[GAP : GAP + 100, GAP : GAP + 128], from_float(crop, np.uint8))
    for variant in range(2):
        left = GAP + (variant + 1) * (128 + GAP)
        expected = from_float(degradation(crop, np.random.default_rng([3, 0, variant])), np.uint8)
        shown = sheet[GAP : GAP + 100, left : left + 128]
        np.testing.assert_array_equal(shown, expected.repeat(4, 0).repeat(4, 1))


def test_what_was_drawn_is_written_beneath(picture: Floats) -> None:
    def silent(picture: Floats, rng: np.random.Generator) -> Floats:
        return picture

    def talking(picture: Floats, rng: np.random.Generator) -> Floats:
        note("step", value=rng.random())
        note("another step with a long name", strength=0.5, kind="a very long kind of thing that needs two lines")
        return picture

    quiet, loud = (contact_sheet([("name", picture)], way, 1, count=1) for way in (silent, talking))
    assert loud.shape[0] >= quiet.shape[0] + 2 * 14
    assert loud.shape[1] == quiet.shape[1]
    below = loud[GAP + 100 + GAP :, GAP + 130 + GAP :]
    assert (below < 100).any(), "no ink"
    assert (loud[:, -GAP:] > 240).all(), "text runs out of its column"


def test_notes_read_as_text() -> None:
    assert described(("jpeg", {"quality": 53, "subsampling": "4:2:0"})) == "jpeg: quality 53, subsampling 4:2:0"
    assert described(("noise", {"sigma": 3.14159, "gray": True})) == "noise: sigma 3.14, gray yes"
    assert described(("usm", {})) == "usm"


def test_the_crop_is_where_the_detail_is(make_photo: Callable[..., Array]) -> None:
    wide = np.full((300, 900, 3), 0.5, np.float32)
    wide[20:220, 650:850] = to_float(make_photo(200, 200))
    crop = detailed_crop(wide, 4)
    assert crop.shape == (CROP, CROP, 3)
    assert np.abs(np.diff(crop, axis=1)).sum() > 0.8 * np.abs(np.diff(wide, axis=1)).sum()
    assert detailed_crop(wide[:, :50], 3).shape == (222, 48, 3)


def test_same_seed_same_sheet(picture: Floats) -> None:
    sheets = [contact_sheet([("one", picture)], mild(2), 2, seed=seed, count=2) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(sheets[0], sheets[1])
    assert sheets[0].shape != sheets[2].shape or not np.array_equal(sheets[0], sheets[2])


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_shown(name: str, picture: Floats) -> None:
    sheet = contact_sheet([("small", picture[:30, :41]), ("large", picture)], PRESETS[name](3), 3, count=3)
    assert sheet.shape[1] == GAP + 4 * (129 + GAP)


def test_what_a_network_would_not_learn_from_is_not_shown(picture: Floats) -> None:
    with pytest.raises(RecipeError, match=r"returned an array of float32, \(100, 128, 3\), expected .*\(25, 32, 3\)"):
        contact_sheet([("one", picture)], lambda picture, rng: picture, 4)


def test_a_damaged_picture_is_left_out_and_another_read_in_its_place(
    tmp_path: Path, make_photo: Callable[..., Array]
) -> None:
    for index in range(4):
        Image.fromarray(make_photo(64, 80, index)).save(tmp_path / f"{index}.jpg")
    whole = list_pictures([tmp_path], 32)
    for index in (1, 3):
        path = tmp_path / f"{index}.jpg"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for count, expected in ((1, ["0.jpg"]), (2, ["0.jpg", "2.jpg"]), (4, ["0.jpg", "2.jpg"])):
        read, bad = read_some(whole, count)
        assert [name for name, _ in read] == expected
        assert [one.path.name for one in bad] == ([] if count < 4 else ["1.jpg", "3.jpg"])
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match=r"none of the 4 pictures can be read; the first: .*0\.jpg"):
        read_some(whole, 2)


def test_what_cannot_be_shown_is_refused(picture: Floats) -> None:
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([], mild(4), 4)
    with pytest.raises(ValueError, match="too small for scale 4"):
        contact_sheet([("tiny", picture[:3])], mild(4), 4)
