"""Still pictures in and out: what the file said is kept, what cannot be read is told in one line, nothing is half there."""

import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Pil
from PIL import ImageCms, ImageOps

from upscale.errors import OutputError, PictureError
from upscale.image import Color, Image, Metadata
from upscale.media import still
from upscale.media.still import StillSink, format_of, read_image, read_size

MakePhoto = Callable[..., npt.NDArray[Any]]
Pixels = npt.NDArray[Any]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ORIENTATION, WIDTH_TAG, HEIGHT_TAG, CAMERA, PLACE = 0x0112, 0xA002, 0xA003, 0x8769, 0x8825


def write(path: Path, image: Image) -> list[str]:
    """The picture as it is, through the sink; the warnings that it gave."""
    sink = StillSink(path, image.width, image.height, image)
    with sink:
        half = image.height // 2
        for rows in (slice(0, half), slice(half, None)):
            sink.write(image.rgb[rows], None if image.alpha is None else image.alpha[rows])
    return sink.warnings


def opened(path: Path) -> Pil.Image:
    with Pil.open(path) as picture:
        picture.load()
        return picture


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(pixels: Pixels, *extra: bytes) -> bytes:
    """A 16-bit PNG of (H, W) gray or (H, W, 2 | 3 | 4) pixels, as no library here writes them all."""
    color = {1: 0, 2: 4, 3: 2, 4: 6}[1 if pixels.ndim == 2 else pixels.shape[2]]
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, color, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(extra) + body


def tiff16(pixels: Pixels, orientation: int = 1) -> bytes:
    """A plain 16-bit RGB TIFF."""
    height, width, channels = pixels.shape
    tags = [(256, width), (257, height), (258, None), (259, 1), (262, 2), (273, None), (274, orientation)]
    tags += [(277, channels), (278, height), (279, pixels.nbytes)]
    bits = 8 + 2 + 12 * len(tags) + 4
    entries = b""
    for tag, value in tags:
        count, stored = (channels, bits) if tag == 258 else (1, bits + 2 * channels if tag == 273 else value)
        entries += struct.pack("<HHII", tag, 3 if tag == 258 else 4, count, stored)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)
    return head + struct.pack(f"<{channels}H", *[16] * channels) + pixels.astype("<u2").tobytes()


@pytest.fixture
def small(make_photo: MakePhoto) -> Pixels:
    return make_photo(12, 17)


@pytest.fixture
def deep(make_photo: MakePhoto) -> Pixels:
    return make_photo(40, 50, dtype=np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".webp", ".jpg", ".jpeg", ".PNG", ".JPG"])
def test_8_bit_color_comes_back_as_it_went(tmp_path: Path, small: Pixels, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    assert write(path, Image(small)) == []
    back = read_image(path)
    assert (back.rgb.dtype, back.rgb.shape, back.alpha, back.color.gray) == (np.uint8, small.shape, None, False)
    if suffix.lower() in (".png", ".tif", ".tiff"):
        assert np.array_equal(back.rgb, small)
    else:
        worst = 16 if suffix == ".webp" else 6  # lossy WebP has half the color resolution, and these are hard edges
        assert np.abs(back.rgb.astype(int) - small).mean() < worst, "channels keep their order"
    assert opened(path).format == format_of(path)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_8_bit_transparency_comes_back(tmp_path: Path, small: Pixels, suffix: str) -> None:
    alpha = small[..., 1].copy()
    path = tmp_path / f"a{suffix}"
    assert write(path, Image(small, alpha)) == []
    back = read_image(path)
    assert back.alpha is not None
    assert np.array_equal(back.alpha, alpha)
    if suffix != ".webp":
        assert np.array_equal(back.rgb, small)


@pytest.mark.parametrize("with_alpha", [False, True])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_color_keeps_every_level(tmp_path: Path, deep: Pixels, suffix: str, with_alpha: bool) -> None:
    image = Image(deep, deep[..., 0].copy() if with_alpha else None, Color(16))
    path = tmp_path / f"a{suffix}"
    assert write(path, image) == []
    back = read_image(path)
    assert back.rgb.dtype == np.uint16
    assert back.color.depth == 16
    assert np.array_equal(back.rgb, deep)
    assert len(np.unique(back.rgb)) > 1000
    assert (back.alpha is not None) == with_alpha
    if back.alpha is not None:
        assert np.array_equal(back.alpha, image.alpha)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_gray_stays_16_bit_gray(tmp_path: Path, deep: Pixels, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), deep[..., 0])
    image = read_image(path)
    assert (image.rgb.dtype, image.color.gray, image.color.depth) == (np.uint16, True, 16)
    write(path, image)
    assert opened(path).mode == "I;16"
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), deep[..., 0])


