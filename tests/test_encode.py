"""Results in files: every pixel and every word that the format can hold, a line about what it cannot, or no file."""

import io
import itertools
import resource
import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image as Pil
from PIL import ImageCms

from upscale.errors import OutputError, PictureError
from upscale.image import Animation, Band, Color, Header, Image, Metadata
from upscale.media.folder import Places, tasks
from upscale.media.formats import (
    AVIF,
    BMP,
    FORMATS,
    GIF,
    HEIC,
    JPEG,
    JPEG_2000,
    JPEG_XL,
    PNG,
    PPM,
    TIFF,
    WEBP,
    Format,
    format_of,
)
from upscale.media.writing import check, encode, whole
from upscale.media.writing.encode import Encoding, bytes_needed, losses, save

Pixels = npt.NDArray[Any]
MakePhoto = Callable[..., Pixels]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ORIENTATION, WIDTH_TAG, HEIGHT_TAG, CAMERA, PLACE = 0x0112, 0xA002, 0xA003, 0x8769, 0x8825
LOSSLESS = [PNG, TIFF, BMP, PPM, JPEG_2000]
named = {"ids": lambda format_: format_.name}


def write(path: Path, image: Image, quality: int | None = None, background: Any = None) -> list[str]:
    """Through `save`, in uneven bands; the warnings that were given."""
    encoding = Encoding(format_of(path), quality, background)
    save(path, image.header, None, encoding, iter([uneven(image)]))
    return losses(image.header, None, encoding)


