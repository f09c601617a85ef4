"""The last JPEG's quality, chroma and grid, from pixels alone: after a crop, after a later resize."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from upscale_training.imitate.blocks import cosines, planes
from upscale_training.imitate.grid import Grid, locate
from upscale_training.imitate.quantised import SURE, comb_gain, find, find_subsampling
from upscale_training.imitate.resizing import matrix, undone
from upscale_training.imitate.tables import CHROMA, LUMA, quality_of, scaled


def scene(height: int = 192, width: int = 256, seed: int = 3):
    """Overlapping discs of random colors with a little grain: edges of all directions, flat areas; float32 0..255."""
    chance = np.random.default_rng(seed)
    levels = np.full((height, width, 3), 128, np.float32)
    for _ in range(150):
        center = (int(chance.integers(width)), int(chance.integers(height)))
        color = [float(value) for value in chance.uniform(30, 220, 3)]
        levels = cv2.circle(levels, center, int(chance.integers(4, 30)), color, -1)
    levels = cv2.GaussianBlur(levels, (0, 0), 0.7)
    return np.rint(np.clip(levels + chance.normal(0, 3, levels.shape), 0, 255)).astype(np.float32)


def through(levels, quality: int, subsampling: str = "4:2:0"):
    stream = io.BytesIO()
    Image.fromarray(levels.astype(np.uint8)).save(stream, "jpeg", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(stream), np.float32)


@pytest.mark.parametrize("quality", [12, 50, 75, 93, 100])
def test_tables_are_those_of_libjpeg(quality: int):
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, "jpeg", quality=quality)
    written = Image.open(stream).quantization
    assert np.array_equal(scaled(LUMA, quality).ravel(), written[0])
    assert np.array_equal(scaled(CHROMA, quality).ravel(), written[1])
    assert quality_of(np.array(written[0], np.float64).reshape(8, 8)) == quality


def test_cosines_of_a_flat_block_and_their_energy():
    plane = np.random.default_rng(0).normal(0, 5, (16, 24)).astype(np.float32)
    blocks = cosines(plane)
    assert blocks.shape == (6, 8, 8)
    assert np.sum(blocks**2) == pytest.approx(np.sum(plane**2), rel=1e-4)
    assert cosines(np.ones((8, 8), np.float32))[0, 0, 0] == pytest.approx(8)


def test_the_comb_prefers_its_own_step_to_half_and_double():
    values = (
        np.random.default_rng(1).integers(-6, 7, 400) * 12 + np.random.default_rng(2).normal(0, 0.35, 400)
    ).astype(np.float32)
    gain = {step: comb_gain(values, step, 0.35) for step in (6.0, 12.0, 24.0)}
    assert gain[12.0] > gain[6.0] + 50
    assert gain[12.0] > gain[24.0] + 50


@pytest.mark.parametrize("quality", [30, 48, 77, 95])
def test_quality_is_read_from_pixels(quality: int):
    found = find(through(scene(), quality))
    assert found.quality == quality
    assert found.gain > SURE


def test_pixels_that_were_never_a_jpeg():
    assert find(scene()).gain < SURE


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_chroma_is_read_from_pixels(subsampling: str):
    assert find_subsampling(through(scene(), 85, subsampling), 85) == subsampling


def test_a_crop_moves_the_grid():
    grid, found = locate(through(scene(), 60)[3:, 5:])
    assert grid.offset == (5, 3)
    assert found is not None
    assert found.quality == 60


def test_undone_gives_back_what_was_enlarged():
    levels = scene(64, 80)
    larger = cv2.resize(levels, (112, 90), interpolation=cv2.INTER_CUBIC)
    assert np.abs(undone(larger, "cubic", 64, 80) - levels).max() < 0.5
    assert matrix("linear", 10, 15).sum(1) == pytest.approx(1)


@pytest.mark.parametrize(("factor", "kernel"), [(1.37, cv2.INTER_CUBIC), (1.8, cv2.INTER_LINEAR)])
def test_quality_survives_an_enlargement(factor: float, kernel: int):
    levels = through(scene(), 70)
    size = round(256 * factor), round(192 * factor)
    larger = np.rint(np.clip(cv2.resize(levels, size, interpolation=kernel), 0, 255)).astype(np.float32)
    grid, found = locate(larger)
    assert grid.before == (192, 256)
    assert found is not None
    assert found.quality == 70


def test_a_grid_that_is_not_there():
    grid, found = locate(cv2.GaussianBlur(scene(), (0, 0), 1.0))
    assert (grid, found) == (Grid(), None)
    assert planes(scene())[0].shape == (192, 256)
