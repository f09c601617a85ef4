"""FFmpeg's frames ↔ our planes: no code changes, however it was stored."""

from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from upscale.errors import UpscaleError
from upscale.frame import Layout
from upscale.media.video.planes import frame_from, layout_of, planar_name, planes_from

Codes = npt.NDArray[Any]
SIZES = [(16, 8), (34, 6), (2, 2)]
ODD = [(15, 7), (1, 1), (33, 5)]

SEMIPLANAR = {
    "nv12": ("UV", 8, 0, 1, 1),
    "nv21": ("VU", 8, 0, 1, 1),
    "nv16": ("UV", 8, 0, 1, 0),
    "nv24": ("UV", 8, 0, 0, 0),
    "nv42": ("VU", 8, 0, 0, 0),
    "nv20le": ("UV", 10, 0, 1, 0),
    "p010le": ("UV", 10, 6, 1, 1),
    "p010be": ("UV", 10, 6, 1, 1),
    "p210le": ("UV", 10, 6, 1, 0),
    "p410le": ("UV", 10, 6, 0, 0),
    "p012le": ("UV", 12, 4, 1, 1),
    "p016le": ("UV", 16, 0, 1, 1),
}
"""Luma in a plane, chroma in pairs: their order, depth, how far codes are shifted up, and log2 of the subsampling."""

PACKED = {
    "rgb24": ("RGB", 8, 0),
    "bgr24": ("BGR", 8, 0),
    "rgba": ("RGBA", 8, 0),
    "bgra": ("BGRA", 8, 0),
    "argb": ("ARGB", 8, 0),
    "abgr": ("ABGR", 8, 0),
    "bgr0": ("BGR-", 8, 0),
    "0rgb": ("-RGB", 8, 0),
    "rgb48le": ("RGB", 16, 0),
    "rgb48be": ("RGB", 16, 0),
    "bgr48le": ("BGR", 16, 0),
    "rgba64le": ("RGBA", 16, 0),
    "bgra64be": ("BGRA", 16, 0),
    "vuya": ("VUYA", 8, 0),
    "vuyx": ("VUY-", 8, 0),
    "ayuv64le": ("AYUV", 16, 0),
    "xv36le": ("UYV-", 12, 4),
    "yuyv422": ("YUYV", 8, 0),
    "uyvy422": ("UYVY", 8, 0),
    "yvyu422": ("YVYU", 8, 0),
    "y210le": ("YUYV", 10, 6),
    "y212le": ("YUYV", 12, 4),
}
"""All in one plane: the components of a pixel, or of two that share their chroma; depth, shift."""

# fmt: off
PLANAR = [
    "yuv420p", "yuv422p", "yuv444p", "yuv411p", "yuv410p", "yuv440p", "yuva420p", "yuva444p", "gray", "gbrp", "gbrap",
    "yuv420p9le", "yuv420p10le", "yuv420p10be", "yuv422p12be", "yuv444p12le", "yuv444p14be", "yuv420p16be",
    "yuva444p10be", "gray9le", "gray10le", "gray10be", "gray12be", "gray16be", "gbrp10be", "gbrp16le", "gbrap10le",
    "gbrap12be",
]
# fmt: on


def codes_for(layout: Layout, size: tuple[int, int], seed: int = 0) -> list[Codes]:
    """Random ones, the lowest and the highest among them."""
    rng = np.random.default_rng(seed)
    planes = [rng.integers(0, 1 << layout.depth, shape) for shape in layout.shapes(*size)]
    for plane in planes:
        plane.flat[0], plane.flat[-1] = 0, (1 << layout.depth) - 1
    return planes


def stored(frame: av.VideoFrame, plane: int, depth: int) -> Codes:
    """A plane's memory as codes of the format's byte order, padding and all."""
    order = ">" if frame.format.name.endswith("be") else "<"
    found = frame.planes[plane]
    return np.frombuffer(found, np.uint8 if depth == 8 else f"{order}u2").reshape(found.height, -1)


def check(frame: av.VideoFrame, wanted: list[Codes], layout: Layout) -> None:
    planes, found = planes_from(frame)
    assert found == layout_of(frame.format) == layout
    assert len(planes) == len(wanted)
    for plane, codes in zip(planes, wanted, strict=True):
        assert plane.dtype == layout.dtype
        np.testing.assert_array_equal(plane, codes)


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("size", SIZES + ODD, ids=str)
@pytest.mark.parametrize("name", SEMIPLANAR)
def test_chroma_in_pairs(name: str, size: tuple[int, int]) -> None:
    order, depth, shift, sub_x, sub_y = SEMIPLANAR[name]
    layout = Layout("yuv", depth, sub_x, sub_y)
    luma, *chroma = codes_for(layout, size)
    frame = av.VideoFrame(*size, name)
    stored(frame, 0, depth)[:, : size[0]] = luma << shift
    pairs = stored(frame, 1, depth)
    for place, letter in enumerate(order):
        plane = chroma["UV".index(letter)]
        pairs[:, place : 2 * plane.shape[1] : 2] = plane << shift
    check(frame, [luma, *chroma], layout)


def test_no_row_is_lost_once_in_a_hundred_times() -> None:
    """As a hardware decoder gives frames of 10 bits."""
    layout = Layout("yuv", 10, 1, 1)
    frame = av.VideoFrame(34, 6, "p010le")
    luma, blue, red = codes_for(layout, (34, 6))
    stored(frame, 0, 10)[:, :34] = luma << 6
    pairs = stored(frame, 1, 10)
    pairs[:, 0:34:2], pairs[:, 1:34:2] = blue << 6, red << 6
    for _ in range(400):
        check(frame, [luma, blue, red], layout)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", PACKED)