def test_row_15_16_bit_gray_with_alpha_stays_gray(tmp_path: Path, deep: Pixels) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png16(deep[..., :2]))
    image = read_image(path)
    assert image.color.gray
    assert image.alpha is not None
    assert np.array_equal(image.alpha, deep[..., 1])
    tinted = replace(image, rgb=image.rgb + np.array([0, 1, 2], np.uint16))
    write(path, tinted)
    back = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(back[..., 0], back[..., 2])
    assert np.array_equal(back[..., 3], deep[..., 1])


@pytest.mark.parametrize(("mode", "written"), [("L", "L"), ("LA", "LA"), ("1", "L")])
def test_row_15_gray_stays_gray(tmp_path: Path, small: Pixels, mode: str, written: str) -> None:
    path = tmp_path / "a.png"
    Pil.fromarray(small).convert(mode).save(path)
    image = read_image(path)
    assert image.color.gray
    tinted = np.clip(image.rgb.astype(int) + np.array([0, 3, 6]), 0, 255).astype(np.uint8)
    write(path, replace(image, rgb=tinted))
    picture = opened(path)
    assert picture.mode == written
    gray = np.rint(tinted.mean(axis=2)).astype(np.uint8)
    assert np.array_equal(np.asarray(picture.getchannel(0)), gray), "the mean of what the network made of gray"


def test_row_11_palette_with_transparency_is_expanded(tmp_path: Path, small: Pixels) -> None:
    path = tmp_path / "a.png"
    palette = Pil.fromarray(small).quantize(16)
    palette.save(path, transparency=3)
    wanted = np.asarray(palette.convert("RGB"))
    image = read_image(path)
    assert image.alpha is not None
    assert np.array_equal(image.alpha == 0, np.asarray(palette) == 3)
    assert np.array_equal(image.rgb, wanted)


@pytest.mark.parametrize("mode", ["L", "RGB", "1"])
def test_a_transparent_color_becomes_alpha(tmp_path: Path, small: Pixels, mode: str) -> None:
    picture = Pil.fromarray(small).convert(mode)
    key: Any = picture.getpixel((5, 5))
    picture.save(tmp_path / "a.png", transparency=key)
    alpha = read_image(tmp_path / "a.png").alpha
    assert alpha is not None
    assert alpha[5, 5] == 0
    assert alpha.max() == 255


