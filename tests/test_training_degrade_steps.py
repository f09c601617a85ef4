"""Each step: what all of them promise, and what makes it the one it is called."""

import pickle
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from upscale.image import Array, Floats, from_float, to_float
from upscale_training.degrade import Degradation, recorded
from upscale_training.degrade.blur import gaussian_blur, mixed_blur, sinc_blur, skewed_blur
from upscale_training.degrade.noise import film_grain, gaussian_noise, poisson_noise, sensor_noise, speckle_noise
from upscale_training.degrade.resize import Filter, at_size, by_way_of, imresize, rescale, resized_to, shrink
from upscale_training.degrade.sharpen import halos, usm
from upscale_training.degrade.stills import avif, jpeg, webp
from upscale_training.degrade.television import interlaced, moved, scan_lines, subsampled_chroma
from upscale_training.degrade.tones import banding, bayer_matrix, eight_bits, ordered_dither, palette

STEPS: list[Degradation] = [
    gaussian_blur(),
    skewed_blur(),
    sinc_blur(),
    mixed_blur(),
    gaussian_noise(),
    poisson_noise(),
    speckle_noise(),
    sensor_noise(bayer=0),
    sensor_noise(bayer=1),
    film_grain(),
    halos(),
    usm(),
    jpeg(subsampling=("4:2:0", "4:2:2", "4:4:4", "4:1:1", "4:4:0")),
    webp(),
    avif(),
    subsampled_chroma(),
    interlaced(),
    scan_lines(),
    banding(),
    ordered_dither(),
    palette(),
    palette(diffused=False),
    at_size((0.5, 2.0), jpeg()),
]


@pytest.fixture
def picture(make_photo: Callable[..., Array]) -> Floats:
    """Odd sides: blocks, fields and chroma samples do not come out even."""
    return to_float(make_photo(45, 61))


@pytest.mark.parametrize("step", STEPS, ids=repr)
def test_every_step_keeps_the_rules(step: Degradation, picture: Floats) -> None:
    before = picture.copy()
    results: list[Floats] = []
    for seed in (5, 5, 6, 7):
        with recorded() as notes:
            results.append(pickle.loads(pickle.dumps(step))(picture, np.random.default_rng(seed)))
        assert notes, "a contact sheet has nothing to say"
    first, again, *others = results
    np.testing.assert_array_equal(picture, before, err_msg="the picture given was changed")
    assert first.shape == picture.shape
    assert first.dtype == np.float32
    assert first.min() >= 0
    assert first.max() <= 1
    np.testing.assert_array_equal(first, again, err_msg="same seed, other picture")
    assert not np.array_equal(first, picture)
    if repr(step) != "usm()":
        assert not all(np.array_equal(first, other) for other in others), "other seeds, same picture"


# ---------------------------------------------------------------- resizing


FILTERS: list[Filter] = ["area", "bilinear", "bicubic", "lanczos"]
FILTERS += ["antialiased bilinear", "antialiased bicubic", "antialiased lanczos"]


@pytest.mark.parametrize("size", [(12, 15), (24, 30), (31, 37), (48, 90)])
@pytest.mark.parametrize("by", FILTERS)
def test_no_filter_shifts(by: Filter, size: tuple[int, int]) -> None:
    y, x = np.mgrid[0:48, 0:60] + 0.5
    ramp = np.stack([x / 60, y / 48, 0.5 + 0 * x], axis=2).astype(np.float32)
    small = resized_to(ramp, size, by)
    y, x = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    inner = (slice(3, -3), slice(3, -3))  # the rim is flattened by what a filter takes to be beyond it
    # the slowest filters waver by 0.001 on a ramp; half a pixel would be 0.008 or more
    np.testing.assert_allclose(small[inner][..., 0], (x / size[1])[inner], atol=3e-3)
    np.testing.assert_allclose(small[inner][..., 1], (y / size[0])[inner], atol=3e-3)
    np.testing.assert_allclose(small[..., 2], 0.5, atol=1e-5)


