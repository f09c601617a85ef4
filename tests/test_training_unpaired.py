"""A degradation learnt from bad pictures alone: what it finds in spoiled scenes, what it keeps, and what it does."""

import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from upscale_training.degrade import recorded
from upscale_training.errors import DataError
from upscale_training.imitate.blocks import cosines
from upscale_training.imitate.tables import LUMA, scaled
from upscale_training.unpaired import Pool, learned_from, load_pool, pool_preset, summary
from upscale_training.unpaired.field import noise
from upscale_training.unpaired.flat import TONES
from upscale_training.unpaired.kernel import agreed, ellipse, skew
from upscale_training.unpaired.learning import common, mode
from upscale_training.unpaired.likelihood import gain, likelihoods, shifted, spectrum
from upscale_training.unpaired.pool import Draw, Pooled

MIDDLE = np.add.outer(np.arange(8), np.arange(8)).ravel() < 8


def scene(seed: int, height: int = 240, width: int = 256):
    """Discs of random colors, some of them striped, float32 0..255."""
    chance = np.random.default_rng(seed)
    levels = np.full((height, width, 3), 128, np.float32)
    for number in range(14):
        center = (int(chance.integers(width)), int(chance.integers(height)))
        color = [float(value) for value in chance.uniform(40, 210, 3)]
        disc = cv2.circle(np.zeros((height, width), np.uint8), center, int(chance.integers(15, 60)), 1, -1) > 0
        stripes = 30 * np.sin(np.arange(width) * chance.uniform(0.5, 2.5)) if number % 4 == 0 else np.zeros(width)
        levels[disc] = (np.array(color) + np.broadcast_to(stripes[:, None], (height, width, 3)))[disc]
    return cv2.GaussianBlur(levels, (0, 0), 0.8)


def grain(seed: int, shape: tuple[int, int], sigma: float, across: float):
    """Gray noise, correlated along rows."""
    field = np.random.default_rng(seed).standard_normal((*shape, 1)).astype(np.float32)
    field = cv2.GaussianBlur(field, (0, 0), sigmaX=across, sigmaY=0.2)[..., None]
    return sigma * field / field.std()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bad")
    for seed in range(5):
        levels = scene(seed)
        spoiled = np.rint(np.clip(levels + grain(seed, levels.shape[:2], 9, 1.2), 0, 255)).astype(np.uint8)
        Image.fromarray(spoiled).save(place / f"{seed}.jpg", quality=70 + seed, subsampling="4:2:0")
    return place


@pytest.fixture(scope="module")
def pool(folder: Path) -> Pool:
    return learned_from(folder)


def quantized(blocks: np.ndarray, quality: int):
    steps = scaled(LUMA, quality)
    return (np.rint(blocks / steps) * steps).astype(np.float32)


def test_the_spectrum_of_noise_before_a_jpeg_rounded_it():
    field = grain(1, (512, 512), 8, 1.0)[..., 0]
    true = np.sqrt(np.square(cosines(field)).mean(0))
    found = np.exp(spectrum(likelihoods(quantized(cosines(field), 75), scaled(LUMA, 75))))
    strong = true > 0.4 * scaled(LUMA, 75)
    strong[0, 0] = False
    assert strong.sum() > 10
    assert found[strong] == pytest.approx(true[strong], rel=0.1)
    assert found[0, 7] < 0.5 * found[7, 0]  # along rows it is smooth


def test_of_waves_that_were_all_rounded_to_zero_the_neighbors_tell():
    field = np.random.default_rng(0).normal(0, 6, (256, 256)).astype(np.float32)
    found = np.exp(spectrum(likelihoods(quantized(cosines(field), 50), scaled(LUMA, 50))))
    assert found[7, 7] == pytest.approx(6, rel=0.5)  # its step is 99: nothing was left of it


def test_a_level_relative_to_a_spectrum():
    field = grain(2, (256, 256), 5, 1.0)[..., 0]
    once, twice = (likelihoods(cosines(field * factor), np.full((8, 8), 0.5)) for factor in (1, 2))
    logs = spectrum(once)
    assert gain(once, logs, MIDDLE) == pytest.approx(0, abs=0.06)
    assert gain(twice, logs, MIDDLE) == pytest.approx(np.log(2), abs=0.06)
    assert gain(shifted(twice, np.log(2)), logs, MIDDLE) == pytest.approx(0, abs=0.06)