def orient(small: Pixels, path: Path, orientation: int) -> Pixels:
    """Writes the picture with an orientation; gives the upright pixels."""
    exif = Pil.Exif()
    exif[ORIENTATION] = orientation
    picture = Pil.fromarray(small)
    picture.save(path, exif=exif.tobytes(), **({"lossless": True} if path.suffix == ".webp" else {}))
    return np.asarray(ImageOps.exif_transpose(opened(path)))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_row_18_orientation_is_applied_and_reset(tmp_path: Path, small: Pixels, suffix: str, orientation: int) -> None:
    path = tmp_path / f"a{suffix}"
    upright = orient(small, path, orientation)
    assert upright.shape[:2] == ((17, 12) if orientation >= 5 else (12, 17))
    image = read_image(path)
    assert np.array_equal(image.rgb, upright)
    assert read_size(path) == (image.width, image.height)
    write(path, image)
    assert opened(path).getexif().get(ORIENTATION, 1) == 1
    assert opened(path).size == (image.width, image.height)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_row_18_orientation_of_16_bit_files(tmp_path: Path, deep: Pixels, orientation: int) -> None:
    places = np.arange(deep.shape[0] * deep.shape[1], dtype=np.int32).reshape(deep.shape[:2])
    flat = deep.reshape(-1, 3)
    exif = Pil.Exif()
    exif[ORIENTATION] = orientation
    oriented = Pil.fromarray(places)
    oriented.getexif()[ORIENTATION] = orientation
    upright = flat[np.asarray(ImageOps.exif_transpose(oriented))]
    (tmp_path / "a.png").write_bytes(png16(deep, chunk(b"eXIf", exif.tobytes()[6:])))
    (tmp_path / "a.tif").write_bytes(tiff16(deep, orientation))
    for name in ("a.png", "a.tif"):
        image = read_image(tmp_path / name)
        assert np.array_equal(image.rgb, upright), name
        assert read_size(tmp_path / name) == (image.width, image.height)


def test_row_18_orientation_in_xmp_is_reset_too(tmp_path: Path, small: Pixels) -> None:
    path = tmp_path / "a.jpg"
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" dc:title="a"/></x:xmpmeta>'
    Pil.fromarray(small).save(path, xmp=xmp)
    image = read_image(path)
    assert (image.width, image.height) == (12, 17)
    write(path, image)
    kept = opened(path).info["xmp"]
    assert b"Orientation" not in kept
    assert b"dc:title" in kept
    assert read_image(path).rgb.shape == image.rgb.shape, "turned once, not twice"


def described() -> bytes:
    exif = Pil.Exif()
    exif[0x010E], exif[0x010F] = "a picture", "a maker"
    exif.get_ifd(CAMERA)[WIDTH_TAG], exif.get_ifd(CAMERA)[HEIGHT_TAG] = 17, 12
    exif.get_ifd(CAMERA)[0x9003] = "2024:02:29 12:00:00"
    exif.get_ifd(PLACE)[1] = "N"
    return exif.tobytes()


@pytest.mark.parametrize("target", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("origin", [".png", ".jpg", ".webp", ".tif"])
def test_rows_17_and_19_profile_exif_and_density_are_kept(
    tmp_path: Path, small: Pixels, origin: str, target: str
) -> None:
    given, taken = tmp_path / f"in{origin}", tmp_path / f"out{target}"
    options: dict[str, Any] = {} if origin == ".webp" else {"dpi": (300, 300)}
    Pil.fromarray(small).save(given, exif=described(), icc_profile=PROFILE, **options)
    image = read_image(given)
    larger = Image(np.repeat(np.repeat(image.rgb, 2, 0), 2, 1), None, image.color, image.metadata)
    assert write(taken, larger) == []
    result = opened(taken)
    assert result.info["icc_profile"] == PROFILE
    exif = result.getexif()
    assert (exif[0x010E], exif[0x010F]) == ("a picture", "a maker")
    camera = exif.get_ifd(CAMERA)
    assert camera[0x9003] == "2024:02:29 12:00:00"
    assert (camera[WIDTH_TAG], camera[HEIGHT_TAG]) == (34, 24), "the size tags tell the new size"
    assert exif.get_ifd(PLACE)[1] == "N"
    if ".webp" not in (origin, target):
        assert result.info["dpi"] == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "raw", "jpeg"])