def uneven(image: Image) -> Iterator[Band]:
    cuts = [0, image.height // 3, image.height // 3, image.height // 2, image.height]
    for start, stop in itertools.pairwise(cuts):
        yield Band(image.rgb[start:stop], None if image.alpha is None else image.alpha[start:stop])


def opened(path: Path) -> Any:
    if path.suffix in (".heic", ".jxl"):
        pytest.importorskip({".heic": "pillow_heif", ".jxl": "pillow_jxl"}[path.suffix])
    if path.suffix == ".heic":
        from pillow_heif import HeifImageFile

        picture: Any = HeifImageFile(path)
    else:
        picture = Pil.open(path)
    with picture:
        picture.load()
        return picture


def place(folder: Path, format_: Format) -> Path:
    if format_.extra is not None:
        pytest.importorskip({"heic": "pillow_heif", "jxl": "pillow_jxl"}[format_.extra])
    return folder / f"a{format_.suffixes[0]}"


@pytest.fixture
def small(make_photo: MakePhoto) -> Pixels:
    return make_photo(12, 17)


@pytest.fixture
def photo64(make_photo: MakePhoto) -> Pixels:
    """64×80, without grain: what lossy formats are made for."""
    return cv2.GaussianBlur(make_photo(64, 80), (0, 0), 1.5)


@pytest.fixture
def deep(make_photo: MakePhoto) -> Pixels:
    return make_photo(40, 50, dtype=np.uint16)


# Pixels


@pytest.mark.parametrize("format_", FORMATS, **named)
def test_8_bit_color_comes_back_in_every_format(tmp_path: Path, photo64: Pixels, format_: Format) -> None:
    path = place(tmp_path, format_)
    warned = write(path, Image(photo64))
    assert not warned or format_ is GIF
    back = np.asarray(opened(path).convert("RGB"))
    if format_ in LOSSLESS:
        assert np.array_equal(back, photo64)
    else:
        assert np.abs(back.astype(int) - photo64).mean() < 6, "channels keep their order"


@pytest.mark.parametrize("format_", [each for each in FORMATS if each.alpha], **named)
def test_transparency_comes_back_in_every_format_that_has_it(tmp_path: Path, photo64: Pixels, format_: Format) -> None:
    alpha = np.repeat(np.linspace(0, 255, 80).astype(np.uint8)[None], 64, axis=0)
    path = place(tmp_path, format_)
    write(path, Image(photo64, alpha))
    back = np.asarray(opened(path).convert("RGBA"))[..., 3]
    if format_ is GIF:
        assert np.array_equal(back > 0, alpha >= 128)
    elif format_ in (AVIF, HEIC):
        assert np.abs(back.astype(int) - alpha).max() <= 6
    else:
        assert np.array_equal(back, alpha)


@pytest.mark.parametrize("channels", ["gray", "gray and alpha", "color", "color and alpha"])
@pytest.mark.parametrize("format_", [PNG, TIFF, PPM, JPEG_2000], **named)
def test_16_bit_keeps_every_level(tmp_path: Path, deep: Pixels, format_: Format, channels: str) -> None:
    if format_ is PPM and "alpha" in channels:
        pytest.skip("PPM has no transparency")
    gray = "gray" in channels
    rgb = np.repeat(deep[..., :1], 3, axis=2) if gray else deep
    alpha = deep[..., 1].copy() if "alpha" in channels else None
    path = place(tmp_path, format_)
    assert write(path, Image(rgb, alpha, Color(16, gray))) == []
    back: Any = tifffile.imread(path) if format_ is TIFF else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if format_ is not TIFF and back.ndim == 3:
        back = back[..., [2, 1, 0, 3][: back.shape[2]]]
    assert back.dtype == np.uint16
    assert np.array_equal(back if back.ndim == 2 else back[..., 0], rgb[..., 0])
    if not gray:
        assert np.array_equal(back[..., :3], rgb)
    if alpha is not None:
        assert np.array_equal(back[..., -1], alpha)
    assert len(np.unique(back)) > 1000


@pytest.mark.parametrize("suffix", [".jp2", ".j2k", ".j2c"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_jpeg_2000_has_its_boxes_where_the_name_says_so(
    tmp_path: Path, make_photo: MakePhoto, suffix: str, dtype: Any
) -> None:
    pixels = make_photo(35, 40, dtype=dtype)
    path = tmp_path / f"a{suffix}"
    write(path, Image(pixels, None, Color(16 if dtype == np.uint16 else 8)))
    assert path.read_bytes().startswith(b"\0\0\0\x0cjP  " if suffix == ".jp2" else b"\xff\x4f\xff\x51")
    assert opened(path).size == (40, 35)
    back = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)  # Pillow cuts to 8 bits, and wraps white to black
    assert back is not None
    assert np.array_equal(back[..., ::-1], pixels)


@pytest.mark.parametrize("value", [0.0, 0.25, 0.5, 1.0, 1.5, -0.5])
def test_float_pixels_are_clipped_and_rounded(tmp_path: Path, value: float) -> None:
    image = Image(np.full((4, 4, 3), value, np.float32), np.full((4, 4), 0.5, np.float32))
    write(tmp_path / "a.png", image)
    write(tmp_path / "a.webp", image, quality=100)
    kept = min(max(value, 0.0), 1.0)
    deep = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert deep is not None
    assert set(deep[..., :3].ravel()) == {round(kept * 65535)}
    assert set(deep[..., 3].ravel()) == {32768}
    assert set(np.asarray(opened(tmp_path / "a.webp"))[..., 0].ravel()) == {round(kept * 255)}


@pytest.mark.parametrize("format_", FORMATS, **named)
@pytest.mark.parametrize("with_alpha", [False, True])
def test_row_15_gray_is_exactly_gray_in_every_format(
    tmp_path: Path, make_photo: MakePhoto, format_: Format, with_alpha: bool
) -> None:
    """What the network made of gray differs between channels; the gray that was meant is their mean."""
    gray = make_photo(64, 80)[..., 1].astype(int)
    gray[:16, :] = np.arange(80) * 3  # every level of a ramp, also those that lossy WebP cannot tell
    tinted = np.clip(gray[..., None] + np.array((0, 3, 5)), 0, 255).astype(np.uint8)
    alpha = np.full((64, 80), 255, np.uint8) if with_alpha else None
    path = place(tmp_path, format_)
    warned = write(path, Image(tinted, alpha, Color(gray=True)))
    picture = opened(path)
    if format_.gray and format_ is not GIF:
        assert picture.mode in ("L", "LA")
    back = np.asarray(picture.convert("RGBA"))
    assert np.array_equal(back[..., 0], back[..., 1])
    assert np.array_equal(back[..., 0], back[..., 2])
    wanted = np.rint(tinted.mean(axis=2))
    if format_ in (*LOSSLESS, WEBP):
        assert np.array_equal(back[..., 0], wanted)
    assert np.abs(back[..., 0] - wanted).mean() < 4
    assert not any("gray" in text for text in warned)


def test_lossy_gray_webp_only_on_demand_and_told(tmp_path: Path, photo64: Pixels) -> None:
    gray = np.repeat(photo64[..., :1], 3, axis=2)
    (warning,) = write(tmp_path / "a.webp", Image(gray, None, Color(gray=True)), quality=90)
    assert "gray" in warning
    back = np.asarray(opened(tmp_path / "a.webp")).astype(int)
    assert np.abs(back[..., 0] - back[..., 1]).max() <= 1


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp", ".gif"])
def test_16_bit_is_rounded_where_the_format_has_8(tmp_path: Path, suffix: str) -> None:
    flat = np.full((16, 16, 3), 200 * 257 + 128, np.uint16)  # nearer to 200 than to 201 by a hair
    flat[8:] = 200 * 257 + 129
    warned = write(tmp_path / f"a{suffix}", Image(flat, None, Color(16)), 100 if suffix == ".webp" else None)
    assert any("8 bits" in text and "16-bit" in text for text in warned)
    back = np.asarray(opened(tmp_path / f"a{suffix}").convert("RGB"))
    assert abs(float(back[:8].mean()) - 200) < 0.6
    assert abs(float(back[8:].mean()) - 201) < 0.6


def test_heic_keeps_10_bits(tmp_path: Path) -> None:
    heif: Any = pytest.importorskip("pillow_heif")
    ramp = np.repeat(np.linspace(0, 65535, 256).astype(np.uint16)[None, :, None], 64, axis=0).repeat(3, axis=2)
    (warning,) = write(tmp_path / "a.heic", Image(ramp, None, Color(16)))
    assert "10 bits" in warning
    assert write(tmp_path / "b.heic", Image(ramp, None, Color(10))) == [], "10 bits are no loss to a 10-bit picture"
    back = heif.open_heif(tmp_path / "a.heic", convert_hdr_to_8bit=False)
    assert back.info["bit_depth"] == 10
    assert np.abs(np.asarray(back).astype(int) - ramp).mean() < 200, "of 65,535: finer than 8 bits"


# Transparency where there is none


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".ppm"])
@pytest.mark.parametrize(
    ("background", "seen", "said"),
    [(None, (255, 255, 255), "white"), ((0, 128, 64), (0, 128, 64), "#008040"), ((9, 9, 9), (9, 9, 9), "#090909")],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_row_13_transparency_goes_on_a_background_where_the_format_has_none(
    tmp_path: Path, suffix: str, background: Any, seen: Any, said: str, dtype: Any
) -> None:
    full = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    alpha = np.full((32, 48), full, dtype)
    alpha[:, :16] = 0
    alpha[:, 16:32] = full / 2
    dark = np.zeros((32, 48, 3), dtype)
    warned = write(tmp_path / f"a{suffix}", Image(dark, alpha, Color(8 if dtype == np.uint8 else 16)), None, background)
    assert any(said in text and "--background" in text for text in warned)
    back = np.asarray(opened(tmp_path / f"a{suffix}").convert("RGB")).astype(int)
    assert np.abs(back[:, 2:14] - seen).max() <= 3
    assert np.abs(back[:, 18:30] - np.array(seen) / 2).max() <= 4
    assert back[:, 34:].max() <= 3


def test_row_15_gray_on_a_gray_background_stays_gray_and_on_a_colored_one_does_not(tmp_path: Path) -> None:
    image = Image(np.full((16, 16, 3), 90, np.uint8), np.full((16, 16), 128, np.uint8), Color(gray=True))
    write(tmp_path / "a.jpg", image, None, (40, 40, 40))
    assert opened(tmp_path / "a.jpg").mode == "L"
    write(tmp_path / "b.bmp", image, None, (200, 0, 0))
    back = np.asarray(opened(tmp_path / "b.bmp")).astype(int)
    assert np.abs(back - (145, 45, 45)).max() <= 1


@pytest.mark.parametrize("format_", [WEBP, AVIF, HEIC, JPEG_XL], **named)
def test_row_10_lossy_formats_keep_the_edge_of_transparency_clean(tmp_path: Path, format_: Format) -> None:
    """Where the color under transparency goes on as it is around it, as the enlarger leaves it."""
    y, x = np.mgrid[0:96, 0:96]
    alpha = np.rint(np.clip(30.5 - np.hypot(x - 48, y - 48), 0, 1) * 255).astype(np.uint8)
    path = place(tmp_path, format_)
    write(path, Image(np.full((96, 96, 3), (220, 60, 30), np.uint8), alpha))
    back = np.asarray(opened(path).convert("RGBA")).astype(int)
    for ground in (0, 255):
        seen = ground + (back[..., :3] - ground) * back[..., 3:] / 255
        meant = ground + (np.array((220, 60, 30)) - ground) * alpha[..., None] / 255
        assert np.abs(seen - meant).max() <= 8
    assert back[alpha == 0][:, 3].max() <= 8


def test_row_10_lossy_jpeg_xl_with_transparency_only_on_demand_and_told(tmp_path: Path, photo64: Pixels) -> None:
    image = Image(photo64, np.maximum(photo64[..., 0], 1))
    path = place(tmp_path, JPEG_XL)
    assert write(path, image) == []
    assert np.array_equal(np.asarray(opened(path).convert("RGBA"))[..., :3], photo64)
    (warning,) = write(path, image, quality=90)
    assert "edge of transparency" in warning


# Quality


@pytest.mark.parametrize("format_", [JPEG, WEBP, AVIF, HEIC, JPEG_XL], **named)
def test_quality_orders_files_by_size_and_nearness(tmp_path: Path, make_photo: MakePhoto, format_: Format) -> None:
    pixels = make_photo(96, 128)
    place(tmp_path, format_)
    sizes, errors = [], []
    for quality in (0, 40, 80, 100):
        path = tmp_path / f"{quality}{format_.suffixes[0]}"
        assert write(path, Image(pixels), quality) == []
        sizes.append(path.stat().st_size)
        errors.append(float(np.abs(np.asarray(opened(path)).astype(int) - pixels).mean()))
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] <= {"JPEG": 1.0, "AVIF": 1.0, "HEIC": 1.0}.get(format_.name, 0)