def test_all_in_one_plane(name: str, size: tuple[int, int]) -> None:
    order, depth, shift = PACKED[name]
    letters = "RGB" if "R" in order else "YUV"
    half = order.count("Y") == 2
    layout = Layout("rgb" if "R" in order else "yuv", depth, int(half), 0, "A" in order)
    planes = codes_for(layout, size)
    frame = av.VideoFrame(*size, name)
    memory, seen = stored(frame, 0, depth), 0
    for place, letter in enumerate(order):
        places = memory[:, place : size[0] * len(order) // (1 + half) : len(order)]
        if letter == "-":
            places[:] = 77
            continue
        plane = planes[(letters + "A").index(letter)]
        if letter == "Y" and half:
            plane, seen = plane[:, seen::2], seen + 1
        places[:] = plane << shift
    check(frame, planes, layout)


@pytest.mark.parametrize("name", PLANAR)
def test_planes_of_either_byte_order(name: str) -> None:
    for size in (*SIZES, *ODD):
        frame = av.VideoFrame(*size, name)
        layout = layout_of(frame.format)
        planes = codes_for(layout, size)
        order = [planes[1], planes[2], planes[0], *planes[3:]] if layout.kind == "rgb" else planes  # G, B, R, A
        for index, plane in enumerate(order):
            stored(frame, index, layout.depth)[:, : plane.shape[1]] = plane
        check(frame, planes, layout)


def test_three_colors_in_a_word() -> None:
    layout = Layout("rgb", 10, 0, 0)
    red, green, blue = codes_for(layout, (16, 8))
    frame = av.VideoFrame(16, 8, "x2rgb10le")
    words = np.frombuffer(frame.planes[0], "<u4").reshape(8, -1)
    words[:, :16] = red << 20 | green << 10 | blue
    check(frame, [red, green, blue], layout)


@pytest.mark.parametrize("opaque", [True, False])
def test_palettes_become_their_colors(opaque: bool) -> None:
    rng = np.random.default_rng(1)
    palette = rng.integers(0, 256, (256, 4), dtype=np.uint8)  # alpha, red, green, blue
    if opaque:
        palette[:, 0] = 255
    numbers = rng.integers(0, 256, (8, 16), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray((numbers, palette), format="pal8")  # type: ignore[arg-type]
    planes, layout = planes_from(frame)
    assert layout.kind == "rgb"
    for place, plane in enumerate(planes):
        np.testing.assert_array_equal(plane, palette[numbers][..., (place + 1) % 4])


def test_old_full_range_names_are_taken_as_they_are() -> None:
    frame = av.VideoFrame(16, 8, "yuvj422p")
    planes = codes_for(Layout("yuv", 8, 1, 0), (16, 8))
    for index, plane in enumerate(planes):
        stored(frame, index, 8)[:, : plane.shape[1]] = plane
    check(frame, planes, Layout("yuv", 8, 1, 0))


def test_planar_frames_are_not_copied() -> None:
    frame = av.VideoFrame(16, 8, "yuv420p")
    planes, _ = planes_from(frame)
    stored(frame, 0, 8)[3, 5] = 123
    assert planes[0][3, 5] == 123


@pytest.mark.parametrize("name", ["ya8", "ya16le"])
def test_gray_with_alpha_has_one_layout(name: str) -> None:
    """Whatever it becomes, what is told of the format is what its frames are."""
    frame = av.VideoFrame(16, 8, name)
    stored(frame, 0, 8 if name == "ya8" else 16)[:] = 200
    planes, layout = planes_from(frame)
    assert layout == layout_of(frame.format)
    assert [plane.shape for plane in planes] == layout.shapes(16, 8)


# ---------------------------------------------------------------- what is written


def written_names() -> list[str]:
    return [name for name in (*PLANAR, *SEMIPLANAR, *PACKED) if name not in ("yuv444p14be",)]


@pytest.mark.parametrize("name", written_names())
def test_a_frame_holds_the_planes_it_was_made_of(name: str) -> None:
    layout = layout_of(av.VideoFormat(name))
    for size in SIZES:
        planes = tuple(plane.astype(layout.dtype) for plane in codes_for(layout, size, 3))
        frame = frame_from(planes, name)
        assert (frame.width, frame.height, frame.format.name) == (*size, name)
        check(frame, list(planes), layout)


@pytest.mark.parametrize("name", ["ya8", "ya16le"])
def test_gray_with_alpha_counts_as_rgb_with_alpha(name: str) -> None:
    assert layout_of(av.VideoFormat(name)) == Layout("rgb", 8 if name == "ya8" else 16, 0, 0, alpha=True)


def test_planes_that_do_not_fit_are_refused() -> None:
    planes = tuple(np.zeros(shape, np.uint8) for shape in Layout("yuv", 8, 0, 0).shapes(16, 8))
    with pytest.raises((ValueError, UpscaleError)):
        frame_from(planes, "yuv420p")
    with pytest.raises((ValueError, UpscaleError)):
        frame_from(planes[:2], "yuv444p")


def test_names_and_layouts_belong_to_one_another() -> None:
    for name in PLANAR:
        if not name.endswith("be"):
            assert planar_name(layout_of(av.VideoFormat(name))) == name


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("yuv410p", Layout("yuv", 8, 2, 2)),
        ("yuv440p10le", Layout("yuv", 10, 0, 1)),
        ("yuva422p12le", Layout("yuv", 12, 1, 0, True)),
        ("gbrap14le", Layout("rgb", 14, 0, 0, True)),
        ("monow", Layout("gray", 8, 0, 0)),
        ("rgb565le", Layout("rgb", 8, 0, 0)),
        ("v30xle", Layout("yuv", 10, 0, 0)),
    ],
)
def test_layouts(name: str, layout: Layout) -> None:
    assert layout_of(av.VideoFormat(name)) == layout