def test_tags_of_a_tiffs_layout_are_not_taken_over(tmp_path: Path, small: Pixels, compression: str) -> None:
    """A TIFF's own width, strips and compression once came out as EXIF, and spoiled every TIFF that was written."""
    path = tmp_path / "a.tif"
    Pil.fromarray(small).save(path, compression=compression, description="kept")
    image = read_image(path)
    larger = Image(np.repeat(np.repeat(image.rgb, 3, 0), 3, 1), None, image.color, image.metadata)
    for target in (path, tmp_path / "b.jpg", tmp_path / "b.png"):
        write(target, larger)
        assert opened(target).size == (51, 36)
        exif = opened(target).getexif()
        assert exif[0x010E] == "kept"
        assert target.suffix == ".tif" or not {256, 257, 259, 273, 279} & set(exif)


def test_row_17_profile_of_a_16_bit_png_is_kept(tmp_path: Path, deep: Pixels) -> None:
    image = Image(deep, None, Color(16, icc=PROFILE), Metadata(described()))
    assert write(tmp_path / "a.png", image) == []
    assert opened(tmp_path / "a.png").info["icc_profile"] == PROFILE
    assert opened(tmp_path / "a.png").getexif()[0x010E] == "a picture"
    back = read_image(tmp_path / "a.png")
    assert back.color.icc == PROFILE
    assert np.array_equal(back.rgb, deep)


def test_what_a_16_bit_tiff_cannot_keep_is_told(tmp_path: Path, deep: Pixels) -> None:
    (warning,) = write(tmp_path / "a.tif", Image(deep, None, Color(16, icc=PROFILE)))
    assert "ICC" in warning


def test_row_13_transparency_goes_on_white_where_the_format_has_none(tmp_path: Path, small: Pixels) -> None:
    alpha = np.full(small.shape[:2], 255, np.uint8)
    alpha[:, :8] = 0
    dark = np.zeros_like(small)
    (warning,) = write(tmp_path / "a.jpg", Image(dark, alpha))
    assert "white" in warning
    back = read_image(tmp_path / "a.jpg").rgb
    assert back[:, :8].min() >= 250
    assert back[:, 9:].max() <= 5


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_16_bit_is_rounded_where_the_format_has_8(tmp_path: Path, suffix: str) -> None:
    flat = np.full((16, 16, 3), 200 * 257 + 128, np.uint16)  # nearer to 200 than to 201 by a hair
    flat[8:] = 200 * 257 + 129
    (warning,) = write(tmp_path / f"a{suffix}", Image(flat, None, Color(16)))
    assert "8 bits" in warning
    back = read_image(tmp_path / f"a{suffix}").rgb
    assert abs(float(back[:8].mean()) - 200) < 0.6
    assert abs(float(back[8:].mean()) - 201) < 0.6


def test_16_bit_with_alpha_to_jpeg_is_put_on_white_and_rounded(tmp_path: Path, deep: Pixels) -> None:
    image = Image(deep, np.zeros(deep.shape[:2], np.uint16), Color(16))
    assert len(write(tmp_path / "a.jpg", image)) == 2
    assert read_image(tmp_path / "a.jpg").rgb.min() >= 254


