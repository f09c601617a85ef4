"""The steps around the network: strength, eight-fold averaging, gray, textures that tile, alpha; the same in any bands."""

from collections.abc import Callable, Iterator
from functools import cache

import cv2
import numpy as np
import pytest

from upscale.chain import WRAP_PADDING, Settings
from upscale.checkpoint import Checkpoint
from upscale.engines.choose import Wish
from upscale.enlarge import Enlarger
from upscale.image import Array, Band, Color, Floats, Header, Image, from_float, to_float
from upscale.plans import Tile
from upscale.resample import catmull_rom, resampled
from upscale.rows import bands
from upscale.sizes import Size
from upscale.zoo import load

MakePhoto = Callable[..., Array]
CPU = Wish(device="cpu", precision="fp32")


@cache
def network() -> Checkpoint:
    return load("animevideov3")


def enlarged(image: Image, target: float | Size = 4, tile: Tile = "auto", **settings: object) -> Image:
    return Enlarger(network(), CPU, Settings(tile, **settings)).enlarge(image, target)  # type: ignore[arg-type]


def interpolated(pixels: Array, height: int, width: int) -> Array:
    rows = resampled(bands(to_float(pixels), 64), pixels.shape[:2], (height, width))
    return from_float(np.concatenate(list(rows)), pixels.dtype)


def levels(a: Array, b: Array) -> Floats:
    return np.abs(a.astype(np.float32) - b)


# Strength


def test_wish_16_strength_goes_from_the_interpolated_input_to_the_network(make_photo: MakePhoto) -> None:
    photo = make_photo(40, 50)
    low, middle, high = (enlarged(Image(photo), strength=strength).rgb for strength in (0.0, 0.5, 1.0))
    np.testing.assert_array_equal(low, interpolated(photo, 160, 200))
    np.testing.assert_array_equal(high, enlarged(Image(photo)).rgb)
    assert levels(low, high).mean() > 1
    assert levels(middle, (low.astype(np.float32) + high) / 2).max() <= 1


def test_strength_zero_needs_no_network(make_photo: MakePhoto) -> None:
    enlarger = Enlarger(network(), CPU, Settings(strength=0))
    job = enlarger.job(50, 40, 4)
    assert (job.passes, job.plans) == (0, ())


@pytest.mark.parametrize("strength", [-0.1, 1.01, float("nan")])
def test_other_strengths_are_refused(strength: float) -> None:
    with pytest.raises(ValueError, match="strength"):
        Settings(strength=strength)


# Sizes


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (Size(width=100, height=31), (100, 31)),
        (Size(width=300), (300, 240)),
        (Size(fit=37), (37, 30)),
        (Size(scale=1.3), (65, 52)),
        (Size(width=200, height=160), (200, 160)),
    ],
)
def test_any_size_is_exact_and_in_place(size: Size, wanted: tuple[int, int], make_photo: MakePhoto) -> None:
    photo = make_photo(40, 50)
    got = enlarged(Image(photo), size).rgb
    assert got.shape == (wanted[1], wanted[0], 3)
    plain = interpolated(photo, wanted[1], wanted[0])
    blurred = [cv2.GaussianBlur(pixels, (0, 0), max(1.0, wanted[0] / 25)) for pixels in (got, plain)]
    assert levels(*blurred).mean() < 3, "the same picture, not a shifted one"


# Eight-fold averaging


def test_tta_gives_turned_pictures_turned_results(make_photo: MakePhoto) -> None:
    """What the mean of all eight versions promises; a single pass does not keep it."""
    photo = make_photo(21, 34)
    turned = np.ascontiguousarray(np.rot90(photo)[:, ::-1])
    for tta in (True, False):
        one = enlarged(Image(photo), tta=tta).rgb
        other = enlarged(Image(turned), tta=tta).rgb
        equal = levels(np.rot90(one)[:, ::-1], other).max() <= 1
        assert equal == tta


def test_tta_is_the_mean_of_eight(make_photo: MakePhoto) -> None:
    photo = to_float(make_photo(16, 22))
    total = np.zeros((64, 88, 3))
    for mirror in (False, True):
        for turns in range(4):
            given = np.rot90(photo[:, ::-1] if mirror else photo, turns)
            back = np.rot90(enlarged(Image(np.ascontiguousarray(given)), color_fix=False).rgb, -turns)
            total += back[:, ::-1] if mirror else back
    got = enlarged(Image(photo), tta=True, color_fix=False).rgb
    np.testing.assert_allclose(got, total / 8, atol=1e-5)