def test_antialiased_filters_do_not_alias() -> None:
    fine = np.zeros((64, 64, 3), np.float32)
    fine[:, ::2] = 1
    plain, smooth = (resized_to(fine, (21, 21), by)[2:-2, 2:-2].std() for by in ("bicubic", "antialiased bicubic"))
    assert smooth < 0.02 < plain


def test_imresize_has_matlabs_weights_and_replicates_the_rim() -> None:
    """Half size: MATLAB's antialiased cubic takes eight pixels with these weights, multiples of 1/256."""
    weights = np.array([-3, -9, 29, 111, 111, 29, -9, -3], np.float32) / 256
    steps = np.eye(24, dtype=np.float32)[:, None, :, None].repeat(3, 3).repeat(16, 1)  # impulses, one picture for each
    response = np.stack([imresize(one, (8, 12))[4, :, 0] for one in steps])
    np.testing.assert_allclose(response[7:15, 5], weights, atol=1e-6)
    assert not response[:7, 5].any()
    assert not response[15:, 5].any()
    np.testing.assert_allclose(response[:5, 0], [weights[:4].sum(), *weights[4:]], atol=1e-6)


def test_matlab_rounds_between_rows_and_columns(picture: Floats) -> None:
    pixels = to_float(from_float(picture[:44, :60], np.uint8))
    rows = to_float(from_float(imresize(pixels, (22, 60)), np.uint8))
    np.testing.assert_allclose(resized_to(pixels, (22, 30), "matlab bicubic"), imresize(rows, (22, 30)), atol=1e-6)
    assert np.abs(imresize(pixels, (22, 30)) - imresize(rows, (22, 30))).max() > 1e-3


def test_shrinking_is_exact_or_refused(picture: Floats) -> None:
    rng = np.random.default_rng(0)
    assert shrink(4)(picture[:44, :60], rng).shape == (11, 15, 3)
    assert by_way_of(4, (0.7, 2), jpeg())(picture[:44, :60], rng).shape == (11, 15, 3)
    with pytest.raises(ValueError, match=r"61×45 .* crop it to multiples of 4"):
        shrink(4)(picture, rng)
    assert rescale(0.5)(picture, rng).shape == (22, 30, 3)


# ---------------------------------------------------------------- noise


FLAT = np.full((160, 160, 3), 0.5, np.float32)


def test_gaussian_noise_has_its_strength_and_may_be_gray() -> None:
    rng = np.random.default_rng(0)
    color, gray = gaussian_noise(12, gray=0)(FLAT, rng) - FLAT, gaussian_noise(12, gray=1)(FLAT, rng) - FLAT
    assert color.std() * 255 == pytest.approx(12, rel=0.02)
    assert abs(np.corrcoef(color[..., 0].ravel(), color[..., 2].ravel())[0, 1]) < 0.05
    np.testing.assert_array_equal(gray[..., 0], gray[..., 2])


def test_poisson_noise_counts_photons_as_basicsr_does() -> None:
    levels = np.linspace(0.2, 0.8, 11, dtype=np.float32)
    picture = np.repeat(levels, 16)[None, :, None] + np.zeros((300, 1, 3), np.float32)
    noise = poisson_noise(0.7, gray=0)(picture, np.random.default_rng(0)) - np.rint(picture * 255) / 255
    # 11 distinct values: 16 photons at full brightness; 1 is cut off above 0.5 or so
    dark = noise[:, :48]
    expected = 0.7 * np.sqrt(picture[:, :48] / 16)
    assert (dark / expected).std() == pytest.approx(1, rel=0.03)


def test_speckle_grows_with_the_picture() -> None:
    rng = np.random.default_rng(0)
    dim, bright = (speckle_noise(0.1)(FLAT * share, rng).std() for share in (0.4, 1.2))
    assert dim == pytest.approx(0.02, rel=0.03)
    assert bright == pytest.approx(0.06, rel=0.03)


