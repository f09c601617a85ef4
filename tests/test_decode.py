"""Any file opened: by its content, upright, with what it carries; damaged, foreign or too large ones told in one line."""

import io
import struct
import subprocess
import sys
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Pil
from PIL import ImageCms, ImageOps

from upscale.errors import PictureError
from upscale.image import Band, Header, Picture
from upscale.media.formats import FORMATS, REFUSED
from upscale.media.reading.boxes import jxl_facts
from upscale.media.reading.decode import open_file

MakePhoto = Callable[..., npt.NDArray[Any]]
Pixels = npt.NDArray[Any]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description dc:title="a"/></x:xmpmeta>'


@pytest.fixture
def small(make_photo: MakePhoto) -> Pixels:
    return make_photo(12, 17)


@pytest.fixture
def deep(make_photo: MakePhoto) -> Pixels:
    return make_photo(40, 50, dtype=np.uint16)


def whole(picture: Picture) -> Band:
    bands = list(picture.bands())
    alphas = [band.alpha for band in bands if band.alpha is not None]
    return Band(np.concatenate([band.rgb for band in bands]), np.concatenate(alphas) if alphas else None)


def read(path: Path, **options: Any) -> Band:
    with open_file(path, **options) as source:
        (picture,) = source.pictures()
        assert picture.header == source.header
        found = whole(picture)
    header = source.header
    assert found.rgb.shape == (header.height, header.width, 3)
    assert found.rgb.dtype == header.dtype
    assert (found.alpha is not None) == header.alpha
    if header.color.gray:
        assert (found.rgb == found.rgb[..., :1]).all(), "gray is three equal channels"
    return found


def header(path: Path) -> Header:
    return open_file(path).header


def read_all(path: Path, **options: Any) -> None:
    for picture in open_file(path, **options).pictures():
        whole(picture)


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(PictureError) as caught:
        read_all(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


LOSSLESS: dict[str, dict[str, Any]] = {
    **{".png": {}, ".tif": {}, ".bmp": {}, ".ppm": {}, ".webp": {"lossless": True}, ".jp2": {}},
    **{".jxl": {"lossless": True}, ".heic": {"quality": -1, "chroma": 444, "matrix_coefficients": 0}},
}
EXTRAS = {".jxl": "pillow_jxl", ".heic": "pillow_heif"}
FORMAT = {".heic": "HEIF"}


def save(pixels: Pixels | Pil.Image, path: Path, **more: Any) -> None:
    if path.suffix in EXTRAS:
        library = pytest.importorskip(EXTRAS[path.suffix])
        if path.suffix == ".heic":
            library.register_heif_opener()
    picture = pixels if isinstance(pixels, Pil.Image) else Pil.fromarray(pixels)
    picture.save(path, FORMAT.get(path.suffix), **LOSSLESS.get(path.suffix, {}), **more)


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_color_comes_as_it_was_written(tmp_path: Path, small: Pixels, suffix: str) -> None:
    save(small, tmp_path / f"a{suffix}")
    found = header(tmp_path / f"a{suffix}")
    assert (found.width, found.height, found.dtype, found.alpha) == (17, 12, np.uint8, False)
    assert (found.color.depth, found.color.gray) == (8, False)
    assert open_file(tmp_path / f"a{suffix}").animation is None
    assert np.array_equal(read(tmp_path / f"a{suffix}").rgb, small)


@pytest.mark.parametrize("suffix", [".jpg", ".avif", ".gif"])
def test_color_of_lossy_formats(tmp_path: Path, suffix: str) -> None:
    flat = np.zeros((32, 32, 3), np.uint8)
    flat[:16], flat[16:] = (200, 60, 20), (20, 80, 190)
    save(flat, tmp_path / f"a{suffix}", quality=95)
    assert np.abs(read(tmp_path / f"a{suffix}").rgb[2:-2].astype(int) - flat[2:-2])[:12].max() <= 6


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jp2", ".jxl", ".heic"])
def test_transparency_comes_as_it_was_written(tmp_path: Path, small: Pixels, suffix: str) -> None:
    rgba = np.dstack((small, np.maximum(small[..., 1], 1)))
    save(rgba, tmp_path / f"a{suffix}")
    found = read(tmp_path / f"a{suffix}")
    assert np.array_equal(found.rgb, small)
    assert np.array_equal(found.alpha, rgba[..., 3])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jp2", ".jxl", ".pgm", ".bmp", ".gif", ".heic"])
def test_row_15_gray_is_marked_as_gray(tmp_path: Path, small: Pixels, suffix: str) -> None:
    save(small[..., 0].copy(), tmp_path / f"a{suffix}")
    assert header(tmp_path / f"a{suffix}").color.gray
    assert np.array_equal(read(tmp_path / f"a{suffix}").rgb[..., 0], small[..., 0])


@pytest.mark.parametrize("suffix", [".jpg", ".avif"])
def test_row_15_gray_of_lossy_formats(tmp_path: Path, small: Pixels, suffix: str) -> None:
    save(small[..., 0].copy(), tmp_path / f"a{suffix}")
    assert header(tmp_path / f"a{suffix}").color.gray
    read(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".pbm"])