def test_noise_has_the_spectrum_asked_for():
    sigmas = np.exp(-0.2 * np.arange(8)[None] - 0.05 * np.arange(8)[:, None]).astype(np.float32) * 10
    made = noise((800, 805), sigmas, np.random.default_rng(0))
    seen = np.sqrt(np.square(cosines(made)).mean(0))
    assert made.shape == (800, 805)
    assert seen == pytest.approx(sigmas, rel=0.25)  # a cosine of 8 pixels also sees its neighbors


def test_mode_is_where_values_are_densest():
    assert mode(np.array([0.0, 0.1, 0.1, 0.15, 2.0, 3.0, 4.0])) == pytest.approx(0.1, abs=0.05)
    assert mode(np.array([1.0])) == 1
    assert mode(np.array([1.0, 2.0])) == 1.5


def table(sigma: float, seed: int):
    """Likelihoods of a picture of one tone, all of it noise."""
    field = np.random.default_rng(seed).normal(0, sigma, (64, 64)).astype(np.float32)
    one = likelihoods(cosines(field), np.full((8, 8), 0.5))
    return np.stack([one, *[np.zeros_like(one)] * (TONES - 1)])


def test_pictures_that_have_nothing_in_common():
    found = common([table(0.01, 0), table(20, 1)])
    assert found.typical.sum() >= 1
    assert np.isfinite(found.logs).all()
    nothing = common([np.zeros((TONES, 64, table(1, 0).shape[2]))])
    assert np.exp(nothing.logs).max() < 0.1


def test_texture_in_some_pictures_is_not_taken_for_their_noise():
    found = common([table(sigma, seed) for seed, sigma in enumerate((5, 5, 5, 5, 9, 14, 20))])
    assert found.typical.tolist() == [True] * 4 + [False] * 3
    assert np.exp(found.logs[1:, 1:]).mean() == pytest.approx(5, rel=0.15)


def test_the_direction_of_a_blur():
    turn = np.deg2rad(30)
    y, x = np.mgrid[-6:7, -6:7]
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    kernel = np.exp(-0.5 * ((along / 1.1) ** 2 + (across / 0.5) ** 2))
    quiet = np.full((8, 8), -3.0)
    skews: list[tuple[float, float] | None] = []
    for seed in range(6):
        field = np.random.default_rng(seed).standard_normal((160, 160)).astype(np.float32) * 100
        natural = cv2.GaussianBlur(field, (0, 0), 0.7)
        skews.append(skew(cv2.filter2D(natural, -1, kernel / kernel.sum()), quiet))
    wide, narrow, angle = ellipse(np.sqrt(1.1 * 0.5), agreed(skews))
    assert wide == pytest.approx(1.1, rel=0.15)
    assert narrow == pytest.approx(0.5, rel=0.3)
    assert np.rad2deg(angle) == pytest.approx(30, abs=6)


def test_a_direction_is_believed_only_where_pictures_agree():
    assert agreed([(0.2, 0.1), (0.21, 0.12), (0.19, 0.09), None]) == pytest.approx((0.2, 0.1))
    assert agreed([(0.2, 0.1), (-0.2, 0.3), (0.1, -0.4), (0.0, 0.1)]) == (0, 0)
    assert agreed([(0.2, 0.1), None]) == (0, 0)
    assert ellipse(0.4, (0.0, 0.0)) == pytest.approx((0.4, 0.4, 0.0))
    assert skew(np.zeros((40, 40), np.float32), np.zeros((8, 8))) is None


def test_what_is_found_in_a_folder(pool: Pool):
    assert pool.names == tuple(f"{seed}.jpg" for seed in range(5))
    assert pool.qualities.tolist() == [[70 + seed, -1] for seed in range(5)]
    assert set(pool.subsamplings) == {"4:2:0"}
    assert pool.later.tolist() == [1] * 5
    true = np.sqrt(np.square(cosines(grain(9, (512, 512), 9, 1.2)[..., 0])).mean(0))
    places = (slice(2, 7), slice(1, 3))
    assert pool.spectra[0][places] * np.nanmedian(pool.levels) == pytest.approx(true[places], rel=0.35)
    assert pool.spectra[0][0, 4] < 0.6 * pool.spectra[0][4, 0]  # stripes along rows
    assert pool.spectra[1:, 1:3, 1:3].max() < 0.5 * pool.spectra[0][1, 1]  # gray noise
    assert "quality 70 to 74" in summary(pool)