def test_grain_is_correlated_and_strongest_in_middle_tones() -> None:
    rng = np.random.default_rng(0)
    fields = {tone: film_grain(10, 1.0, 0.3)(FLAT * 2 * tone, rng) - tone for tone in (0.1, 0.5, 0.9)}
    assert fields[0.5].std() * 255 == pytest.approx(10, rel=0.05)
    assert fields[0.1].std() * 255 == pytest.approx(6, rel=0.08)
    assert fields[0.9].std() * 255 == pytest.approx(6, rel=0.08)
    field = fields[0.5]
    neighbors = np.corrcoef(field[:, 1:].ravel(), field[:, :-1].ravel())[0, 1]
    assert neighbors == pytest.approx(np.exp(-1 / 4), abs=0.05)  # a Gaussian's autocorrelation is √2 times as wide
    channels = np.corrcoef(field[..., 0].ravel(), field[..., 1].ravel())[0, 1]
    assert channels == pytest.approx(0.7, abs=0.05)


def test_sensor_noise_follows_light_and_the_color_filter() -> None:
    rng = np.random.default_rng(0)
    linear = lambda picture: picture.astype(np.float64) ** 2.2  # noqa: E731
    bright, dark = (linear(sensor_noise(1e-3, bayer=0)(FLAT * 2 * tone, rng))[..., 1].var() for tone in (0.7, 0.35))
    assert bright / dark == pytest.approx(2**2.2, rel=0.1)
    apart, mosaic = (sensor_noise(1e-3, bayer=share)(FLAT, rng)[..., 0] for share in (0, 1))
    together = [np.corrcoef(field[:, 1:].ravel(), field[:, :-1].ravel())[0, 1] for field in (apart, mosaic)]
    assert abs(together[0]) < 0.05
    assert together[1] > 0.4


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("kind", ["4:2:0", "4:4:4"])
def test_jpeg_is_libjpeg_at_the_quality_it_notes(picture: Floats, kind: str) -> None:
    with recorded() as notes:
        ours = jpeg((10, 90), (kind,), grid=(0, 0))(picture, np.random.default_rng(3))  # pyright: ignore
    sampling = {"4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444}[kind]
    options = [cv2.IMWRITE_JPEG_QUALITY, notes[0][1]["quality"], cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    _, data = cv2.imencode(".jpg", from_float(picture, np.uint8)[..., ::-1], options)
    np.testing.assert_array_equal(from_float(ours, np.uint8), cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def test_blocks_begin_where_the_grid_says_else_anywhere() -> None:
    ramp = np.linspace(0.2, 0.8, 64, dtype=np.float32)[None, :, None] + np.zeros((64, 1, 3), np.float32)

    def seams(result: Floats) -> int:
        """The column, of 8, after which neighbors differ most."""
        return int(np.abs(np.diff(result.mean(axis=2), axis=1))[:, :56].sum(axis=0).reshape(7, 8).sum(axis=0).argmax())

    def coded(grid: tuple[int, int] | None, seed: int = 0) -> Floats:
        return jpeg(5, grid=grid)(ramp, np.random.default_rng(seed))

    assert seams(coded((0, 0))) == 7
    assert seams(coded((0, 3))) == 4
    assert len({seams(coded(None, seed)) for seed in range(12)}) > 3


@pytest.mark.parametrize("step", [jpeg, webp, avif])
def test_quality_means_quality(step: Callable[..., Degradation], picture: Floats) -> None:
    low, high = (step(quality=quality)(picture, np.random.default_rng(0)) for quality in (10, 90))
    assert np.square(high - picture).mean() < 0.4 * np.square(low - picture).mean()


# ---------------------------------------------------------------- television


def test_chroma_is_coarser_but_luma_stays(picture: Floats) -> None:
    result = subsampled_chroma(("4:2:0",), wrong=0, blocky=0)(picture, np.random.default_rng(0))
    gray = np.array([0.299, 0.587, 0.114], np.float32)
    # Colors beyond the cube are cut off when chroma was smoothed: most pixels are not
    assert np.median(np.abs((result - picture) @ gray)) < 1 / 255
    assert np.abs(result - picture).max() > 10 / 255


def test_chroma_read_with_the_wrong_siting_is_shifted() -> None:
    y, x = np.mgrid[0:32, 0:32]
    wave = 0.2 * np.sin(x / 5)
    picture = np.stack([0.5 + wave, 0.5 - wave * 0.299 / 0.587, 0.5 + 0 * y], axis=2).astype(np.float32)

    def red(wrong: float, seed: int) -> Floats:
        return subsampled_chroma(("4:2:2",), wrong=wrong, blocky=0)(picture, np.random.default_rng(seed))[8, 4:-4, 0]

    errors = [[np.abs(red(wrong, seed) - picture[8, 4:-4, 0]).max() for seed in range(12)] for wrong in (0, 1)]
    assert max(errors[0]) < 0.01
    assert max(errors[1]) > 0.017  # half a pixel; sitings that differ only between rows do not show here


def test_interlaced_leaves_one_field_in_place(picture: Floats) -> None:
    for seed in range(6):
        woven = interlaced(3, ("woven",))(picture, np.random.default_rng(seed))
        kept = [np.array_equal(woven[first::2], picture[first::2]) for first in (0, 1)]
        assert sorted(kept) == [False, True]
        doubled = interlaced(3, ("doubled",))(picture, np.random.default_rng(seed))
        first = kept.index(True)
        np.testing.assert_allclose(doubled[first::2], picture[first::2], atol=1e-6)
        between = (doubled[first:-2:2] + doubled[first + 2 :: 2]) / 2
        np.testing.assert_allclose(doubled[first + 1 : -1 : 2][: len(between)], between, atol=1e-6)


def test_moving_goes_right_and_down(picture: Floats) -> None:
    np.testing.assert_allclose(moved(picture, 2, 1)[1:, 2:], picture[:-1, :-2], atol=1e-6)


def test_scan_lines_darken_rows_in_their_period() -> None:
    result = scan_lines(0.4, 3, vertical=0)(FLAT, np.random.default_rng(0))
    assert result.min() == pytest.approx(0.3)
    np.testing.assert_allclose(result[3:], result[:-3], atol=1e-6)
    np.testing.assert_array_equal(result[:, :1].repeat(160, 1), result)


# ---------------------------------------------------------------- levels


def test_banding_leaves_so_many_levels(picture: Floats) -> None:
    result = banding(6)(picture, np.random.default_rng(0))
    np.testing.assert_allclose(np.unique(result), np.arange(6) / 5, atol=1e-6)
    assert np.abs(result - picture).max() <= 0.1 + 1e-6


def test_ordered_dither_keeps_the_mean_of_flat_parts() -> None:
    for value in (0.1, 0.33, 0.75, 1.0):
        result = ordered_dither(3, (8,))(FLAT * 2 * np.float32(value), np.random.default_rng(0))
        assert set(np.unique(result)) <= {0, 0.5, 1}
        assert result.mean() == pytest.approx(value, abs=0.5 / 64)
    assert sorted((bayer_matrix(4) * 16 - 0.5).ravel()) == list(range(16))


def test_palettes_hold_so_many_colors_and_diffuse_the_error(picture: Floats) -> None:
    rng = np.random.default_rng(0)
    for diffused in (True, False):
        colors = np.unique(palette(12, diffused)(picture, rng).reshape(-1, 3), axis=0)
        assert 4 <= len(colors) <= 12
    ramp = np.linspace(0, 1, 60, dtype=np.float32)[None, :, None] + np.zeros((40, 1, 3), np.float32)
    smooth = [gaussian_blur(2)(palette(6, diffused)(ramp, rng) - ramp, rng) for diffused in (True, False)]
    assert np.abs(smooth[0]).mean() < 0.7 * np.abs(smooth[1]).mean()


def test_eight_bits_rounds() -> None:
    picture = np.array([[[-0.1, 0.4994 / 255, 1.2], [10.51 / 255, 3 / 255, 1.0]]], np.float32)
    expected = np.array([[[0, 0, 255], [11, 3, 255]]]) / 255
    np.testing.assert_allclose(eight_bits()(picture, np.random.default_rng(0)), expected, atol=1e-7)


def test_halos_overshoot_at_edges_only() -> None:
    edge = np.full((32, 32, 3), 0.3, np.float32)
    edge[:, 16:] = 0.6
    result = halos(0.8, 1.2)(edge, np.random.default_rng(0))
    assert result.max() > 0.63
    assert result.min() < 0.27
    np.testing.assert_allclose(result[:, :8], 0.3, atol=1e-3)
