"""Color under transparency: hidden garbage never reaches the network, visible colors stay, and bands make no difference."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from upscale.bleed import REACH, bled, limited
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


def test_pixels_keep_their_color_exactly_from_an_eighth_on() -> None:
    """An eighth in figures: were it taken from the code, any other value would do as well."""
    rng = np.random.default_rng(0)
    picture = rng.random((70, 50, 4), np.float32)
    picture[::7, ::5, 3] = 0.125
    visible = picture[..., 3] >= 0.125
    assert (picture[visible][:, 3] < 0.9).any()
    np.testing.assert_array_equal(whole(picture)[visible], picture[..., :3][visible])


@pytest.mark.parametrize(("alpha", "own"), [(1 / 8, 1.0), (1 / 16, 0.5), (1 / 32, 0.25), (0.0, 0.0)])
def test_below_an_eighth_the_own_color_counts_less_and_less(alpha: float, own: float) -> None:
    picture = np.ones((41, 41, 4), np.float32)
    picture[20, 20] = [0, 0, 0, alpha]
    assert whole(picture)[20, 20] == pytest.approx([1 - own] * 3, abs=0.2 * own * (1 - own) + 1e-6)


def least_and_greatest(mask: Floats, factor: int) -> tuple[Floats, Floats]:
    """Of the five times five pixels around each, `factor` times as large."""
    around = sliding_window_view(np.pad(mask[..., 0], 2, mode="edge"), (5, 5))
    low, high = (end.repeat(factor, 0).repeat(factor, 1)[..., None] for end in (around.min((2, 3)), around.max((2, 3))))
    return low, high


@pytest.mark.parametrize("rows", [1, 9, 100])
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_mask_stays_between_its_own_values_within_two_pixels(factor: int, rows: int) -> None:
    rng = np.random.default_rng(5)
    mask = rng.random((40, 23, 1), np.float32)
    low, high = least_and_greatest(mask, factor)
    for drawn in (rng.random((40 * factor, 23 * factor, 3), np.float32), np.zeros_like(low), np.ones_like(low)):
        network = np.broadcast_to(drawn, (40 * factor, 23 * factor, 3))
        got = np.concatenate(list(limited(bands(network, 7), bands(mask, rows), 40, factor)))
        wanted = network.mean(axis=2, keepdims=True).clip(low, high)
        np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_what_a_network_draws_two_pixels_from_an_edge_is_let_alone_and_farther_away_it_is_not() -> None:
    mask = np.zeros((12, 20, 1), np.float32)
    mask[:, 10:] = 1
    gray = np.full((48, 80, 3), 0.5, np.float32)
    got = np.concatenate(list(limited(bands(gray, 5), bands(mask, 3), 12, 4)))[..., 0]
    assert (got[:, 4 * 8 : 4 * 12] == 0.5).all()
    assert (got[:, : 4 * 8] == 0).all()
    assert (got[:, 4 * 12 :] == 1).all()


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
