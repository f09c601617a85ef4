"""Color under transparency: hidden garbage never reaches the network, visible colors stay, and bands make no difference."""

import numpy as np
import pytest

from upscale.bleed import REACH, TRUSTED, bled
from upscale.image import Floats
from upscale.rows import bands


def disc(size: int = 96, radius: float = 30, hidden: float = 0.0) -> Floats:
    """An orange disc with a soft edge of one pixel on hidden garbage."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    alpha = np.clip(radius - np.hypot(x, y) + 0.5, 0, 1)
    color = np.where(alpha[..., None] > 0, [1.0, 0.5, 0.1], hidden)
    return np.dstack((color, alpha)).astype(np.float32)


def whole(picture: Floats, rows: int = 10) -> Floats:
    return np.concatenate(list(bled(bands(picture, rows), picture.shape[0])))


@pytest.mark.parametrize("hidden", [0.0, 1.0, 0.3])
def test_row_10_hidden_color_gives_way_to_the_visible_one_beside_it(hidden: float) -> None:
    got = whole(disc(hidden=hidden))
    near = np.hypot(*(np.mgrid[:96, :96] - 47.5)) < 40
    assert np.abs(got[near] - [1.0, 0.5, 0.1]).max() < 0.5 / 255


def test_visible_pixels_keep_their_color_exactly() -> None:
    rng = np.random.default_rng(0)
    picture = rng.random((70, 50, 4), np.float32)
    visible = picture[..., 3] >= TRUSTED
    np.testing.assert_array_equal(whole(picture)[visible], picture[..., :3][visible])


def test_each_side_of_a_hidden_gap_takes_the_color_of_its_own_side() -> None:
    picture = np.zeros((20, 60, 4), np.float32)
    picture[:, :20] = [1, 0, 0, 1]
    picture[:, 40:] = [0, 0, 1, 1]
    got = whole(picture)
    assert got[10, 22, 0] > 0.98
    assert got[10, 37, 2] > 0.98
    assert got[10, 29, 0] > 0.5 > got[10, 30, 0]
    assert got[10, 29, 0] + got[10, 30, 0] == pytest.approx(1, abs=0.01), "they meet in the middle"


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
def test_bands_of_any_height_give_the_same(rows: int) -> None:
    picture = np.tile(disc(), (3, 1, 1))
    np.testing.assert_array_equal(whole(picture, rows), whole(picture, 33))


def test_a_picture_without_anything_visible_stays_as_it_is() -> None:
    picture = np.random.default_rng(1).random((30, 30, 4), np.float32)
    picture[..., 3] = 0
    np.testing.assert_array_equal(whole(picture), picture[..., :3])


def test_far_from_anything_visible_nothing_changes() -> None:
    picture = np.zeros((20, 300, 4), np.float32)
    picture[..., :3] = 0.7
    picture[:, :10] = [0, 1, 0, 1]
    got = whole(picture)
    np.testing.assert_allclose(got[:, 10 + REACH + 10 :], 0.7, atol=1e-6)