def test_jpeg_is_written_with_full_color_resolution(tmp_path: Path, small: Pixels) -> None:
    for quality, layers in ((None, [(1, 1)] * 3), (90, [(1, 1)] * 3), (80, [(2, 2), (1, 1), (1, 1)])):
        write(tmp_path / "a.jpg", Image(small), quality)
        with Pil.open(tmp_path / "a.jpg") as picture:
            assert [layer[1:3] for layer in picture.layer] == layers  # type: ignore[attr-defined]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".ppm", ".jp2"])
def test_quality_where_there_is_none_is_told_and_changes_nothing(tmp_path: Path, small: Pixels, suffix: str) -> None:
    write(tmp_path / f"a{suffix}", Image(small))
    (warning,) = write(tmp_path / f"b{suffix}", Image(small), quality=10)
    assert "10 has no effect" in warning
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("quality", [-1, 101])
def test_a_quality_that_does_not_exist_is_refused(tmp_path: Path, small: Pixels, quality: int) -> None:
    with pytest.raises(OutputError, match="0 to 100"):
        write(tmp_path / "a.jpg", Image(small), quality)


# Profiles and colors


@pytest.mark.parametrize("format_", [each for each in FORMATS if each.icc], **named)
def test_row_17_profiles_are_kept(tmp_path: Path, small: Pixels, format_: Format) -> None:
    path = place(tmp_path, format_)
    assert write(path, Image(small, None, Color(icc=PROFILE))) == []
    assert opened(path).info["icc_profile"] == PROFILE