def test_bad_pictures_made_anew_are_as_noisy_as_the_examples(pool: Pool):
    gray = np.full((256, 256, 3), 0.5, np.float32)
    true = np.rint(128 + grain(3, (256, 256), 9, 1.2).repeat(3, -1)).astype(np.uint8)
    made = Draw(pool, 1)(gray, np.random.default_rng(0)) * 255
    assert made.std() == pytest.approx(true.std(), rel=0.25)
    along_rows, along_columns = (np.abs(np.diff(made[..., 1], axis=axis)).mean() for axis in (1, 0))
    assert along_rows < 0.6 * along_columns


def test_noise_follows_the_brightness(pool: Pool):
    quiet = replace(pool, tones=np.array([0.2, 0.2, 1, 1, 1], np.float32), qualities=np.full((5, 2), -1, np.int16))
    picture = np.full((128, 128, 3), 0.8, np.float32)
    picture[:, :64] = 0.15
    made = Draw(quiet, 1)(picture, np.random.default_rng(0))
    assert made[:, 4:60].std() < 0.35 * made[:, 68:124].std()


def test_a_file_gives_the_same_preset_and_samples(pool: Pool, tmp_path: Path):
    file = tmp_path / "bad.npz"
    pool.save(file)
    preset = pool_preset(file)
    picture = scene(7).astype(np.float32) / 255
    with recorded() as notes:
        first = Pooled(pool)(4)(picture, np.random.default_rng(3))
    assert first.shape == (60, 64, 3)
    assert first.dtype == np.float32
    assert np.array_equal(first, pickle.loads(pickle.dumps(preset(4)))(picture, np.random.default_rng(3)))
    assert not np.array_equal(first, preset(4)(picture, np.random.default_rng(4)))
    assert notes[0][0] == "like"
    assert {"blur", "learnt noise", "jpeg"} <= {name for name, _ in notes}
    assert [note["quality"] for name, note in notes if name == "jpeg"] == [70 + int(notes[0][1]["picture"][0])]


def test_a_later_resize_comes_between_two_files(pool: Pool):
    resized = replace(
        pool,
        later=np.full(5, 1.5, np.float32),
        qualities=np.full((5, 2), (60, 90), np.int16),
        levels=np.array([np.nan, np.nan, 1, np.nan, np.nan], np.float32),
    )
    with recorded() as notes:
        made = Pooled(resized)(4)(scene(7) / 255, np.random.default_rng(0))
    assert made.shape == (60, 64, 3)
    assert [note["quality"] for name, note in notes if name == "jpeg"] == [60, 90]
    assert next(note["to"] for name, note in notes if name == "resize") == "43x40"


def test_unreadable_pictures_are_left_out(folder: Path, tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes((folder / "0.jpg").read_bytes())
    (tmp_path / "b.png").write_bytes(b"no picture")
    found = learned_from(tmp_path)
    assert found.names == ("a.jpg",)
    assert "b.png" in found.skipped[0]


def test_a_clean_picture_teaches_no_noise(tmp_path: Path):
    smooth = np.rint(cv2.GaussianBlur(scene(1), (0, 0), 3)).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "clean.jpg", quality=97)
    found = learned_from(tmp_path)
    assert np.nanmax(found.levels) * found.spectra[0][2:6, 2:6].mean() < 1


@pytest.mark.parametrize("name", ["spectra", "tones", "blurs", "later", "levels"])
def test_a_pool_with_missing_numbers_is_refused(pool: Pool, tmp_path: Path, name: str):
    values = np.full_like(getattr(pool, name), np.nan)
    replace(pool, **{name: values}).save(tmp_path / "bad.npz")
    with pytest.raises(
        DataError, match=rf"bad\.npz: no pool .*{name} holds .*`upscale-train learn BAD/ -o FILE` writes one"
    ):
        load_pool(tmp_path / "bad.npz")


def test_what_is_no_pool_is_refused(tmp_path: Path):
    (tmp_path / "bad.npz").write_bytes(b"nonsense")
    np.savez(tmp_path / "other.npz", format=1)
    for name in ("bad.npz", "other.npz", "missing.npz"):
        with pytest.raises(DataError, match=name):
            load_pool(tmp_path / name)
    with pytest.raises(DataError):
        learned_from(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "x.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"x\.png"):
        learned_from(tmp_path / "empty")