def test_tta_plans_for_the_memory_of_whole_pictures() -> None:
    plain, averaged = (Enlarger(network(), CPU, Settings(tta=tta)).job(4000, 3000, 4) for tta in (False, True))
    assert averaged.bytes_whole - plain.bytes_whole > 2 * 12 * 16_000 * 12_000


# Gray


@pytest.mark.parametrize("said", [True, False], ids=["gray file", "gray stored as color"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_row_15_gray_stays_exactly_gray(said: bool, dtype: type, make_photo: MakePhoto) -> None:
    gray = make_photo(40, 30)[..., :1].repeat(3, axis=2).astype(dtype) * (257 if dtype == np.uint16 else 1)
    for settings in ({}, {"color_fix": False}, {"strength": 0.5}, {"tta": True}):
        got = enlarged(Image(gray.astype(dtype), color=Color(gray=said)), 3, **settings).rgb
        assert (got == got[..., :1]).all(), settings


def test_one_colored_pixel_makes_a_colored_picture(make_photo: MakePhoto) -> None:
    gray = make_photo(40, 30)[..., :1].repeat(3, axis=2)
    gray[39, 29] = (255, 0, 0)
    got = enlarged(Image(gray), color_fix=False).rgb
    assert (got != got[..., :1]).any()


# Textures that tile


def texture(height: int = 48, width: int = 40) -> Array:
    """Seamless: a few waves that fit."""
    y, x = np.mgrid[:height, :width]
    rng = np.random.default_rng(3)
    total = np.zeros((height, width, 3))
    for _ in range(12):
        fy, fx, phase = rng.integers(-6, 7), rng.integers(-6, 7), rng.random(3) * 2 * np.pi
        total += np.cos(2 * np.pi * (fy * y / height + fx * x / width)[..., None] + phase)
    return (127 + 110 * total / np.abs(total).max()).astype(np.uint8)


def seam(result: Array, axis: int) -> tuple[float, float]:
    """The mean step from the last row to the first, and the largest mean step between rows inside."""
    rows = np.moveaxis(result.astype(np.float32), axis, 0)
    inside = np.abs(np.diff(rows, axis=0)).mean(axis=(1, 2))
    return float(np.abs(rows[0] - rows[-1]).mean()), float(inside.max())


@pytest.mark.parametrize("target", [4, 3, 1.5, Size(width=100, height=130)])
@pytest.mark.parametrize("settings", [{}, {"strength": 0.4}, {"color_fix": False}])
def test_row_9_a_texture_that_tiles_goes_on_tiling(target: float | Size, settings: dict[str, object]) -> None:
    got = enlarged(Image(texture()), target, wrap="xy", **settings).rgb
    for axis in (0, 1):
        step, inside = seam(got, axis)
        assert step <= inside


def test_row_9_without_wrapping_there_is_a_seam() -> None:
    wrapped, plain = (enlarged(Image(texture()), wrap=wrap).rgb for wrap in ("xy", "none"))
    assert seam(plain, 0)[0] > seam(wrapped, 0)[0]


@pytest.mark.parametrize(("wrap", "shift"), [("x", (0, 13)), ("y", (17, 0)), ("xy", (17, 13))])
def test_a_rolled_texture_gives_the_rolled_result(wrap: str, shift: tuple[int, int]) -> None:
    """Where the file happens to begin makes no difference."""
    pixels = texture(64, 64)
    one = enlarged(Image(pixels), wrap=wrap).rgb
    other = enlarged(Image(np.roll(pixels, shift, (0, 1))), wrap=wrap).rgb
    difference = levels(np.roll(one, (4 * shift[0], 4 * shift[1]), (0, 1)), other)
    assert difference.mean() < 0.5
    assert WRAP_PADDING >= 18, "what animevideov3 sees around a pixel"


# Alpha


def disc(edge: float, hidden: int, size: int = 72) -> Image:
    """A flat green disc whose alpha falls off over `edge` pixels, on hidden garbage."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    alpha = np.clip((size * 0.36 - np.hypot(x, y)) / edge + 0.5, 0, 1)
    rgb = np.where((alpha > 0)[..., None], (60, 180, 75), hidden).astype(np.uint8)
    return Image(rgb, np.rint(alpha * 255).astype(np.uint8))


def composed(image: Image, background: int) -> Floats:
    assert image.alpha is not None
    share = image.alpha[..., None].astype(np.float32) / 255
    return image.rgb * share + background * (1 - share)


OWN = np.float32([60, 180, 75])


def from_edge(target: float, finer: int = 1, size: int = 72) -> Floats:
    """Of the centers of `disc`'s pixels, enlarged, how far outside its edge they are, in the input's pixels."""
    side = round(size * target) * finer
    y, x = (np.mgrid[:side, :side] + 0.5) * (size / side) - size / 2
    return (np.hypot(x, y) - size * 0.36).astype(np.float32)


@cache
def ideal(edge: float, target: float) -> Image:
    """`disc` as if drawn in the size wanted, and nothing hidden; each pixel is the mean of 4 × 4 finer ones."""
    fine = np.clip(0.5 - from_edge(target, 4) / edge, 0, 1)
    side = round(72 * target)
    alpha = cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)
    return Image(np.broadcast_to(OWN.astype(np.uint8), (side, side, 3)), np.rint(alpha * 255).astype(np.uint8))


def faults(got: Image, edge: float, target: float) -> set[str]:
    """What a viewer would see as a rim or a halo around an enlarged `disc`; levels are out of 255."""
    assert got.alpha is not None
    wanted, distance, found = ideal(edge, target), from_edge(target), set[str]()
    if (np.abs(got.rgb - OWN) * (got.alpha[..., None] / 255)).max() > 8:
        found.add("a rim of another color")
    away = np.abs(distance) > edge / 2 + 2 + 0.5 / target
    for background in (0, 255):
        difference = composed(got, background) - composed(wanted, background)
        if np.abs(difference[away]).max() > 5:
            found.add("a halo away from the edge")
        if np.abs(cv2.GaussianBlur(difference, (0, 0), 2.5 * target)).max() > 8:
            found.add("another size")
    rings = np.floor(distance * target).astype(int)
    profile = [got.alpha[rings == ring].mean() for ring in range(rings.min(), int(8 * target))]
    if np.diff(profile).max() > 3:
        found.add("alpha that falls and rises again")
    return found


@pytest.mark.parametrize("target", [0.5, 1, 1.5, 2, 3, 4, 5])
@pytest.mark.parametrize(("edge", "hidden"), [(0.01, 0), (1, 0), (3, 255)])
def test_rows_10_and_12_no_rim_at_any_scale(target: float, edge: float, hidden: int) -> None:
    """Over black, white and its own color, it looks like the disc drawn in that size. (How steep the very edge is, is
    the network's choice.)"""
    assert faults(enlarged(disc(edge, hidden), target), edge, target) == set()


@pytest.mark.parametrize("target", [0.5, 3])
@pytest.mark.parametrize("hidden", [0, 255])
def test_row_10_without_bleeding_there_is_a_rim(target: float, hidden: int) -> None:
    assert "a rim of another color" in faults(enlarged(disc(0.01, hidden), target, bleed=False), 0.01, target)


@pytest.mark.parametrize(
    ("inner", "outer", "change", "fault"),
    [
        (3, 6, 10, "a halo away from the edge"),
        (-6, -3, -10, "a halo away from the edge"),
        (1, 2, 60, "alpha that falls and rises again"),
        (-1, 1, 80, "another size"),
    ],
)
@pytest.mark.parametrize("target", [1, 3])
def test_rows_10_and_12_a_halo_in_alpha_would_be_seen(
    target: float, inner: float, outer: float, change: int, fault: str
) -> None:
    """That the comparison above finds what it is for."""
    right, distance = ideal(1, target), from_edge(target)
    assert right.alpha is not None
    assert faults(right, 1, target) == set()
    alpha = right.alpha + change * ((distance > inner) & (distance < outer))
    assert fault in faults(Image(right.rgb, alpha.clip(0, 255).astype(np.uint8)), 1, target)


@pytest.mark.parametrize("target", [0.5, 2, 3, 4])
def test_row_12_alpha_has_the_pictures_scale_and_stays_in_place(target: float) -> None:
    image = disc(1, 0)
    assert image.alpha is not None
    got = enlarged(image, target).alpha
    assert got is not None
    side = got.shape[0]
    assert got.shape == (side, side) == (round(72 * target), round(72 * target))
    plain = interpolated_mask(image.alpha, side)
    assert (got[plain_area(image.alpha, 255, side)] == 255).all(), "what is opaque stays so"
    assert (got[plain_area(image.alpha, 0, side)] == 0).all(), "what is transparent stays so"
    assert abs(got.mean(dtype=float) - plain.mean(dtype=float)) < 1
    assert np.abs(got.astype(float) - got[:, ::-1]).mean() < 1, "not pulled to one side"


def interpolated_mask(alpha: Array, side: int) -> Array:
    rows = resampled(bands(to_float(alpha)[..., None], 64), alpha.shape, (side, side), catmull_rom)  # type: ignore[arg-type]
    return from_float(np.concatenate(list(rows))[..., 0], np.uint8)


def plain_area(alpha: Array, value: int, side: int) -> Array:
    """Where all pixels within four are `value`, in the result's size."""
    near = cv2.erode((alpha == value).astype(np.uint8), np.ones((9, 9), np.uint8))
    return cv2.resize(near, (side, side), interpolation=cv2.INTER_NEAREST) > 0


def test_row_10_jagged_edges_of_sprites_become_smooth() -> None:
    """The network draws the edge of a mask without any soft pixels, where interpolation blurs its stairs."""
    image = disc(0.01, 0)
    drawn, blurred = (enlarged(image, 4, bleed=bleed).alpha for bleed in (True, False))
    assert drawn is not None
    assert blurred is not None
    y, x = np.mgrid[:288, :288] - 143.5
    truth = np.clip(288 * 0.36 - np.hypot(x, y) + 0.5, 0, 1) * 255
    errors = [float(np.abs(mask - truth).mean()) for mask in (drawn, blurred)]
    assert errors[0] < 0.7 * errors[1], errors


def test_alpha_that_is_data_is_interpolated() -> None:
    image = disc(1, 0)
    got = enlarged(image, 4, bleed=False).alpha
    assert image.alpha is not None
    np.testing.assert_array_equal(got, interpolated_mask(image.alpha, 288))


@pytest.mark.parametrize("value", [255, 128, 1, 0])
@pytest.mark.parametrize("target", [1.3, 4])
def test_constant_alpha_stays_constant_and_visible_colors_are_untouched_by_it(
    value: int, target: float, make_photo: MakePhoto
) -> None:
    photo = make_photo(40, 30)
    got = enlarged(Image(photo, np.full((40, 30), value, np.uint8)), target)
    assert got.alpha is not None
    assert (got.alpha == value).all()
    if value in (255, 128):
        np.testing.assert_array_equal(got.rgb, enlarged(Image(photo), target).rgb)


def test_hidden_colors_are_kept_where_they_are_data(make_photo: MakePhoto) -> None:
    """Textures of games keep other maps in their alpha."""
    photo, alpha = make_photo(40, 30), np.zeros((40, 30), np.uint8)
    alpha[:10] = 255
    kept, bled = (enlarged(Image(photo, alpha), bleed=bleed).rgb for bleed in (False, True))
    np.testing.assert_array_equal(kept, enlarged(Image(photo)).rgb)
    assert levels(kept, bled)[80:].mean() > 1


# Bands


def test_row_8_bands_make_no_difference_to_the_mean_of_eight(make_photo: MakePhoto) -> None:
    photo = make_photo(60, 30)
    np.testing.assert_array_equal(enlarged(Image(photo), tile=16, tta=True).rgb, enlarged(Image(photo), tta=True).rgb)


class Slow:
    """A picture that gives one row at a time, and counts how often it is read."""

    def __init__(self, image: Image) -> None:
        self.image, self.reads = image, 0

    @property
    def header(self) -> Header:
        return self.image.header

    def bands(self) -> Iterator[Band]:
        self.reads += 1
        for row in range(self.image.height):
            rows = slice(row, row + 1)
            yield Band(self.image.rgb[rows], None if self.image.alpha is None else self.image.alpha[rows])


@pytest.mark.parametrize("tile", [16, 64])
@pytest.mark.parametrize(
    "settings",
    [{}, {"strength": 0.3, "wrap": "xy"}, {"bleed": False}],
    ids=str,
)
@pytest.mark.parametrize("target", [4, 2.5])
def test_row_8_bands_make_no_difference(
    tile: Tile, settings: dict[str, object], target: float, make_photo: MakePhoto
) -> None:
    photo = make_photo(100, 36)
    alpha = np.zeros((100, 36), np.uint8)
    alpha[20:90, 5:30] = 200
    wanted = enlarged(Image(photo, alpha), target, **settings)
    picture = Slow(Image(photo, alpha))
    enlarger = Enlarger(network(), CPU, Settings(tile, **settings))  # type: ignore[arg-type]
    got = list(enlarger.bands(picture, target))
    np.testing.assert_array_equal(np.concatenate([band.rgb for band in got]), wanted.rgb)
    assert wanted.alpha is not None
    np.testing.assert_array_equal(np.concatenate([band.alpha for band in got if band.alpha is not None]), wanted.alpha)