def test_row_17_a_profile_larger_than_a_jpeg_segment_is_kept(tmp_path: Path, small: Pixels) -> None:
    rng = np.random.default_rng(0)
    large = PROFILE[:16] + b"RGB " + PROFILE[20:] + rng.bytes(200_000)
    large = struct.pack(">I", len(large)) + large[4:]
    for suffix in (".jpg", ".png", ".tif", ".webp"):
        write(tmp_path / f"a{suffix}", Image(small, None, Color(icc=large)))
        assert opened(tmp_path / f"a{suffix}").info["icc_profile"] == large


P3 = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)


def chrm(points: tuple[float, ...]) -> tuple[str, bytes]:
    return "cHRM", struct.pack(">8I", *(round(value * 100000) for value in points))


def as_srgb(picture: Any) -> Pixels:
    """As a color-managed viewer shows it."""
    icc = picture.info.get("icc_profile")
    rgb = picture.convert("RGB") if picture.mode != "L" else picture
    if icc is None:
        return np.asarray(rgb.convert("RGB")).astype(int)
    source = ImageCms.getOpenProfile(io.BytesIO(icc))
    shown: Any = ImageCms.profileToProfile(
        rgb, source, ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC, "RGB"
    )
    return np.asarray(shown).astype(int)


def true_srgb(levels: Pixels, gamma: float | None, points: tuple[float, ...] | None) -> Pixels:
    """By the formulas, in floats: light, primaries (both with D65), sRGB."""
    at = levels / 255
    light = at**gamma if gamma else np.where(at <= 0.04045, at / 12.92, ((at + 0.055) / 1.055) ** 2.4)
    if points:
        light = light @ (np.linalg.inv(to_xyz(SRGB_POINTS)) @ to_xyz(points)).T
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255


SRGB_POINTS = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)


def to_xyz(points: tuple[float, ...]) -> Pixels:
    xyz = np.array([(x / y, 1, (1 - x - y) / y) for x, y in zip(points[::2], points[1::2], strict=True)])
    return xyz[1:].T * np.linalg.solve(xyz[1:].T, xyz[0])


@pytest.mark.parametrize("suffix", [".tif", ".webp", ".bmp", ".gif"])
@pytest.mark.parametrize(
    ("chunks", "gamma", "points"),
    [
        ((("gAMA", struct.pack(">I", 100000)),), 1.0, None),
        ((("gAMA", struct.pack(">I", 55556)),), 1.8, None),
        ((("gAMA", struct.pack(">I", 45455)), chrm(P3)), None, P3),
        ((chrm(P3), ("gAMA", struct.pack(">I", 55556))), 1.8, P3),
        ((("cICP", bytes((12, 13, 0, 1))),), None, P3),
        ((("cICP", bytes((1, 4, 0, 1))), ("sRGB", b"\0")), 2.2, None),
        ((("sRGB", b"\0"), ("gAMA", struct.pack(">I", 100000))), None, None),
        ((("gAMA", struct.pack(">I", 45455)),), None, None),
        ((chrm(SRGB_POINTS),), None, None),
    ],
)
def test_row_17_colors_that_a_png_tells_by_chunks_are_shown_the_same_in_other_formats(
    tmp_path: Path, suffix: str, chunks: Any, gamma: float | None, points: Any
) -> None:
    """As a profile where the format has one, else converted."""
    rng = np.random.default_rng(7)
    levels = rng.integers(60, 200, (8, 8, 3)).astype(np.uint8)
    image = Image(levels, None, Color(chunks=chunks))
    warned = write(tmp_path / f"a{suffix}", image, 100 if suffix == ".webp" else None)
    plain = gamma is None and points is None
    converted = suffix in (".bmp", ".gif") and not plain
    assert any("converted to sRGB" in text for text in warned) == converted
    picture = opened(tmp_path / f"a{suffix}")
    assert ("icc_profile" in picture.info) == (suffix in (".tif", ".webp") and not plain)
    assert np.abs(as_srgb(picture) - true_srgb(levels, gamma, points)).max() <= 2