def test_one_bit_is_gray(tmp_path: Path, small: Pixels, suffix: str) -> None:
    picture = Pil.fromarray(small).convert("1")
    save(picture, tmp_path / f"a{suffix}")
    found = header(tmp_path / f"a{suffix}")
    assert (found.color.gray, found.color.depth, found.dtype) == (True, 1, np.uint8)
    assert np.array_equal(read(tmp_path / f"a{suffix}").rgb[..., 0], np.asarray(picture.convert("L")))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".gif"])
def test_row_11_palettes_are_expanded(tmp_path: Path, small: Pixels, suffix: str) -> None:
    picture = Pil.fromarray(small).quantize(40)
    save(picture, tmp_path / f"a{suffix}")
    assert not header(tmp_path / f"a{suffix}").color.gray
    assert np.array_equal(read(tmp_path / f"a{suffix}").rgb, np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_row_11_transparent_palettes(tmp_path: Path, small: Pixels, suffix: str) -> None:
    picture = Pil.fromarray(small).quantize(16)
    save(picture, tmp_path / f"a{suffix}", transparency=3)
    assert np.array_equal(read(tmp_path / f"a{suffix}").alpha == 0, np.asarray(picture) == 3)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jp2", ".ppm"])
def test_wish_18_16_bit_color_keeps_every_level(tmp_path: Path, deep: Pixels, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    exact = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000] if suffix == ".jp2" else []
    cv2.imwrite(str(path), deep[..., ::-1], exact)
    assert (header(path).dtype, header(path).color.depth) == (np.uint16, 16)
    assert np.array_equal(read(path).rgb, deep)
    assert len(np.unique(deep)) > 1000


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jp2", ".pgm", ".jxl"])
def test_wish_18_16_bit_gray_keeps_every_level(tmp_path: Path, deep: Pixels, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    save(Pil.fromarray(deep[..., 0].copy()), path)
    assert (header(path).dtype, header(path).color.gray, header(path).color.depth) == (np.uint16, True, 16)
    assert np.array_equal(read(path).rgb[..., 0], deep[..., 0])


def test_16_bit_jpeg_2000_with_alpha(tmp_path: Path, deep: Pixels) -> None:
    rgba = np.dstack((deep, deep[..., 0]))
    cv2.imwrite(str(tmp_path / "a.jp2"), rgba[..., [2, 1, 0, 3]], [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])
    found = read(tmp_path / "a.jp2")
    assert np.array_equal(found.rgb, deep)
    assert np.array_equal(found.alpha, deep[..., 0])


def fills_the_range(path: Path, deep: Pixels, bits: int) -> None:
    """White is white: not 1023 of 65535, and not 65472 either."""
    assert (header(path).dtype, header(path).color.depth) == (np.uint16, bits)
    exact = np.rint((deep >> (16 - bits)) * (65535 / ((1 << bits) - 1)))
    assert np.array_equal(read(path).rgb, exact)
    assert exact.max() == 65535


def lowered(deep: Pixels, bits: int) -> Pixels:
    return (deep[..., ::-1] >> (16 - bits)).astype(np.uint16)


@pytest.mark.parametrize("bits", [10, 12])
def test_wish_18_avif_of_10_and_12_bits_is_read_as_16(tmp_path: Path, deep: Pixels, bits: int) -> None:
    path = tmp_path / "a.avif"
    done = cv2.imwrite(str(path), lowered(deep, bits), [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 100])
    assert done
    fills_the_range(path, deep, bits)


def test_deep_avif_without_a_deep_decoder_is_told(
    tmp_path: Path, deep: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.avif"
    cv2.imwrite(str(path), lowered(deep, 10), [cv2.IMWRITE_AVIF_DEPTH, 10])
    monkeypatch.setattr(cv2, "haveImageReader", lambda _: False)
    (warning,) = open_file(path).warnings
    assert "10 bits" in warning
    assert read(path).rgb.dtype == np.uint8


def test_wish_18_jpeg_2000_of_12_bits(tmp_path: Path, deep: Pixels) -> None:
    path = tmp_path / "a.jp2"
    cv2.imwrite(str(path), lowered(deep, 12), [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])
    data = path.read_bytes()
    depths = data.index(b"\xff\x4f\xff\x51") + 42
    marked = bytearray(data)
    marked[depths : depths + 9 : 3] = b"\x0b" * 3  # OpenCV writes 12-bit values as 16-bit ones
    assert data[depths : depths + 9 : 3] == b"\x0f" * 3
    assert np.abs(read(path).rgb.astype(int) - (deep >> 4)).max() == 0


def test_wish_18_heic_of_10_bits_is_read_as_16(tmp_path: Path, deep: Pixels) -> None:
    library = pytest.importorskip("pillow_heif")
    made = library.from_bytes("RGB;16", (deep.shape[1], deep.shape[0]), deep.tobytes())
    made.save(tmp_path / "a.heic", quality=-1, chroma=444, matrix_coefficients=0)
    fills_the_range(tmp_path / "a.heic", deep, 10)


@pytest.mark.parametrize(("most", "dtype"), [(255, np.uint8), (100, np.uint8), (65535, np.uint16), (1023, np.uint16)])
@pytest.mark.parametrize("kind", [2, 3, 5, 6])
def test_pnm_of_every_kind(tmp_path: Path, kind: int, most: int, dtype: Any) -> None:
    shape = (11, 7, 3) if kind in (3, 6) else (11, 7)
    values = np.random.default_rng(most).integers(0, most + 1, shape)
    values.flat[0] = most
    text = "\n".join(" ".join(map(str, row)) for row in values.reshape(11, -1))
    raw = values.astype(">u2" if most > 255 else np.uint8).tobytes()
    start = b"P%d # a remark\n# 9 9\n7 11\n%d\n" % (kind, most)
    (tmp_path / "a.pnm").write_bytes(start + (text.encode() if kind < 4 else raw))
    full = np.iinfo(dtype).max
    wanted = np.rint(values * (full / most)).astype(dtype)
    for band_bytes in (1, 50, 10_000):
        found = read(tmp_path / "a.pnm", band_bytes=band_bytes)
        assert np.array_equal(found.rgb, wanted if kind in (3, 6) else np.repeat(wanted[..., None], 3, axis=2))
    assert header(tmp_path / "a.pnm").color.gray == (kind in (2, 5))


def test_bitmaps_as_text(tmp_path: Path) -> None:
    (tmp_path / "a.pbm").write_bytes(b"P1\n3 2\n101\n0 1 0\n")
    assert np.array_equal(read(tmp_path / "a.pbm").rgb[..., 0], np.array([[0, 255, 0], [255, 0, 255]]))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_bmp_in_bands_as_in_one_piece(tmp_path: Path, make_photo: MakePhoto, mode: str) -> None:
    photo = Pil.fromarray(make_photo(29, 23))
    picture = photo.quantize(77) if mode == "P" else photo.convert(mode)
    picture.save(tmp_path / "a.bmp")
    wanted = np.asarray(picture.convert("RGB"))
    for band_bytes in (1, 500, 1 << 20):
        assert np.array_equal(read(tmp_path / "a.bmp", band_bytes=band_bytes).rgb, wanted)


def test_bmp_from_the_top_down(tmp_path: Path, small: Pixels) -> None:
    Pil.fromarray(small).save(tmp_path / "a.bmp")
    data = bytearray(tmp_path.joinpath("a.bmp").read_bytes())
    data[22:26] = struct.pack("<i", -12)
    (tmp_path / "a.bmp").write_bytes(data)
    for band_bytes in (1, 1000):
        assert np.array_equal(read(tmp_path / "a.bmp", band_bytes=band_bytes).rgb, small[::-1])


def test_bmp_with_transparency(tmp_path: Path, small: Pixels) -> None:
    """Only with masks (BITMAPV4HEADER) is the fourth byte known to be one."""
    rgba = np.dstack((small, small[..., 1]))
    masks = struct.pack("<4I", 0xFF, 0xFF00, 0xFF0000, 0xFF000000)
    info = struct.pack("<IiiHHIIiiII", 108, 17, 12, 1, 32, 3, rgba.nbytes, 0, 0, 0, 0) + masks + b"BGRs" + bytes(48)
    head = struct.pack("<2sIHHI", b"BM", 14 + len(info) + rgba.nbytes, 0, 0, 14 + len(info))
    (tmp_path / "a.bmp").write_bytes(head + info + rgba[::-1].tobytes())
    for band_bytes in (1, 1 << 20):
        found = read(tmp_path / "a.bmp", band_bytes=band_bytes)
        assert np.array_equal(found.rgb, small)
        assert np.array_equal(found.alpha, small[..., 1])


def test_bmp_with_run_lengths(tmp_path: Path) -> None:
    palette = bytes(range(256)) * 4
    rows = bytes((5, 9, 0, 0)) + bytes((2, 7, 3, 1, 0, 0)) + bytes((0, 1))
    head = struct.pack("<2sIHHI", b"BM", 54 + 1024 + len(rows), 0, 0, 54 + 1024)
    info = struct.pack("<IiiHHIIiiII", 40, 5, 2, 1, 8, 1, len(rows), 0, 0, 256, 0)
    (tmp_path / "a.bmp").write_bytes(head + info + palette + rows)
    judged = np.asarray(Pil.open(io.BytesIO(head + info + palette + rows)).convert("RGB"))
    assert np.array_equal(read(tmp_path / "a.bmp").rgb, judged)
    assert len(np.unique(judged.reshape(-1, 3), axis=0)) == 3


@pytest.mark.parametrize("kind", ["a.ppm", "a.bmp"])
def test_wish_11_memory_of_bands_does_not_grow_with_the_height(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    Pil.fromarray(np.zeros((4000, 2000, 3), np.uint8)).save(path)
    source = open_file(path, band_bytes=1 << 18)
    (picture,) = source.pictures()
    tracemalloc.start()
    try:
        assert sum(len(band.rgb) for band in picture.bands()) == 4000
        assert tracemalloc.get_traced_memory()[1] < 4 << 20, "of 24 MB"
    finally:
        tracemalloc.stop()


def orient(pixels: Pixels, path: Path, orientation: int, **more: Any) -> Pixels:
    """Writes the picture with an orientation; gives the upright pixels."""
    exif = Pil.Exif()
    exif[0x0112] = orientation
    save(pixels, path, exif=exif.tobytes(), **more)
    places = Pil.fromarray(np.arange(pixels.shape[0] * pixels.shape[1], dtype=np.int32).reshape(pixels.shape[:2]))
    places.getexif()[0x0112] = orientation
    return pixels.reshape(-1, 3)[np.asarray(ImageOps.exif_transpose(places))]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".heic"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_row_18_orientation_is_applied_and_reset(
    tmp_path: Path, make_photo: MakePhoto, suffix: str, orientation: int
) -> None:
    path = tmp_path / f"a{suffix}"
    upright = orient(make_photo(64, 96), path, orientation)
    found = read(path)
    assert np.array_equal(found.rgb, upright)
    kept = Pil.Exif()
    kept.load(header(path).metadata.exif or b"")
    assert kept.get(0x0112, 1) == 1


@pytest.mark.parametrize("suffix", [".jpg", ".avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_row_18_orientation_of_lossy_formats(tmp_path: Path, suffix: str, orientation: int) -> None:
    corners = np.zeros((32, 64, 3), np.uint8)
    corners[:16, :32], corners[16:, :32], corners[:16, 32:] = 255, 160, 80
    upright = orient(corners, tmp_path / f"a{suffix}", orientation, quality=95)
    found = read(tmp_path / f"a{suffix}").rgb.astype(int)
    assert found.shape == upright.shape
    assert np.abs(found - upright).mean() < 4


def test_row_18_orientation_in_xmp_is_reset_too(tmp_path: Path, small: Pixels) -> None:
    xmp = XMP.replace(b"dc:title", b'tiff:Orientation="6" dc:title')
    for name in ("a.jpg", "a.webp", "a.png"):
        if name == "a.png":
            from PIL import PngImagePlugin

            info = PngImagePlugin.PngInfo()
            info.add_itxt("XML:com.adobe.xmp", xmp.decode(), zip=True)
            Pil.fromarray(small).save(tmp_path / name, pnginfo=info)
        else:
            Pil.fromarray(small).save(tmp_path / name, xmp=xmp)
        found = header(tmp_path / name)
        assert (found.width, found.height) == (12, 17)
        assert found.metadata.xmp is not None
        assert b"Orientation" not in found.metadata.xmp
        assert b"dc:title" in found.metadata.xmp


@pytest.mark.parametrize(
    "xmp",
    [
        b'<x tiff:Orientation = "6" a="b"/>',
        b"<x tiff:Orientation =\n' 6 '/>",
        b"<tiff:Orientation > 6 </tiff:Orientation>",
    ],
)
def test_row_18_orientation_in_xmp_may_have_spaces(tmp_path: Path, small: Pixels, xmp: bytes) -> None:
    Pil.fromarray(small).save(tmp_path / "a.webp", xmp=xmp, lossless=True)
    found = header(tmp_path / "a.webp")
    assert (found.width, found.height) == (12, 17)
    assert b"Orientation" not in (found.metadata.xmp or b"")
    assert np.array_equal(read(tmp_path / "a.webp").rgb, np.rot90(small, -1))


def described() -> bytes:
    exif = Pil.Exif()
    exif[0x010E] = "a picture"
    exif.get_ifd(0x8769)[0x9003] = "2024:02:29 12:00:00"
    exif.get_ifd(0x8825)[1] = "N"
    return exif.tobytes()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif", ".heic", ".jxl"])
def test_rows_17_and_19_profile_and_descriptions_are_carried(tmp_path: Path, small: Pixels, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    save(small, path, exif=described(), icc_profile=PROFILE, xmp=XMP)
    found = header(path)
    assert found.color.icc is not None
    if suffix != ".jxl":  # its writer takes no profile
        assert found.color.icc == PROFILE
    exif = Pil.Exif()
    exif.load(found.metadata.exif or b"")
    assert exif[0x010E] == "a picture"
    assert exif.get_ifd(0x8769)[0x9003] == "2024:02:29 12:00:00"
    assert exif.get_ifd(0x8825)[1] == "N"
    if suffix not in (".png", ".tif"):  # whose writers here take no XMP; see their own tests
        assert found.metadata.xmp == XMP


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_row_19_density_is_carried(tmp_path: Path, small: Pixels, suffix: str) -> None:
    save(small, tmp_path / f"a{suffix}", dpi=(300, 150))
    assert header(tmp_path / f"a{suffix}").metadata.dpi == pytest.approx((300, 150), abs=0.1)


def test_rows_17_and_19_of_jpeg_2000(tmp_path: Path, small: Pixels) -> None:
    """Its profile and texts are in boxes, which no writer here fills."""
    Pil.fromarray(small).save(tmp_path / "a.jp2")
    data = (tmp_path / "a.jp2").read_bytes()
    at = data.index(b"colr") - 4
    size = struct.unpack(">I", data[at : at + 4])[0]
    colr = struct.pack(">I4sBBB", 11 + len(PROFILE), b"colr", 2, 0, 0) + PROFILE
    head = data.index(b"jp2h") - 4
    grown = struct.pack(">I", struct.unpack(">I", data[head : head + 4])[0] + len(colr) - size)
    uuid = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + XMP
    tail = struct.pack(">I4s", 8 + len(uuid), b"uuid") + uuid
    start = data.index(b"jp2c") - 4
    changed = data[:head] + grown + data[head + 4 : at] + colr + data[at + size : start] + tail + data[start:]
    (tmp_path / "a.jp2").write_bytes(changed)
    found = header(tmp_path / "a.jp2")
    assert found.color.icc == PROFILE
    assert found.metadata.xmp == XMP
    assert np.array_equal(read(tmp_path / "a.jp2").rgb, small)


@pytest.mark.parametrize("suffix", [".avif", ".heic"])
def test_row_17_wide_colors_that_only_numbers_name_are_carried(tmp_path: Path, small: Pixels, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    save(small, path)
    assert header(path).color.chunks == ()
    data = bytearray(path.read_bytes())
    at = data.find(b"colrnclx")
    if at < 0:
        pytest.skip("the writer names no colors")
    data[at + 8 : at + 12] = struct.pack(">HH", 12, 13)  # Display P3
    path.write_bytes(data)
    assert header(path).color.chunks == (("cICP", bytes((12, 13, 0, 1))),)


def test_damaged_exif_costs_the_exif_not_the_picture(tmp_path: Path, small: Pixels) -> None:
    rng = np.random.default_rng(3)
    path = tmp_path / "a.jpg"
    Pil.fromarray(small).save(path, exif=described())
    data = path.read_bytes()
    start = data.index(b"Exif")
    stop = start - 2 + int.from_bytes(data[start - 2 : start], "big")
    for _ in range(100):
        damaged = bytearray(data)
        for place in rng.integers(start + 6, stop, 4):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        found = header(path)
        assert {found.width, found.height} == {12, 17}
        read(path)


@pytest.mark.parametrize("density", [(0, 1), (0, 0)])
def test_a_senseless_density_is_dropped(tmp_path: Path, small: Pixels, density: tuple[int, int]) -> None:
    from PIL.TiffImagePlugin import IFDRational

    value = IFDRational(*density)
    Pil.fromarray(small).save(tmp_path / "a.tif", tiffinfo={282: value, 283: value, 296: 2})
    assert header(tmp_path / "a.tif").metadata.dpi is None


def test_the_first_picture_of_several_in_a_jpeg(tmp_path: Path, small: Pixels) -> None:
    first, second = Pil.fromarray(small), Pil.fromarray(255 - small)
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second], quality=95)
    source = open_file(tmp_path / "a.jpg")
    assert source.animation is None
    assert source.warnings == ["holds 2 pictures: only the first one is read"]
    assert np.abs(read(tmp_path / "a.jpg").rgb.astype(int) - small).mean() < 12


def test_what_a_jpeg_holds_and_is_not_carried_over_is_named(tmp_path: Path, small: Pixels) -> None:
    def warned(segments: bytes, **more: Any) -> list[str]:
        save(small, tmp_path / "a.jpg", **more)
        data = (tmp_path / "a.jpg").read_bytes()
        (tmp_path / "a.jpg").write_bytes(data[:2] + segments + data[2:])
        return open_file(tmp_path / "a.jpg").warnings

    iptc = b"\x1c\x02\x05\0\x01a"
    resources = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc
    photoshop = b"\xff\xed" + struct.pack(">H", 2 + len(resources)) + resources
    assert warned(b"") == []
    assert warned(b"", comment=b"mine") == ["not carried over: the comment"]
    assert warned(photoshop) == ["not carried over: IPTC"]
    assert warned(photoshop, comment=b"mine") == ["not carried over: the comment, IPTC"]
    assert warned(b"", xmp=b'<x hdrgm:Version="1.0"/>') == ["not carried over: the HDR gain map"]


def test_a_file_is_read_by_its_content_not_its_name(tmp_path: Path, small: Pixels) -> None:
    for name in ("a.jpg", "a", "-", "a.bin"):
        Pil.fromarray(small).save(tmp_path / name, "PNG")
        assert np.array_equal(read(tmp_path / name).rgb, small)


@pytest.mark.parametrize("name", ["图片.png", "ñandú é.tif", "ノイズ [1].avif", "a b  c.jp2", "-dash.ppm", "%s{}.gif"])
def test_row_20_any_name_is_read(tmp_path: Path, deep: Pixels, name: str) -> None:
    picture = Pil.fromarray((deep >> 8).astype(np.uint8))
    picture.save(tmp_path / name)
    assert read(tmp_path / name).rgb.shape == deep.shape


@pytest.mark.parametrize("suffix", [".cr2", ".nef", ".arw", ".dng", ".exr", ".hdr", ".psd", ".svg"])
def test_wish_18_what_is_not_read_is_refused_by_name(tmp_path: Path, small: Pixels, suffix: str) -> None:
    path = tmp_path / f"a{suffix.upper()}"
    Pil.fromarray(small).save(path, "TIFF")  # as camera RAW is inside
    assert REFUSED[suffix] in refused(path)


def test_wish_18_what_is_not_read_is_refused_by_content_too(tmp_path: Path) -> None:
    heads = {
        b"8BPS\0\1": "Photoshop",
        b"\x76\x2f\x31\x01\x02": "OpenEXR",
        b"#?RADIANCE\n": "Radiance",
        b"PF\n3 3\n-1.0\n": "float",
        b"%PDF-1.7": "PDF",
        b"<?xml version='1.0'?>\n<svg xmlns=''/>": "SVG",
        b"FUJIFILMCCD-RAW 0201": "RAW",
        b"II*\0\x10\0\0\0CR\2\0": "RAW",
        b"\0\0\0\x18ftypcrx \0\0\0\1crx isom": "RAW",
        b"\0\0\0\x18ftypisom\0\0\0\1isommp42": "video",
        b"hello": "not a picture",
    }
    for head, word in heads.items():
        (tmp_path / "a.png").write_bytes(head + bytes(200))
        message = refused(tmp_path / "a.png")
        assert word in message, message
        assert any(remedy in message for remedy in ("convert", "develop")), message


def test_row_34_what_is_no_picture_is_told(tmp_path: Path) -> None:
    empty, folder = tmp_path / "empty.jpg", tmp_path / "x.png"
    empty.touch()
    folder.mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere")
    assert "empty" in refused(empty)
    for path in (folder, tmp_path / "missing.png", tmp_path / "missing.exr", tmp_path / "link.png"):
        assert "cannot be read" in refused(path)


@pytest.mark.parametrize(("name", "extra"), [("a.heic", "heic"), ("a.jxl", "jxl")])
def test_a_missing_extra_is_named_with_its_command(
    tmp_path: Path, small: Pixels, name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(small, tmp_path / name)
    monkeypatch.setitem(sys.modules, EXTRAS[f".{extra}"], None)
    assert f"pip install 'upscale[{extra}]'" in refused(tmp_path / name)


TRUNCATED = [".png", ".jpg", ".webp", ".tif", ".avif", ".gif", ".bmp", ".ppm", ".jp2", ".heic", ".jxl"]


@pytest.mark.parametrize("suffix", TRUNCATED)
def test_row_34_truncated_files_are_told(
    tmp_path: Path, make_photo: MakePhoto, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"a{suffix}"
    save(make_photo(64, 96), path)
    data = path.read_bytes()
    for share in (0.02, 0.3, 0.5, 0.8, 0.97):
        path.write_bytes(data[: int(len(data) * share)])
        refused(path)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jp2", ".avif", ".ppm"])
def test_row_34_truncated_16_bit_files_are_told(
    tmp_path: Path, deep: Pixels, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"a{suffix}"
    pixels = lowered(deep, 12) if suffix == ".avif" else deep[..., ::-1]
    cv2.imwrite(str(path), pixels, [cv2.IMWRITE_AVIF_DEPTH, 12] if suffix == ".avif" else [])
    data = path.read_bytes()
    for share in (0.3, 0.6, 0.9, 0.98):
        path.write_bytes(data[: int(len(data) * share)])
        refused(path)
    assert capfd.readouterr() == ("", "")


def test_the_limit_is_on_announced_pixels_and_names_its_flag(tmp_path: Path, small: Pixels) -> None:
    for suffix in [*LOSSLESS, ".jpg", ".avif", ".gif"]:
        save(small, tmp_path / f"a{suffix}")
        message = refused(tmp_path / f"a{suffix}", max_pixels=17 * 12 - 1)
        assert "--allow-huge" in message
        assert "17×12" in message
        assert open_file(tmp_path / f"a{suffix}", max_pixels=17 * 12).header.width == 17
        assert open_file(tmp_path / f"a{suffix}", max_pixels=None).header.width == 17


def test_pillows_own_limit_neither_stands_in_the_way_nor_is_changed(
    tmp_path: Path, small: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pil, "MAX_IMAGE_PIXELS", 10)
    for suffix in (".bmp", ".webp"):
        save(small, tmp_path / f"a{suffix}")
        assert np.array_equal(read(tmp_path / f"a{suffix}").rgb, small)
    assert Pil.MAX_IMAGE_PIXELS == 10


def test_announced_giants_cost_no_memory(tmp_path: Path) -> None:
    """A JPEG 2000, a GIF and a BMP of 60000 × 60000, of some bytes each."""
    Pil.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.jp2")
    wide = struct.pack(">II", 60_000, 60_000)
    (tmp_path / "a.jp2").write_bytes((tmp_path / "a.jp2").read_bytes().replace(struct.pack(">II", 8, 8), wide))
    gif = io.BytesIO()
    Pil.new("P", (8, 8)).save(gif, "GIF")
    (tmp_path / "a.gif").write_bytes(
        gif.getvalue().replace(struct.pack("<HH", 8, 8), struct.pack("<HH", 60_000, 60_000))
    )
    Pil.new("RGB", (8, 8)).save(tmp_path / "a.bmp")
    flat = struct.pack("<ii", 60_000, 60_000)
    (tmp_path / "a.bmp").write_bytes((tmp_path / "a.bmp").read_bytes().replace(struct.pack("<ii", 8, 8), flat))
    tracemalloc.start()
    try:
        for name in ("a.jp2", "a.gif", "a.bmp"):
            assert "--allow-huge" in refused(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def moved(count: int = 4) -> list[Pil.Image]:
    """A dot that wanders over nothing: frames that need disposal and transparency."""
    frames: list[Pil.Image] = []
    for number in range(count):
        pixels = np.zeros((24, 32, 4), np.uint8)
        pixels[4 + number * 3 : 8 + number * 3, number * 6 : number * 6 + 5] = (40 * number, 200, 30, 255)
        frames.append(Pil.fromarray(pixels))
    return frames


ANIMATED: dict[str, dict[str, Any]] = {
    ".gif": {"duration": [100, 70, 0, 250], "loop": 2, "disposal": 2},
    ".png": {"duration": [100, 70, 1, 250], "loop": 3},
    ".webp": {"duration": [100, 70, 5, 250], "loop": 3, "lossless": True},
}


@pytest.mark.parametrize("suffix", ANIMATED)
def test_wish_17_frames_are_complete_and_timed(tmp_path: Path, suffix: str) -> None:
    frames, options = moved(), ANIMATED[suffix]
    later: Any = frames[1:]
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=later, **options)
    source = open_file(tmp_path / f"a{suffix}")
    assert source.animation is not None
    assert list(source.animation.durations) == options["duration"]
    assert source.animation.plays == 3, "a GIF counts repetitions, others how often it is played"
    assert source.header.alpha
    for _ in range(2):
        found = [whole(picture) for picture in source.pictures()]
        for one, frame in zip(found, frames, strict=True):
            shown = np.asarray(frame)
            assert one.alpha is not None
            assert np.array_equal(one.alpha, shown[..., 3])
            dot = one.alpha > 0
            assert np.abs(one.rgb[dot].astype(int) - shown[..., :3][dot]).max() <= 4


def test_wish_17_an_opaque_animation_has_no_alpha(tmp_path: Path, make_photo: MakePhoto) -> None:
    frames = [Pil.fromarray(make_photo(24, 32, seed=seed)) for seed in range(3)]
    later: Any = frames[1:]
    for suffix, wanted in ((".webp", frames), (".gif", [frame.quantize(200) for frame in frames])):
        more: Any = wanted[1:]
        options: dict[str, Any] = {"lossless": True} if suffix == ".webp" else {}
        wanted[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=more, duration=50, loop=0, **options)
        source = open_file(tmp_path / f"a{suffix}")
        assert not source.header.alpha
        assert source.animation is not None
        assert source.animation.plays == 0
        for picture, frame in zip(source.pictures(), wanted, strict=True):
            assert np.array_equal(whole(picture).rgb, np.asarray(frame.convert("RGB")))
    assert later


def test_wish_17_animated_avif(tmp_path: Path) -> None:
    frames = [Pil.new("RGB", (32, 32), color) for color in ("#ff0000", "#00ff00", "#0000ff")]
    later: Any = frames[1:]
    frames[0].save(tmp_path / "a.avif", save_all=True, append_images=later, duration=[40, 80, 333], quality=90)
    source = open_file(tmp_path / "a.avif")
    assert source.animation is not None
    assert source.animation.durations == pytest.approx((40, 80, 333))
    assert source.animation.plays == 0
    for number, picture in enumerate(source.pictures()):
        assert whole(picture).rgb[16, 16].argmax() == number


def test_a_gif_without_the_loop_extension_plays_once_and_one_frame_is_still(tmp_path: Path) -> None:
    frames = moved()
    later: Any = frames[1:]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=later, duration=50)
    animation = open_file(tmp_path / "a.gif").animation
    assert animation is not None
    assert animation.plays == 1
    for suffix in (".gif", ".webp", ".png"):
        frames[0].save(tmp_path / f"one{suffix}", save_all=True)
        assert open_file(tmp_path / f"one{suffix}").animation is None
        read(tmp_path / f"one{suffix}")


def test_frames_are_given_one_by_one(tmp_path: Path) -> None:
    frames = [Pil.new("RGB", (500, 500), (number, 0, 0)) for number in range(60)]
    later: Any = frames[1:]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=later, duration=50)
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=later, duration=50)
    for name in ("a.png", "a.gif"):
        source = open_file(tmp_path / name)
        tracemalloc.start()
        try:
            assert sum(1 for _ in source.pictures()) == 60
            assert tracemalloc.get_traced_memory()[1] < 25 << 20, "of 45 MB"
        finally:
            tracemalloc.stop()


def test_an_animation_of_endless_frames_is_a_bomb_too(tmp_path: Path) -> None:
    frames = moved()
    later: Any = frames[1:] * 10
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=later, duration=50)
    assert "--allow-huge" in refused(tmp_path / "a.gif", max_pixels=24 * 32)
    open_file(tmp_path / "a.gif", max_pixels=24 * 32 * 2)


def test_nothing_global_changes_and_nothing_is_said(tmp_path: Path, small: Pixels) -> None:
    path = tmp_path / "a.jpg"
    Pil.fromarray(small).save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff12")
    (tmp_path / "a.jp2").write_bytes(b"\xff\x4f\xff\x51" + bytes(100))
    script = f"""
import warnings, logging, cv2
from pathlib import Path
from PIL import Image, ImageFile
from upscale.media.reading.decode import open_file
from upscale.errors import PictureError
warnings.simplefilter("error")
before = Image.MAX_IMAGE_PIXELS, list(warnings.filters), cv2.utils.logging.getLogLevel(), ImageFile.LOAD_TRUNCATED_IMAGES
for name in ({str(path)!r}, {str(tmp_path / "a.jp2")!r}):
    try:
        for picture in open_file(Path(name)).pictures():
            for band in picture.bands():
                inside = Image.MAX_IMAGE_PIXELS, list(warnings.filters), cv2.utils.logging.getLogLevel()
                assert inside == before[:3], "between bands"
    except PictureError:
        pass
after = Image.MAX_IMAGE_PIXELS, list(warnings.filters), cv2.utils.logging.getLogLevel(), ImageFile.LOAD_TRUNCATED_IMAGES
assert before == after and not logging.getLogger("tifffile").disabled
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("suffix", [".png", ".ppm", ".gif", ".bmp"])
def test_row_34_mutated_files_are_read_or_told(tmp_path: Path, small: Pixels, suffix: str) -> None:
    """The formats whose structure is read in Python; the many others in worker processes, see test_isolation.py."""
    save(small, tmp_path / f"good{suffix}")
    data = (tmp_path / f"good{suffix}").read_bytes()
    rng = np.random.default_rng(7)
    told = 0
    for _ in range(150):
        mutated = bytearray(data)
        for place in rng.integers(0, min(len(data), 400), rng.integers(1, 6)):
            mutated[place] = rng.integers(256)
        path = tmp_path / f"a{suffix}"
        path.write_bytes(mutated)
        try:
            read_all(path, max_pixels=10_000_000)
        except PictureError:
            told += 1
    assert told > 3


@pytest.mark.parametrize(
    ("head", "found"),
    [
        # small: 8 × (v + 1), ratio 1:1; all default
        (0b1_001_00111_1, (64, 64, 8, False)),
        # height of 9 bits (300), ratio 3:2; extra fields, animated
        (0b1_0_0_000_1_0 << 15 | 0b100 << 12 | (299 << 3 | 0b00 << 1 | 0), (450, 300, 8, True)),
        # height 8, width its own 16; not default, no extra fields, integers of 12 bits
        (0b10_0_0_0_00001_000_00000_1, (16, 8, 12, False)),
    ],
)
def test_the_first_fields_of_jpeg_xl(head: int, found: tuple[int, int, int, bool]) -> None:
    facts = jxl_facts(b"\xff\x0a" + head.to_bytes(30, "little"))
    assert (facts.width, facts.height, facts.bits, facts.animated) == found


def test_animated_jpeg_xl_is_refused_by_name(tmp_path: Path) -> None:
    head = 0b1_0_0_000_1_0 << 15 | 0b100 << 12 | (299 << 3)
    (tmp_path / "a.jxl").write_bytes(b"\xff\x0a" + head.to_bytes(30, "little"))
    assert "animated JPEG XL" in refused(tmp_path / "a.jxl")


def test_every_format_has_a_reader(tmp_path: Path) -> None:
    from upscale.media.reading import decode

    assert set(decode._READERS) == set(FORMATS)


def test_odd_metadata_is_no_warning(tmp_path: Path, small: Pixels) -> None:
    path = tmp_path / "a.jpg"
    Pil.fromarray(small).save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff12")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(path).rgb.shape == small.shape
