"""Real codecs: the frame taken lies where the picture lies, is as bad as asked for, and nothing else happens."""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import pytest

from upscale.image import Array, Floats, to_float
from upscale_training.degrade import Degradation, recorded
from upscale_training.degrade.codecs import AV1, H264, HEVC, MPEG2, VP9, Codec, through
from upscale_training.degrade.television import moved
from upscale_training.degrade.video import FRAMES, av1, h264, hevc, mpeg2, vp9

CODECS: dict[str, tuple[Callable[..., Degradation], int, int]] = {
    "h264": (h264, 18, 40),
    "hevc": (hevc, 18, 40),
    "mpeg2": (mpeg2, 2, 24),
    "vp9": (vp9, 20, 60),
    "av1": (av1, 20, 60),
}
"""The step, a good quality and a bad one."""

by_codec = pytest.mark.parametrize("name", CODECS)


@pytest.fixture
def picture(make_photo: Callable[..., Array]) -> Floats:
    """Odd sides; as soft and as pale as what cameras give, so that codecs and half of the chroma can carry it."""
    photo = to_float(make_photo(75, 101))
    pale = 0.3 * photo + 0.7 * photo.mean(axis=2, keepdims=True)
    return cv2.GaussianBlur(pale, (0, 0), 1.2)


def psnr(one: Floats, other: Floats) -> float:
    return float(-10 * np.log10(np.square(one - other).mean()))


def shift(result: Floats, picture: Floats) -> tuple[float, float]:
    """By how much (x, y) the result lies to the right and below: the Gauss-Newton step from no shift, inner pixels only."""
    gray, moved_gray = picture.mean(axis=2).astype(np.float64), result.mean(axis=2).astype(np.float64)
    y, x = np.gradient(gray)
    inner = (slice(4, -4), slice(4, -4))
    slopes = -np.stack([x[inner].ravel(), y[inner].ravel()], axis=1)
    found = np.linalg.lstsq(slopes, (moved_gray - gray)[inner].ravel(), rcond=None)[0]
    return float(found[0]), float(found[1])


def test_the_measure_of_shifts_sees_a_quarter_of_a_pixel(picture: Floats) -> None:
    np.testing.assert_allclose(shift(np.asarray(moved(picture, 0.25, -0.1)), picture), (0.25, -0.1), atol=0.08)


@by_codec
def test_a_still_frame_is_registered(name: str, picture: Floats) -> None:
    step, good, _ = CODECS[name]
    for seed in range(4):
        result = step(good, motion=0)(picture, np.random.default_rng(seed))
        assert max(map(abs, shift(result, picture))) < 0.05


@by_codec
def test_the_frame_is_registered_whatever_moves(name: str, picture: Floats) -> None:
    """What is predicted from neighbors is smeared along the motion, to either side: a single frame by up to 0.14 pixels."""
    step, good, _ = CODECS[name]
    found: list[tuple[float, float]] = []
    for seed in range(8):
        result = step(good, motion=2.7)(picture, np.random.default_rng(seed))
        found.append(shift(result, picture))
        right = psnr(result, picture)
        wrong = [psnr(np.asarray(moved(result, x, y)), picture) for x, y in ((2.7, 0), (-2.7, 0), (0, 2.7), (0, -2.7))]
        assert right > max(wrong) + 3, "it is a neighbor of the frame that was wanted"
    assert np.abs(found).max() < 0.25
    assert np.abs(np.mean(found, axis=0)).max() < 0.08


@by_codec
def test_quality_means_quality(name: str, picture: Floats) -> None:
    step, good, bad = CODECS[name]
    high, low = (psnr(step(quality)(picture, np.random.default_rng(0)), picture) for quality in (good, bad))
    assert high > low + 4


@by_codec
def test_same_seed_same_frame_and_it_says_what_it_drew(name: str, picture: Floats) -> None:
    step, good, bad = CODECS[name]
    drawn = step((good, bad), noise=(1, 3))
    with recorded() as notes:
        first, again, other = (drawn(picture, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.dtype == np.float32
    assert 0 <= first.min() <= first.max() <= 1
    note_name, values = notes[0]
    assert note_name == name
    assert good <= values["quality"] <= bad
    assert 0 < values["frame"] < FRAMES - 1
    assert notes[0] == notes[1] != notes[2]


@by_codec
@pytest.mark.parametrize("size", [(1, 1), (7, 16), (64, 33)])
def test_any_size(name: str, size: tuple[int, int], make_photo: Callable[..., Array]) -> None:
    picture = to_float(make_photo(*size))
    step, good, _ = CODECS[name]
    result = step(good)(picture, np.random.default_rng(0))
    assert result.shape == picture.shape
    assert np.abs(result - picture).mean() < 0.1


@pytest.mark.parametrize("codec", [H264, HEVC, MPEG2, VP9, AV1], ids=lambda codec: codec.name)
def test_frames_come_back_in_their_order_and_all_of_them(codec: Codec, capfd: pytest.CaptureFixture[str]) -> None:
    grays = np.linspace(40, 200, FRAMES).astype(np.uint8)
    frames = [np.full((96, 64), gray, np.uint8) for gray in grays]
    back = through(codec, frames, 8)
    assert len(back) == FRAMES
    np.testing.assert_allclose([frame[:64].mean() for frame in back], grays, atol=4)
    assert capfd.readouterr() == ("", ""), "an encoder talks"


def test_more_motion_and_noise_cost_quality(picture: Floats) -> None:
    still, moving = (psnr(mpeg2(10, motion=speed)(picture, np.random.default_rng(0)), picture) for speed in (0, 6))
    noisy = psnr(mpeg2(10, motion=0, noise=12)(picture, np.random.default_rng(0)), picture)
    assert noisy < still - 1
    assert moving != still


def test_presets_of_x264_are_drawn(picture: Floats) -> None:
    make = partial(h264, 30, 1.0)
    fast, slow = (make(presets=(preset,))(picture, np.random.default_rng(0)) for preset in ("ultrafast", "slow"))
    assert not np.array_equal(fast, slow)


def test_x264_makes_the_same_whatever_lay_in_memory(picture: Floats) -> None:
    """Its macroblock tree read what nobody had written: one run in three gave another frame."""
    results: set[bytes] = set()
    for _ in range(20):
        results.add(h264(20)(picture[:48, :72], np.random.default_rng(0)).tobytes())
        junk = [np.random.default_rng(len(results)).bytes(size) for size in (3000, 50_000, 120_000)]
        del junk
    assert len(results) == 1