def test_row_17_gray_with_a_gamma_is_shown_the_same(tmp_path: Path) -> None:
    levels = np.repeat(np.arange(0, 256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    image = Image(levels, None, Color(gray=True, chunks=(("gAMA", struct.pack(">I", 55556)),)))
    for suffix in (".tif", ".webp", ".bmp", ".jp2"):
        write(tmp_path / f"a{suffix}", image)
        picture = opened(tmp_path / f"a{suffix}")
        if suffix != ".webp":
            assert picture.mode == "L"
        assert np.abs(as_srgb(picture) - true_srgb(levels, 1.8, None)).max() <= 2, suffix


def test_row_17_a_gray_profile_becomes_a_color_one_where_there_is_no_gray(tmp_path: Path) -> None:
    levels = np.repeat(np.arange(0, 256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    chunks = (("gAMA", struct.pack(">I", 55556)),)
    write(tmp_path / "a.tif", Image(levels, None, Color(gray=True, chunks=chunks)))
    gray = opened(tmp_path / "a.tif").info["icc_profile"]
    assert gray[16:20] == b"GRAY"
    for suffix in (".webp", ".jpg", ".png"):
        write(tmp_path / f"b{suffix}", Image(levels, None, Color(gray=True, icc=gray)))
        picture = opened(tmp_path / f"b{suffix}")
        assert picture.info["icc_profile"][16:20] == (b"RGB " if suffix == ".webp" else b"GRAY")
        assert np.abs(as_srgb(picture) - true_srgb(levels, 1.8, None)).max() <= 3, suffix


@pytest.mark.parametrize(("primaries", "transfer"), [(9, 16), (9, 18), (200, 13)])
def test_what_no_profile_can_express_is_told(small: Pixels, primaries: int, transfer: int) -> None:
    color = Color(chunks=(("cICP", bytes((primaries, transfer, 0, 1))),))
    (warning,) = losses(Image(small, None, color).header, None, Encoding(TIFF))
    assert "PNG" in warning
    assert losses(Image(small, None, color).header, None, Encoding(PNG)) == []


def test_16_bit_formats_without_profiles_say_so(deep: Pixels) -> None:
    color = Color(16, chunks=(("gAMA", struct.pack(">I", 100000)),))
    for format_ in (PPM, JPEG_2000):
        (warning,) = losses(Image(deep, None, color).header, None, Encoding(format_))
        assert "taken for sRGB" in warning
        assert losses(Image(deep, None, Color(16, icc=PROFILE)).header, None, Encoding(format_)) == []


def test_chunks_stay_chunks_in_a_png(tmp_path: Path, small: Pixels) -> None:
    chunks = (("gAMA", struct.pack(">I", 100000)), chrm(P3))
    assert write(tmp_path / "a.png", Image(small, None, Color(chunks=chunks))) == []
    picture = opened(tmp_path / "a.png")
    assert picture.info["gamma"] == 1.0
    assert picture.info["chromaticity"] == pytest.approx(P3, abs=1e-5)
    assert "icc_profile" not in picture.info


# Metadata


def described() -> bytes:
    exif = Pil.Exif()
    exif[0x010E], exif[0x010F], exif[ORIENTATION] = "a picture", "a maker", 6
    exif.get_ifd(CAMERA)[WIDTH_TAG], exif.get_ifd(CAMERA)[HEIGHT_TAG] = 17, 12
    exif.get_ifd(CAMERA)[0x9003] = "2024:02:29 12:00:00"
    exif.get_ifd(PLACE)[1] = "N"
    return exif.tobytes()


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" tiff:ImageWidth=\'17\' dc:title="a">'
    b"<exif:PixelXDimension>17</exif:PixelXDimension><exif:PixelYDimension> 12 </exif:PixelYDimension>"
    b"<tiff:ImageLength>12</tiff:ImageLength></rdf:Description></x:xmpmeta>"
)


@pytest.mark.parametrize("format_", [each for each in FORMATS if each.exif], **named)
def test_rows_18_and_19_exif_is_kept_with_the_new_size_and_upright(
    tmp_path: Path, make_photo: MakePhoto, format_: Format
) -> None:
    path = place(tmp_path, format_)
    image = Image(make_photo(24, 34), None, Color(), Metadata(described()))
    assert write(path, image) == []
    picture = opened(path)
    assert picture.size == (34, 24)
    exif = picture.getexif()
    assert (exif[0x010E], exif[0x010F]) == ("a picture", "a maker")
    assert exif.get(ORIENTATION, 1) == 1, "the pixels are upright already"
    camera = exif.get_ifd(CAMERA)
    assert camera[0x9003] == "2024:02:29 12:00:00"
    assert (camera[WIDTH_TAG], camera[HEIGHT_TAG]) == (34, 24), "the size tags tell the new size"
    assert exif.get_ifd(PLACE)[1] == "N"


@pytest.mark.parametrize("format_", [each for each in FORMATS if each.xmp and each is not JPEG_XL], **named)
def test_rows_18_and_19_xmp_is_kept_with_the_new_size_and_upright(
    tmp_path: Path, make_photo: MakePhoto, format_: Format
) -> None:
    path = place(tmp_path, format_)
    write(path, Image(make_photo(24, 34), None, Color(), Metadata(None, XMP)))
    info = opened(path).info
    assert info["xmp"] == (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="1" tiff:ImageWidth=\'34\' dc:title="a">'
        b"<exif:PixelXDimension>34</exif:PixelXDimension><exif:PixelYDimension>24</exif:PixelYDimension>"
        b"<tiff:ImageLength>24</tiff:ImageLength></rdf:Description></x:xmpmeta>"
    )


def test_the_thumbnail_of_the_old_picture_is_dropped(tmp_path: Path, small: Pixels) -> None:
    thumbnail = io.BytesIO()
    Pil.fromarray(small).save(thumbnail, "JPEG")
    body = thumbnail.getvalue()
    first = struct.pack("<H", 1) + struct.pack("<HHI4s", 0x010F, 2, 3, b"ab\0\0") + struct.pack("<I", 26)
    second = struct.pack("<H", 2) + struct.pack("<HHII", 0x201, 4, 1, 56) + struct.pack("<HHII", 0x202, 4, 1, len(body))
    exif = b"Exif\0\0II*\0\x08\0\0\0" + first + second + struct.pack("<I", 0) + body
    write(tmp_path / "a.jpg", Image(small, None, Color(), Metadata(exif)))
    data = (tmp_path / "a.jpg").read_bytes()
    assert data.count(b"\xff\xd8\xff") == 1
    assert opened(tmp_path / "a.jpg").getexif()[0x010F] == "ab"


@pytest.mark.parametrize("format_", [each for each in FORMATS if each.dpi], **named)
def test_density_is_kept(tmp_path: Path, small: Pixels, format_: Format) -> None:
    path = place(tmp_path, format_)
    assert write(path, Image(small, None, Color(), Metadata(None, None, (300.0, 150.0)))) == []
    assert opened(path).info["dpi"] == pytest.approx((300, 150), abs=0.1)


@pytest.mark.parametrize("format_", [WEBP, AVIF, HEIC, JPEG_XL], **named)
def test_density_goes_into_exif_where_it_has_no_other_place(tmp_path: Path, small: Pixels, format_: Format) -> None:
    path = place(tmp_path, format_)
    assert write(path, Image(small, None, Color(), Metadata(None, None, (300.0, 72.5)))) == []
    exif = opened(path).getexif()
    assert (float(exif[282]), float(exif[283]), exif[296]) == (300, 72.5, 2)


@pytest.mark.parametrize("format_", [BMP, PPM, GIF, JPEG_2000], **named)
def test_metadata_that_a_format_cannot_hold_is_named(small: Pixels, format_: Format) -> None:
    image = Image(small, None, Color(gray=True), Metadata(described(), XMP, (300, 300)))
    warned = losses(image.header, None, Encoding(format_))
    parts = ["EXIF", "XMP"] + (["DPI"] if not format_.dpi else [])
    assert [part for part in parts if any(part in text for text in warned)] == parts
    assert len(warned) == len(parts)
    assert all(format_.name in text for text in warned)


def test_metadata_too_large_for_jpeg_is_dropped_and_told(tmp_path: Path, small: Pixels) -> None:
    exif = Pil.Exif()
    exif[0x010E] = "x" * 70_000
    image = Image(small, None, Color(), Metadata(exif.tobytes(), b"y" * 70_000))
    assert [text.split()[0] for text in write(tmp_path / "a.jpg", image)] == ["EXIF", "XMP"]
    assert opened(tmp_path / "a.jpg").size == (17, 12)
    assert write(tmp_path / "a.png", image) == [], "PNG has room"
    assert opened(tmp_path / "a.png").info["xmp"] == b"y" * 70_000


def test_the_largest_metadata_that_jpeg_holds_is_kept(tmp_path: Path, small: Pixels) -> None:
    text = 65533 - len(b"Exif\0\0II*\0\x08\0\0\0") - 2 - 12 - 4 - 2  # values are of even length, and end with a zero
    exif = Pil.Exif()
    exif[0x010E] = "x" * text
    image = Image(small, None, Color(), Metadata(exif.tobytes(), b"y" * 65504))
    assert write(tmp_path / "a.jpg", image) == []
    assert len(opened(tmp_path / "a.jpg").getexif()[0x010E]) == text


def test_extended_xmp_that_stood_elsewhere_is_told_and_no_longer_pointed_at(tmp_path: Path, small: Pixels) -> None:
    xmp = b'<x:xmpmeta><rdf:Description xmpNote:HasExtendedXMP="0123456789" dc:title="a"/></x:xmpmeta>'
    (warning,) = write(tmp_path / "a.jpg", Image(small, None, Color(), Metadata(None, xmp)))
    assert "XMP" in warning
    kept = opened(tmp_path / "a.jpg").info["xmp"]
    assert b"HasExtendedXMP" not in kept
    assert b"dc:title" in kept


def test_damaged_exif_costs_the_exif_not_the_picture(tmp_path: Path, small: Pixels) -> None:
    rng = np.random.default_rng(3)
    whole_exif = described()
    for number in range(60):
        damaged = bytearray(whole_exif)
        for at in rng.integers(6, len(damaged), 4):
            damaged[at] = rng.integers(256)
        suffix = (".jpg", ".png", ".tif", ".webp")[number % 4]
        write(tmp_path / f"b{suffix}", Image(small, None, Color(), Metadata(bytes(damaged))))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert opened(tmp_path / f"b{suffix}").size == (17, 12)
    assert write(tmp_path / "a.tif", Image(small, None, Color(), Metadata(b"nonsense"))) == ["EXIF is damaged: dropped"]


def test_a_16_bit_jpeg_2000_too_small_for_its_encoder_is_rounded_and_told(
    tmp_path: Path, make_photo: MakePhoto
) -> None:
    (warning,) = write(tmp_path / "a.jp2", Image(make_photo(31, 40, dtype=np.uint16), None, Color(16)))
    assert "8 bits" in warning
    assert opened(tmp_path / "a.jp2").size == (40, 31)


# Sizes


@pytest.mark.parametrize(("format_", "side"), [(WEBP, 16384), (JPEG, 65501), (AVIF, 32769), (GIF, 65536)])
def test_row_7_a_format_too_small_for_the_result_is_refused_before_the_work(
    tmp_path: Path, format_: Format, side: int
) -> None:
    header = Header(side, 1, np.dtype(np.uint8), False)
    with pytest.raises(OutputError, match=r"\.png or \.tif"):
        bytes_needed(header, None, Encoding(format_))
    path = tmp_path / f"a{format_.suffixes[0]}"
    with pytest.raises(OutputError, match="at most") as caught:
        save(path, header, None, Encoding(format_), never())
    assert str(caught.value).startswith(f"{path}: ")
    line = Image(np.zeros((1, side - 1, 3), np.uint8))
    write(path, line)
    assert opened(path).size == (side - 1, 1), "the limit itself is allowed"


def never() -> Iterator[Iterator[Band]]:
    raise AssertionError("asked for pixels of a picture that cannot be written")
    yield


@pytest.mark.parametrize(("format_", "side"), [(AVIF, 20_000), (BMP, 40_000)])
def test_row_7_too_many_pixels_are_refused(format_: Format, side: int) -> None:
    with pytest.raises(OutputError, match=r"\.png or \.tif"):
        bytes_needed(Header(side, side, np.dtype(np.uint8), False), None, Encoding(format_))


@pytest.mark.parametrize("format_", FORMATS, **named)
def test_row_7_the_memory_is_announced(tmp_path: Path, format_: Format) -> None:
    place(tmp_path, format_)
    low, high = (
        bytes_needed(Header(10_000, height, np.dtype(np.uint8), False), None, Encoding(format_))
        for height in (8_000, 16_000)
    )
    if format_.streamed:
        assert low == high < 200 << 20
    else:
        assert high > 1.5 * low > 1.5 * 3 * 80_000_000


def test_a_missing_extra_is_told_before_the_work(monkeypatch: pytest.MonkeyPatch, small: Pixels) -> None:
    monkeypatch.setattr(encode, "find_spec", lambda name: None)  # type: ignore[misc]
    for format_ in (HEIC, JPEG_XL):
        with pytest.raises(OutputError, match=rf"upscale\[{format_.extra}\]"):
            bytes_needed(Image(small).header, None, Encoding(format_))


# Never half a file


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "upscale-cache")


@pytest.mark.parametrize("format_", FORMATS, **named)
@pytest.mark.parametrize("rows", [0, 7, 11])
def test_rows_that_are_missing_leave_no_file(tmp_path: Path, small: Pixels, format_: Format, rows: int) -> None:
    path = place(tmp_path, format_)
    with pytest.raises(OutputError, match=f"{12 - rows} rows are missing") as caught:
        save(path, Image(small).header, None, Encoding(format_), iter([iter([Band(small[:rows])] if rows else [])]))
    assert str(path) in str(caught.value)
    assert left(tmp_path) == []


@pytest.mark.parametrize("format_", [PNG, TIFF, JPEG, GIF], **named)
def test_rows_that_are_too_many_leave_no_file(tmp_path: Path, small: Pixels, format_: Format) -> None:
    for bands in ([Band(small), Band(small[:1])], [Band(small[:, :16])]):
        with pytest.raises(OutputError, match="more pixels"):
            save(tmp_path / "a.png", Image(small).header, None, Encoding(format_), iter([iter(bands)]))
    assert left(tmp_path) == []


@pytest.mark.parametrize("format_", FORMATS, **named)
@pytest.mark.parametrize(
    "error",
    [PictureError("in.png: cut off"), OSError(5, "the disk of the input"), ValueError("a bug"), KeyboardInterrupt()],
)
def test_what_fails_above_passes_through_and_leaves_the_old_file(
    tmp_path: Path, small: Pixels, format_: Format, error: BaseException
) -> None:
    path = place(tmp_path, format_)
    path.write_bytes(b"old")

    def bands() -> Iterator[Band]:
        yield Band(small[:5])
        raise error

    with pytest.raises(type(error)) as caught:
        save(path, Image(small).header, None, Encoding(format_), iter([bands()]))
    assert caught.value is error, "not taken for a fault in writing"
    assert left(tmp_path) == [path.name]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("format_", FORMATS, **named)
def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path: Path, make_photo: MakePhoto, format_: Format) -> None:
    """A limit to the size of files stands for the disk: the system refuses to write on in the same way."""
    rng = np.random.default_rng(0)
    image = Image(rng.integers(0, 256, (300, 300, 3), dtype=np.uint8))
    path = place(tmp_path, format_)
    write(path, Image(make_photo(5, 5)))
    old = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OutputError, match="cannot be written \\(File too large\\)") as caught:
            write(path, image)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value).startswith(str(path))
    assert left(tmp_path) == [path.name]
    assert path.read_bytes() == old


