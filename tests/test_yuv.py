"""Planes ↔ RGB: against the standards' own numbers, and back again."""

from itertools import product

import numpy as np
import pytest

from upscale.frame import FloatPicture, Layout
from upscale.image import Color
from upscale.yuv import LUMA_WEIGHTS, MATRICES, planes_of, rgb_of

PLACES = ("left", "center", "topleft", "top", "bottomleft", "bottom")
LAYOUTS = [Layout("yuv", depth, x, y) for depth in (8, 10, 12) for x, y in ((0, 0), (1, 0), (1, 1), (2, 0), (0, 1))]


def flat(codes: tuple[int, ...], layout: Layout, width: int = 8, height: int = 6) -> tuple[np.ndarray, ...]:
    shapes = layout.shapes(width, height)
    return tuple(np.full(shape, code, layout.dtype) for shape, code in zip(shapes, codes, strict=True))


# 75 % color bars: 8-bit codes of BT.601 (SMPTE EG 1) and of BT.709 (SMPTE RP 219), limited range.
BARS = {
    "bt601": {
        (0.75, 0.75, 0): (162, 44, 142),
        (0, 0.75, 0.75): (131, 156, 44),
        (0, 0.75, 0): (112, 72, 58),
        (0.75, 0, 0.75): (84, 184, 198),
        (0.75, 0, 0): (65, 100, 212),
        (0, 0, 0.75): (35, 212, 114),
    },
    "bt709": {
        (0.75, 0.75, 0): (168, 44, 136),
        (0, 0.75, 0.75): (145, 147, 44),
        (0, 0.75, 0): (133, 63, 52),
        (0.75, 0, 0.75): (63, 193, 204),
        (0.75, 0, 0): (51, 109, 212),
        (0, 0, 0.75): (28, 212, 120),
    },
}


@pytest.mark.parametrize("matrix", BARS)
def test_color_bars_have_the_codes_of_the_standards(matrix: str) -> None:
    layout, color = Layout("yuv", 8, 0, 0), Color(matrix=matrix, full_range=False)
    for rgb, codes in BARS[matrix].items():
        planes = planes_of(np.full((2, 2, 3), rgb, np.float32), None, layout, color)
        assert tuple(int(plane[0, 0]) for plane in planes) == codes


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("matrix", [*LUMA_WEIGHTS, "ycgco"])
def test_flat_colors_come_back_as_the_same_codes(matrix: str, layout: Layout, full: bool) -> None:
    for place, values in product(PLACES, np.random.default_rng(3).uniform(0.05, 0.95, (3, 3))):
        color = Color(matrix=matrix, full_range=full, chroma_location=place)
        rgb = np.broadcast_to(values.astype(np.float32), (5, 7, 3)).copy()
        codes = planes_of(rgb, None, layout, color)
        back, _ = rgb_of(codes, layout, color)
        assert back.dtype == np.float32
        assert back.shape == (5, 7, 3)
        assert np.abs(back - rgb).max() < 2.1 / (1 << layout.depth)
        assert [plane.tolist() for plane in planes_of(back, None, layout, color)] == [p.tolist() for p in codes]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("sub", [(1, 0), (1, 1)])
def test_chroma_stays_where_it_was(sub: tuple[int, int], place: str) -> None:
    """A slope of chroma, sampled at the places that the standard gives, is the same slope at full size."""
    layout, color = Layout("yuv", 12, *sub), Color(matrix="bt709", full_range=True, chroma_location=place)
    height, width = 16, 24
    dx = 0.5 if sub[0] and not place.endswith("left") else 0.0
    dy = (0.0 if place.startswith("top") else 1.0 if place.startswith("bottom") else 0.5) if sub[1] else 0.0
    columns = np.arange(width >> sub[0]) * (1 << sub[0]) + dx
    rows = np.arange(height >> sub[1]) * (1 << sub[1]) + dy
    slope = 1600 + 20 * columns[None, :] + 30 * rows[:, None]
    luma, flat_chroma = np.full((height, width), 2048, np.uint16), np.full(slope.shape, 2048, np.uint16)
    rgb, _ = rgb_of((luma, slope.astype(np.uint16), flat_chroma), layout, color)
    full = 1600 + 20 * np.arange(width)[None, :] + 30 * np.arange(height)[:, None]
    blue = (full - 2048) / 4095 * 2 * (1 - 0.0722) + 2048 / 4095
    assert np.abs(rgb[2:-2, 2:-2, 2] - blue[2:-2, 2:-2]).max() < 1e-3
    _, again, _ = planes_of(rgb, None, layout, color)
    assert np.abs(again[2:-2, 2:-2].astype(int) - slope[2:-2, 2:-2]).max() <= 1


