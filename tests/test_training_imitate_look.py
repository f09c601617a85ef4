"""A folder of bad pictures: what is read of it, what is left out, and the recipe that imitates it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from upscale_training.degrade.video import h264
from upscale_training.errors import DataError
from upscale_training.imitate.blocks import planes
from upscale_training.imitate.codec import SURE, macroblocks
from upscale_training.imitate.guess import Guess, guess, together
from upscale_training.imitate.look import Findings, look_at
from upscale_training.imitate.reading import read
from upscale_training.imitate.recipe import recipe_text, summary
from upscale_training.imitate.statistics import LIKELIEST, Known, statistics


def scene(seed: int, height: int = 192, width: int = 256):
    """Discs of random colors, float32 0..255."""
    chance = np.random.default_rng(seed)
    levels = np.full((height, width, 3), 128, np.float32)
    for _ in range(60):
        center = (int(chance.integers(width)), int(chance.integers(height)))
        color = [float(value) for value in chance.uniform(40, 210, 3)]
        levels = cv2.circle(levels, center, int(chance.integers(8, 40)), color, -1)
    return levels


def spoiled(seed: int, noise: float, blur: float):
    levels = cv2.GaussianBlur(scene(seed), (0, 0), blur)
    grain = np.random.default_rng(seed).normal(0, noise, (*levels.shape[:2], 1))
    return np.rint(np.clip(levels + grain, 0, 255)).astype(np.uint8)


def filled(folder: Path, noise: float = 9.0, blur: float = 1.4, quality: int = 80) -> Path:
    for seed in range(3):
        Image.fromarray(spoiled(seed, noise, blur)).save(folder / f"{seed}.jpg", quality=quality)
    return folder


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return look_at(filled(tmp_path_factory.mktemp("bad")))


def test_noise_blur_and_quality_of_a_folder(found: Findings):
    assert found.common.luma_noise == pytest.approx(9, rel=0.2)
    assert found.common.blur == pytest.approx(1.4, rel=0.3)
    assert not found.common.color
    assert found.qualities == [80, 80, 80]
    assert {look.source for look in found.looks} == {"file"}
    assert found.subsampling == "4:2:0"
    assert found.later == []


def test_more_noise_and_blur_are_seen(found: Findings, tmp_path: Path):
    worse = look_at(filled(tmp_path, noise=15, blur=2.4)).common
    assert worse.noise > found.common.noise * 1.4
    assert worse.blur > found.common.blur + 0.15


@pytest.mark.parametrize("sigma", [2.0, 6.0, 15.0])
def test_the_likeliest_noise_of_a_flat_picture(sigma: float):
    grain = np.random.default_rng(1).normal(120, sigma, (128, 128, 1)).repeat(3, -1)
    seen = statistics(np.rint(grain).astype(np.float32), Known())
    assert np.exp(seen[LIKELIEST]) == pytest.approx(sigma, rel=0.12)
    assert np.isfinite(guess(seen).means).all()


def test_the_smallest_example_is_measured():
    seen = statistics(spoiled(1, 5, 1)[:48, :48].astype(np.float32), Known(50, "4:2:0"))
    assert np.isfinite(seen).all()


def test_together_listens_to_the_certain_and_the_quiet():
    def said(noise: float, doubt: float) -> Guess:
        return Guess(np.array([noise, 1.0, 0, 0.5]), np.array([doubt, 0.1, 0.1, 0.1]), 2.0)

    assert together([said(1.0, 0.05), said(2.0, 0.5)]).means[0] == pytest.approx(1.0, abs=0.05)
    assert together([said(1.0, 0.2), said(2.0, 0.2)]).means[0] < 1.3
    assert together([said(1.0, 0.2)]).color


def test_macroblocks_of_a_video_frame_are_seen():
    clean = cv2.GaussianBlur(scene(2, 288, 384), (0, 0), 0.8) + np.random.default_rng(0).normal(0, 4, (288, 384, 3))
    clean = np.clip(clean, 0, 255).astype(np.float32)
    frame = h264(crf=32.0)(clean / 255, np.random.default_rng(0)) * 255
    assert macroblocks(planes(np.rint(clean))[0]) < SURE < macroblocks(planes(np.rint(frame))[0])


def test_the_recipe_runs_and_imitates(found: Findings):
    text = recipe_text(found, Path("my pictures"))
    assert "quality=(80, 80)" in text
    names: dict[str, object] = {}
    exec(compile(text, "recipe", "exec"), names)
    degradation = names["degradation"](2)  # type: ignore[operator]
    picture = scene(7, 128, 160) / 255
    once, again = (degradation(picture, np.random.default_rng(4)) for _ in range(2))
    assert once.shape == (64, 80, 3)
    assert np.array_equal(once, again)
    smooth = once - cv2.GaussianBlur(once, (0, 0), 3)
    assert 5 < np.median(np.abs(smooth)) * 1.4826 * 255 < 14


def test_the_summary_names_what_was_found(found: Findings):
    said = summary(found)
    assert said.startswith("3 pictures")
    assert "last JPEG: quality 80 to 80, 4:2:0 (by file), in 3 of 3" in said


def test_unreadable_files_are_left_out(tmp_path: Path):
    filled(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found = look_at(tmp_path)
    assert len(found.looks) == 3
    assert "broken.png" in found.skipped[0]


def test_folders_without_pictures(tmp_path: Path):
    with pytest.raises(DataError, match="no such folder"):
        look_at(tmp_path / "missing")
    with pytest.raises(DataError, match="holds no pictures"):
        look_at(tmp_path)
    Image.new("RGB", (20, 20)).save(tmp_path / "tiny.png")
    with pytest.raises(DataError, match="too few"):
        read(tmp_path / "tiny.png")
    with pytest.raises(DataError, match="none of its pictures"):
        look_at(tmp_path)
