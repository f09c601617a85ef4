"""Color fix: low frequencies follow the input, detail stays, the error never grows, and bands make no difference."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from upscale.chain import Settings
from upscale.colorfix import Shift, fixed
from upscale.engines.choose import Wish
from upscale.enlarge import Enlarger
from upscale.image import Array, Floats, Image
from upscale.rows import bands
from upscale.zoo import load

VAL = Path(__file__).parents[2] / "shared" / "data" / "val"
NEEDS_VAL = pytest.mark.skipif(not VAL.is_dir(), reason="needs ../shared/data/val")


def corrected(result: Floats, source: Floats, factor: int = 4, rows: int = 17, shift: Shift | None = None) -> Floats:
    stream = fixed(bands(result, rows), bands(source, 11), source.shape[0], factor, shift or Shift())
    return np.concatenate(list(stream))


def picture(height: int = 60, width: int = 44) -> Floats:
    noise = np.random.default_rng(0).random((height // 4 + 1, width // 4 + 1, 3), np.float32)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC).clip(0.2, 0.8)


def large(source: Floats, factor: int = 4) -> Floats:
    return source.repeat(factor, 0).repeat(factor, 1)


def test_row_14_a_shift_of_all_colors_is_put_back() -> None:
    source, shift = picture(), Shift()
    drifted = large(source) + np.float32([0.05, -0.03, 0.02])
    got = corrected(drifted, source, shift=shift)
    assert np.abs(got - large(source)).max() < 1e-3
    assert shift.mean == pytest.approx(255 * 0.1 / 3, rel=0.01)
    assert shift.largest == pytest.approx(255 * 0.05, rel=0.02)


def test_row_16_a_slow_drift_across_the_picture_is_put_back() -> None:
    source = picture(80, 120)
    drift = np.linspace(-0.06, 0.06, 480, dtype=np.float32)[None, :, None]
    got = corrected(large(source) + drift, source)
    assert np.abs(got - large(source))[:, 40:-40].mean() < 0.002


def test_painted_detail_stays() -> None:
    source = np.full((64, 64, 3), 0.5, np.float32)
    checks = ((np.indices((256, 256)).sum(0) // 2 % 2)[..., None] * 0.2 + 0.4).astype(np.float32).repeat(3, 2)
    got = corrected(checks, source)
    np.testing.assert_allclose(got, checks, atol=1e-3)


def test_a_right_result_is_left_alone() -> None:
    source, shift = picture(), Shift()
    np.testing.assert_allclose(corrected(large(source), source, shift=shift), large(source), atol=1e-5)
    assert shift.largest < 0.01


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8, 16])
def test_every_factor_is_corrected_in_place(factor: int, axis: str) -> None:
    """A drift with a place: were the correction shifted by half a pixel, an error would remain."""
    source = picture(40, 40)
    place = (np.arange(40 * factor) + 0.5) / (40 * factor)
    drift = (0.08 * np.sin(np.pi * place)).astype(np.float32)[None, :, None]
    drift = drift if axis == "x" else drift.swapaxes(0, 1)
    rest = corrected(large(source, factor) + drift, source, factor) - large(source, factor)
    along = rest if axis == "x" else rest.swapaxes(0, 1)
    middle = along[:, 10 * factor : -10 * factor]
    assert np.abs(middle).max() < 0.02
    assert np.abs(middle - middle[:, ::-1]).max() < 0.004, "not pulled to one side"


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_correction_lies_between_pixel_centers_in_both_directions(factor: int) -> None:
    """On a ramp all that is linear is exact: shifted by half a small pixel, it would be off by half a step."""
    middle = np.full((120, 120, 3), 0.5, np.float32)
    for axis in (0, 1):
        ramp = (np.arange(120 * factor, dtype=np.float32) + 0.5) / factor * 0.002 + 0.3
        drifted = np.broadcast_to(np.expand_dims(ramp, (1 - axis, 2)), (120 * factor, 120 * factor, 3))
        inside = slice(56 * factor, -56 * factor)  # where the border is not seen
        np.testing.assert_allclose(corrected(drifted, middle, factor)[inside, inside], 0.5, atol=2e-5)


@pytest.mark.parametrize("level", [0.03, 0.97])
def test_near_black_and_white_the_mean_is_kept_within_half_a_level(level: float) -> None:
    """Of what is put back there, some is cut off, and that is put back, too."""
    source = np.full((64, 64, 3), level, np.float32)
    drifted = level + (20 / 255 if level < 0.5 else -20 / 255)
    texture = np.random.default_rng(4).uniform(drifted - 0.06, drifted + 0.06, (256, 256, 3)).astype(np.float32)
    assert (texture == texture.clip(0.04, 0.96)).all(), "cut off by the correction alone"
    once = np.clip(texture + (level - texture.mean((0, 1))), 0, 1)
    assert np.abs(once.mean((0, 1)) - level).min() * 255 > 0.5, "else once would do"
    assert np.abs(corrected(texture, source).mean((0, 1)) - level).max() * 255 < 0.5


def bell(sigma: float, side: int = 129) -> Floats:
    """What a point of height 1 in the middle becomes."""
    x = np.arange(side, dtype=np.float32) - side // 2
    line = np.exp(-(x**2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi))
    return (line[:, None] * line[None, :])[..., None].astype(np.float32)


def test_a_difference_spreads_as_a_gaussian_of_eight_pixels() -> None:
    source, result = (np.full((129, 129, 3), 0.5, np.float32) for _ in range(2))
    source[64, 64] = 0.9
    spread = (corrected(result, source, 1) - result) / 0.4
    wanted = 2 * bell(8) - bell(8 * 2**0.5)  # the second time takes what the first one has put back into account
    assert np.abs(spread - wanted).max() < 0.03 * wanted.max()
    far = np.hypot(*(np.mgrid[:129, :129] - 64)) > 16  # there, too, not only where it is high
    assert np.abs(spread - wanted)[far].max() < 0.01 * wanted.max()


def test_nothing_farther_than_three_sigmas_each_time_is_seen() -> None:
    source, result = picture(150, 150), large(picture(150, 150)) + np.float32(0.04)
    other = source.copy()
    reach = 2 * (24 + 1)  # two times; and one more pixel each for what lies between pixels
    other[:10] = other[:, :10] = 1 - other[:10, :10].mean()
    one, two = corrected(result, source), corrected(result, other)
    unseen = slice(4 * (10 + reach), None)
    np.testing.assert_array_equal(one[unseen, unseen], two[unseen, unseen])
    assert np.abs(one - two)[4 * 10 : 4 * 20].max() > 0.01


@pytest.mark.parametrize("rows", [1, 5, 64, 999])
def test_bands_of_any_height_give_the_same(rows: int) -> None:
    source = picture(90, 30)
    result = np.random.default_rng(2).random((360, 120, 3), np.float32)
    np.testing.assert_array_equal(corrected(result, source, rows=rows), corrected(result, source, rows=23))


def flat_errors(model: str, count: int) -> tuple[list[float], list[float]]:
    """Largest error of the mean, away from the border, for each color: without and with the fix."""
    checkpoint = load(model)
    enlargers = [Enlarger(checkpoint, Wish(device="cpu"), Settings(color_fix=fix)) for fix in (False, True)]
    errors: tuple[list[float], list[float]] = [], []
    for color in np.random.default_rng(0).integers(0, 256, (count, 3), np.uint8):
        image = Image(np.broadcast_to(color, (64, 64, 3)).copy())
        for enlarger, found in zip(enlargers, errors, strict=True):
            middle = enlarger.enlarge(image, 4).rgb[64:-64, 64:-64].astype(np.float64)
            found.append(float(np.abs(middle.mean((0, 1)) - color).max()))
    return errors


def test_fifty_flat_colors_keep_their_mean_within_half_a_level() -> None:
    before, after = flat_errors("animevideov3", 50)
    assert max(before) > 5, "else there is nothing to fix"
    assert max(after) < 0.5


@pytest.mark.slow
def test_fifty_flat_colors_keep_their_mean_within_half_a_level_with_x4plus() -> None:
    before, after = flat_errors("x4plus", 50)
    assert max(before) > 10
    assert max(after) < 0.5


def check_on_val(model: str, names: list[Path]) -> None:
    checkpoint = load(model)
    plain, fixing = (Enlarger(checkpoint, Wish(device="cpu"), Settings(color_fix=fix)) for fix in (False, True))
    for path in names:
        truth = cv2.imread(str(path))[..., ::-1]
        height, width = (min(side, 512) // 4 * 4 for side in truth.shape[:2])
        truth = truth[:height, :width].astype(np.float64)
        small = cv2.resize(truth.astype(np.uint8), (width // 4, height // 4), interpolation=cv2.INTER_AREA)
        before, after = (e.enlarge(Image(small), 4).rgb.astype(np.float64) for e in (plain, fixing))
        assert ((after - truth) ** 2).mean() <= ((before - truth) ** 2).mean(), path.name
        assert np.abs(after.mean((0, 1)) - small.mean((0, 1))).max() < 0.5, path.name


@NEEDS_VAL
def test_on_real_pictures_the_error_never_grows_and_the_mean_is_kept() -> None:
    names = sorted(VAL.glob("*.webp"))
    assert len(names) == 30
    check_on_val("animevideov3", names)


@NEEDS_VAL
@pytest.mark.slow
def test_on_real_pictures_the_error_never_grows_and_the_mean_is_kept_with_x4plus() -> None:
    check_on_val("x4plus", sorted(VAL.glob("*.webp")))


def test_flat_pictures_are_no_special_case(make_photo: Callable[..., Array]) -> None:
    """One odd pixel in a corner changes nothing far away from it."""
    enlarger = Enlarger(load("animevideov3"), Wish(device="cpu", precision="fp32"))
    flat = np.full((120, 120, 3), (40, 200, 90), np.uint8)
    odd = flat.copy()
    odd[0, 0] = 255
    one, other = (enlarger.enlarge(Image(pixels), 4).rgb[300:, 300:] for pixels in (flat, odd))
    assert np.abs(one.astype(int) - other).max() <= 1