@pytest.mark.parametrize("fault", ["cut", "bit", "size"])
@pytest.mark.parametrize("format_", [PNG, TIFF, JPEG, WEBP, AVIF], **named)
def test_row_7_a_file_that_does_not_read_back_is_never_delivered(
    tmp_path: Path, make_photo: MakePhoto, monkeypatch: pytest.MonkeyPatch, fault: str, format_: Format
) -> None:
    """As a bad disk or a broken library would leave it."""
    if fault == "bit" and format_ in (JPEG, WEBP, AVIF, TIFF):
        pytest.skip("only PNG has checksums everywhere")
    real = encode.check

    def spoiled(path: Path, written: Path, *more: Any) -> None:
        data = bytearray(written.read_bytes())
        if fault == "cut":
            data = data[: len(data) * 2 // 3]
        elif fault == "bit":
            data[len(data) // 2] ^= 4
        else:
            other = io.BytesIO()
            Pil.fromarray(make_photo(30, 31)).save(other, format_.pillow)
            data = bytearray(other.getvalue())
        written.write_bytes(data)
        real(path, written, *more)

    path = tmp_path / f"a{format_.suffixes[0]}"
    path.write_bytes(b"old")
    monkeypatch.setattr(encode, "check", spoiled)
    with pytest.raises(OutputError, match="cannot be read again") as caught:
        write(path, Image(make_photo(60, 61)))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert left(tmp_path) == [path.name]


def test_the_check_of_a_png_reaches_every_byte(tmp_path: Path, make_photo: MakePhoto) -> None:
    image = Image(make_photo(40, 40), None, Color(icc=PROFILE), Metadata(described(), XMP))
    encoding = Encoding(PNG)
    content = encode.planned(image.header, None, encoding)[0]
    write(tmp_path / "a.png", image)
    data = (tmp_path / "a.png").read_bytes()
    rng = np.random.default_rng(1)
    spoiled = tmp_path / "b.png"
    for at in rng.integers(0, len(data), 150):
        bad = bytearray(data)
        bad[at] ^= 1 << int(rng.integers(8))
        spoiled.write_bytes(bad)
        with pytest.raises(OutputError):
            check.check(tmp_path / "a.png", spoiled, PNG, content)


def test_large_results_are_checked_without_being_decoded_in_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "STREAMED_UP_TO", 10)
    monkeypatch.setattr(check, "DECODED_UP_TO", 10)
    monkeypatch.setattr(Pil, "MAX_IMAGE_PIXELS", 10)  # Pillow itself would refuse to open it
    for format_ in (PNG, TIFF, JPEG, BMP, PPM):
        write(tmp_path / f"a{format_.suffixes[0]}", Image(np.zeros((20, 20, 3), np.uint8)))


def test_an_encoder_that_fails_is_told_in_one_line(
    tmp_path: Path, small: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("encoder error\nof some kind")

    monkeypatch.setattr(Pil.Image, "save", broken)
    with pytest.raises(OutputError, match=r"a\.jpg.*could not be encoded") as caught:
        write(tmp_path / "a.jpg", Image(small))
    assert "\n" not in str(caught.value)
    assert left(tmp_path) == []


def test_opencv_that_refuses_is_told(tmp_path: Path, deep: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole.cv2, "imencode", lambda *_: (False, None))
    with pytest.raises(OutputError, match="could not be encoded"):
        write(tmp_path / "a.jp2", Image(deep, None, Color(16)))
    assert left(tmp_path) == []


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, small: Pixels) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "file" / "a.png", tmp_path / "folder.png"):
        with pytest.raises(OutputError, match="cannot be written") as caught:
            write(path, Image(small))
        assert str(path) in str(caught.value)
    assert left(tmp_path) == ["file", "folder.png"]