def test_white_and_black_in_both_ranges() -> None:
    for depth, unit in ((8, 1), (10, 4)):
        layout = Layout("yuv", depth)
        for full, codes in ((False, (16 * unit, 235 * unit)), (True, (0, 256 * unit - 1))):
            color = Color(matrix="bt709", full_range=full)
            for code, value in zip(codes, (0.0, 1.0), strict=True):
                rgb, alpha = rgb_of(flat((code, 128 * unit, 128 * unit), layout), layout, color)
                assert alpha is None
                assert np.abs(rgb - value).max() < 1e-5


def test_blacker_than_black_and_whiter_than_white_are_cut_off() -> None:
    layout, color = Layout("yuv", 8), Color(matrix="bt709", full_range=False)
    for code, kept in ((4, 16), (250, 235)):
        rgb, _ = rgb_of(flat((code, 128, 128), layout), layout, color)
        assert int(planes_of(rgb, None, layout, color)[0][0, 0]) == kept


@pytest.mark.parametrize("depth", [8, 10, 16])
@pytest.mark.parametrize("full", [False, True])
def test_gray_and_rgb_layouts(depth: int, full: bool) -> None:
    rng = np.random.default_rng(5)
    low, high = (0, (1 << depth) - 1) if full else (16 << (depth - 8), 235 << (depth - 8))
    color = Color(matrix="rgb", full_range=full)
    for kind, count in (("rgb", 3), ("gray", 1)):
        layout = Layout(kind, depth, 0, 0)  # type: ignore[arg-type]
        planes = tuple(rng.integers(low, high + 1, (4, 6)).astype(layout.dtype) for _ in range(count))
        rgb, _ = rgb_of(planes, layout, color)
        assert all((one == two).all() for one, two in zip(planes, planes_of(rgb, None, layout, color), strict=True))


def test_alpha_is_of_full_range_and_exact() -> None:
    layout, color = Layout("yuv", 10, 1, 1, alpha=True), Color(matrix="bt709", full_range=False)
    alpha = np.arange(0, 1024, 1024 // 48)[:48].reshape(6, 8).astype(np.uint16)
    planes = (*flat((500, 512, 512), Layout("yuv", 10)), alpha)
    rgb, opacity = rgb_of(planes, layout, color)
    assert opacity is not None
    assert (planes_of(rgb, opacity, layout, color)[-1] == alpha).all()


def test_every_matrix_is_its_own() -> None:
    rgb = np.full((2, 2, 3), (0.2, 0.7, 0.4), np.float32)
    found = {
        matrix: tuple(int(p[0, 0]) for p in planes_of(rgb, None, Layout("yuv", 16, 0, 0), Color(matrix=matrix)))
        for matrix in MATRICES
        if matrix != "rgb"
    }
    assert len(set(found.values())) == len(found)
    with pytest.raises(KeyError):
        planes_of(rgb, None, Layout(), Color(matrix="ictcp"))


def test_odd_sizes() -> None:
    layout, color = Layout("yuv", 8), Color(matrix="bt601", full_range=False)
    rgb = np.random.default_rng(1).random((7, 9, 3), np.float32)
    planes = planes_of(rgb, None, layout, color)
    assert [plane.shape for plane in planes] == layout.shapes(9, 7) == [(7, 9), (4, 5), (4, 5)]
    assert rgb_of(planes, layout, color)[0].shape == (7, 9, 3)


def test_a_float_picture_asks_for_as_much_exactness_as_its_depth_needs() -> None:
    rgb = np.zeros((2, 3, 3), np.float32)
    assert FloatPicture(rgb).header.dtype == np.float16
    assert FloatPicture(rgb, deep=True).header.dtype == np.float32
    assert next(FloatPicture(rgb).bands()).rgb is rgb