def refused(path: Path) -> str:
    with pytest.raises(PictureError) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_row_34_unsupported_kinds_name_the_file_and_a_remedy(tmp_path: Path, small: Pixels) -> None:
    picture, other = Pil.fromarray(small), Pil.fromarray(small[::-1].copy())
    many: dict[str, Any] = {"save_all": True, "append_images": [other]}
    picture.convert("CMYK").save(tmp_path / "cmyk.jpg")
    picture.convert("CMYK").save(tmp_path / "cmyk.tif")
    picture.save(tmp_path / "gif.png", "GIF")
    picture.save(tmp_path / "bmp.png", "BMP")
    picture.save(tmp_path / "animated.webp", **many)
    picture.save(tmp_path / "animated.png", **many)
    picture.save(tmp_path / "pages.tif", **many)
    Pil.fromarray(small[..., 0].astype(np.float32)).save(tmp_path / "float.tif")
    remedies = {"cmyk.jpg": "RGB", "cmyk.tif": "RGB", "gif.png": "PNG", "bmp.png": "PNG", "float.tif": "RGB"}
    remedies |= dict.fromkeys(("animated.webp", "animated.png", "pages.tif"), "split")
    for name, remedy in remedies.items():
        assert remedy in refused(tmp_path / name), name
        with pytest.raises(PictureError, match="supported"):
            read_size(tmp_path / name)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_row_34_truncated_files_are_told(tmp_path: Path, small: Pixels, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Pil.fromarray(small).save(path)
    data = path.read_bytes()
    for share in (0.05, 0.5, 0.8):
        path.write_bytes(data[: int(len(data) * share)])
        assert "cut off" in refused(path)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_row_34_truncated_16_bit_files_are_told(
    tmp_path: Path, deep: Pixels, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    data = png16(deep) if name == "a.png" else tiff16(deep)
    for share in (0.3, 0.6):
        path.write_bytes(data[: int(len(data) * share)])
        assert "cut off" in refused(path)


def test_row_34_what_is_no_picture_is_told(tmp_path: Path) -> None:
    text, empty, folder = tmp_path / "text.png", tmp_path / "empty.jpg", tmp_path / "x.png"
    text.write_text("hello")
    empty.touch()
    folder.mkdir()
    assert "not a picture" in refused(text)
    assert "empty" in refused(empty)
    assert "cannot be read" in refused(folder)
    assert "cannot be read" in refused(tmp_path / "missing.png")
    for path in (text, empty, folder, tmp_path / "missing.png"):
        with pytest.raises(PictureError):
            read_size(path)


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
        image = read_image(path)
        assert {image.width, image.height} == {12, 17}
        write(tmp_path / "b.jpg", image)


@pytest.mark.parametrize("density", [0.0, float("nan")])
def test_a_senseless_density_is_dropped(tmp_path: Path, small: Pixels, density: float) -> None:
    image = read_png_with_density(tmp_path / "a.tif", small, density)
    for suffix in (".tif", ".jpg", ".png"):
        assert write(tmp_path / f"b{suffix}", image) == []


def read_png_with_density(path: Path, small: Pixels, density: float) -> Image:
    from PIL.TiffImagePlugin import IFDRational

    value = IFDRational(0, 0) if density != density else IFDRational(int(density), 1)
    Pil.fromarray(small).save(path, tiffinfo={282: value, 283: value, 296: 2})
    return read_image(path)


def test_metadata_too_large_for_jpeg_is_dropped_and_told(tmp_path: Path, small: Pixels) -> None:
    exif = Pil.Exif()
    exif[0x010E] = "x" * 70_000
    image = Image(small, None, Color(), Metadata(exif.tobytes(), b"y" * 70_000))
    warnings_given = write(tmp_path / "a.jpg", image)
    assert [text.split()[0] for text in warnings_given] == ["EXIF", "XMP"]
    assert opened(tmp_path / "a.jpg").size == (17, 12)


@pytest.mark.parametrize(("suffix", "side"), [(".webp", 16384), (".jpg", 65501)])
def test_row_7_a_format_too_small_for_the_result_is_refused_before_the_work(
    tmp_path: Path, small: Pixels, suffix: str, side: int
) -> None:
    path = tmp_path / f"a{suffix}"
    with pytest.raises(OutputError, match=r"\.png") as caught:
        StillSink(path, side, 1, Image(small))
    assert str(path) in str(caught.value)
    line = np.zeros((1, side - 1, 3), np.uint8)
    write(path, Image(line))
    assert opened(path).size == (side - 1, 1), "the limit itself is allowed"


def test_rows_that_are_missing_leave_no_file(tmp_path: Path, small: Pixels) -> None:
    sink = StillSink(tmp_path / "a.png", 17, 12, Image(small))
    sink.write(small[:7], None)
    with pytest.raises(OutputError, match="5 rows are missing"), sink:
        pass
    assert list(tmp_path.glob("*.png")) == []


def test_an_error_in_the_block_writes_nothing(tmp_path: Path, small: Pixels) -> None:
    sink = StillSink(tmp_path / "a.png", 17, 12, Image(small))
    sink.write(small, None)
    with pytest.raises(RuntimeError, match="elsewhere"), sink:
        raise RuntimeError("elsewhere")
    assert list(tmp_path.glob("*.png")) == []


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("old", [False, True])
def test_a_failed_encode_leaves_no_file_and_the_old_one_as_it_was(
    tmp_path: Path, small: Pixels, monkeypatch: pytest.MonkeyPatch, suffix: str, old: bool
) -> None:
    def half(_self: Any, path: Path, *_more: Any, **_options: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    path = tmp_path / f"a{suffix}"
    if old:
        path.write_bytes(b"old")
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(Pil.Image, "save", half)
    with pytest.raises(OutputError, match="No space left"):
        write(path, Image(small))
    assert sorted(tmp_path.iterdir()) == before
    assert not old or path.read_bytes() == b"old"


@pytest.mark.parametrize("fault", ["size", "cut"])
def test_row_7_a_failed_check_leaves_the_old_file(
    tmp_path: Path, small: Pixels, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    real = Pil.Image.save

    def wrong(picture: Pil.Image, path: Path, *more: Any, **options: Any) -> None:
        real(picture.crop((0, 0, 5, 5)) if fault == "size" else picture, path, *more, **options)
        if fault == "cut":
            path.write_bytes(path.read_bytes()[:-40])

    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(Pil.Image, "save", wrong)
    with pytest.raises(OutputError, match=r"a\.png"):
        write(path, Image(small))
    assert path.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == before


def test_a_16_bit_encode_that_fails_leaves_nothing(
    tmp_path: Path, deep: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(still.cv2, "imencodeWithMetadata", lambda *_: (False, None))
    monkeypatch.setattr(still.cv2, "imencode", lambda *_: (False, None))
    for suffix in (".png", ".tif"):
        with pytest.raises(OutputError, match="could not encode"):
            write(tmp_path / f"a{suffix}", Image(deep))
    assert not list(tmp_path.glob("*a*.*"))


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, small: Pixels) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "a.png"
    with pytest.raises(OutputError, match="cannot be written") as caught:
        write(path, Image(small))
    assert str(path) in str(caught.value)


def test_folders_on_the_way_are_made(tmp_path: Path, small: Pixels) -> None:
    write(tmp_path / "x" / "y" / "a.png", Image(small))
    assert [path.name for path in (tmp_path / "x" / "y").iterdir()] == ["a.png"]


@pytest.mark.parametrize("name", ["a.gif", "a.bmp", "a", "a.heic", "a.mp4"])
def test_other_formats_cannot_be_written_and_the_message_says_which_can(name: str) -> None:
    with pytest.raises(OutputError, match=r"\.png, \.jpg, \.webp or \.tif"):
        format_of(Path(name))


def test_a_file_is_read_by_its_content_not_its_name(tmp_path: Path, small: Pixels) -> None:
    Pil.fromarray(small).save(tmp_path / "a.jpg", "PNG")
    assert np.array_equal(read_image(tmp_path / "a.jpg").rgb, small)


def test_odd_metadata_is_no_warning(tmp_path: Path, small: Pixels) -> None:
    path = tmp_path / "a.jpg"
    Pil.fromarray(small).save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff12")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(path).rgb.shape == small.shape


@pytest.mark.parametrize("name", ["图片.png", "ñandú é.png", "ノイズ [1].png", "a b  c.png", "-dash.png", "%s{}.png"])
def test_row_20_any_name_is_read_and_written(tmp_path: Path, small: Pixels, deep: Pixels, name: str) -> None:
    for pixels in (small, deep):
        write(tmp_path / name, Image(pixels))
        assert np.array_equal(read_image(tmp_path / name).rgb, pixels)