def test_folders_on_the_way_are_made(tmp_path: Path, small: Pixels) -> None:
    write(tmp_path / "x" / "y" / "a.png", Image(small))
    assert [path.name for path in (tmp_path / "x" / "y").iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    "name", ["图片.png", "ñandú é.tif", "ノイズ [1].jpg", "a b  c.webp", "-dash.png", "%s{}.gif", "x" * 200 + ".png"]
)
def test_row_20_any_name_is_written(tmp_path: Path, small: Pixels, name: str) -> None:
    write(tmp_path / name, Image(small))
    assert opened(tmp_path / name).size == (17, 12)


@pytest.mark.parametrize("name", ["a.pbm", "a.PBM"])
def test_no_gray_or_color_under_the_name_of_black_and_white(tmp_path: Path, small: Pixels, name: str) -> None:
    with pytest.raises(OutputError, match=r"a\..*black and white only; use \.pgm for gray, \.ppm for color"):
        write(tmp_path / name, Image(small))
    assert not list(tmp_path.iterdir())
    (tmp_path / name).write_bytes(b"P1\n2 1\n01\n")
    (task,) = tasks([str(tmp_path / name)], Places())
    assert (task.target, task.error) == (tmp_path / "a_x4.pgm", None)
    (task,) = tasks([str(tmp_path / name)], Places(out=tmp_path / "b.pbm"))
    assert isinstance(task.error, OutputError)


def test_the_same_picture_gives_the_same_bytes(tmp_path: Path, small: Pixels) -> None:
    for suffix in (".png", ".tif", ".jpg", ".webp", ".bmp", ".ppm", ".gif", ".jp2", ".avif"):
        image = Image(
            small, None, Color(chunks=(("gAMA", struct.pack(">I", 100000)),)), Metadata(described(), XMP, (72, 72))
        )
        write(tmp_path / f"a{suffix}", image)
        write(tmp_path / f"b{suffix}", image)
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes(), suffix


def test_every_loss_is_one_line(deep: Pixels) -> None:
    chunks = (("cICP", bytes((9, 16, 0, 1))),)
    image = Image(
        deep, deep[..., 0].copy(), Color(16, icc=b"broken" * 40, chunks=chunks), Metadata(described(), XMP, (9, 9))
    )
    for format_ in FORMATS:
        for text in losses(image.header, Animation((1.0, 2.0)), Encoding(format_, 50)):
            assert "\n" not in text
            assert len(text) < 140
