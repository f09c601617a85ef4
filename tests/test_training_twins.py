"""Twins of held-out pictures, in other sizes and formats; pictures that cannot be decoded or have no color."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from soft_pictures import drawn, folder_of

from upscale_training.data import twins as module
from upscale_training.data.pictures import Entry, list_pictures
from upscale_training.data.twins import Look, looks, twins


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "photos", range(12))


@pytest.fixture
def val(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "val", range(100, 103))


def seen(folder: Path) -> dict[Entry, Look | str]:
    return looks(list_pictures([folder], 32).entries)


def found(photos: Path, val: Path) -> dict[str, str]:
    """Names of the twins in `photos` → in `val`."""
    sides = [{entry: look for entry, look in seen(one).items() if isinstance(look, Look)} for one in (photos, val)]
    return {one.path.name: other.path.name for one, other in twins(*sides).items()}


def as_it_is(picture: np.ndarray) -> np.ndarray:
    return picture


def other_size(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize(
    ("name", "change", "options"),
    [
        ("same.png", as_it_is, []),
        ("saved.jpg", as_it_is, [cv2.IMWRITE_JPEG_QUALITY, 30]),
        ("small.webp", other_size, [cv2.IMWRITE_WEBP_QUALITY, 60]),
        ("small.png", other_size, []),
    ],
)
def test_other_sizes_and_formats_are_twins(
    photos: Path, val: Path, name: str, change: Callable[[np.ndarray], np.ndarray], options: list[int]
) -> None:
    cv2.imwrite(str(photos / name), change(drawn(101)), options)
    assert found(photos, val) == {name: "101.png"}


def test_large_jpegs_are_decoded_small_and_still_recognized(photos: Path, val: Path) -> None:
    large = cv2.resize(drawn(102), (1280, 960), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(photos / "large.jpg"), large)
    assert found(photos, val) == {"large.jpg": "102.png"}


def test_identical_files_are_found_where_thumbnails_say_nothing(
    photos: Path, val: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEVELS_APART", -1.0)
    shutil.copy(val / "100.png", photos / "copy.png")
    assert found(photos, val) == {"copy.png": "100.png"}


def test_flat_pictures_of_different_brightness_are_no_twins(photos: Path, val: Path) -> None:
    cv2.imwrite(str(photos / "dark.png"), np.full((64, 64, 3), 20, np.uint8))
    cv2.imwrite(str(val / "bright.png"), np.full((64, 64, 3), 230, np.uint8))
    assert found(photos, val) == {}


def test_nothing_has_no_twins(val: Path) -> None:
    entries = {entry: look for entry, look in seen(val).items() if isinstance(look, Look)}
    assert len(entries) == 3
    assert twins({}, entries) == twins(entries, {}) == {}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_pictures_that_end_too_early_are_named(photos: Path, suffix: str) -> None:
    whole = cv2.imencode(suffix, drawn(50))[1].tobytes()
    half = Entry(photos / f"half{suffix}", 160, 120)
    half.path.write_bytes(whole[: len(whole) * 6 // 10])
    look = looks([half])[half]
    assert isinstance(look, str)
    assert half.path.name in look


def test_files_that_are_gone_are_named(photos: Path) -> None:
    listing = list_pictures([photos], 32)
    (photos / "03.png").unlink()
    look = looks(listing.entries)[listing.entries[3]]
    assert isinstance(look, str)
    assert "03.png" in look


@pytest.mark.parametrize(("suffix", "quality"), [(".png", []), (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 80])])
def test_color_is_seen(tmp_path: Path, suffix: str, quality: list[int]) -> None:
    gray = cv2.cvtColor(cv2.cvtColor(drawn(1), cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    cv2.imwrite(str(tmp_path / f"a{suffix}"), gray, quality)
    cv2.imwrite(str(tmp_path / f"b{suffix}"), drawn(1), quality)
    assert [isinstance(look, Look) and look.gray for look in seen(tmp_path).values()] == [True, False]
