"""TIFF as it is read: every layout, by several writers; what is refused, by name; what is damaged, told."""

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image as Pil
from PIL import ImageCms, ImageOps

from upscale.errors import PictureError
from upscale.image import Band
from upscale.media.reading.decode import open_file

Pixels = npt.NDArray[Any]
WIDTH, HEIGHT = 37, 45


def noise(channels: int, dtype: npt.DTypeLike = np.uint8, levels: int | None = None) -> Pixels:
    top = levels or int(np.iinfo(dtype).max) + 1
    shape = (HEIGHT, WIDTH) if channels == 1 else (HEIGHT, WIDTH, channels)
    return np.random.default_rng((channels, top)).integers(0, top, shape).astype(dtype)


def read(path: Path, **options: Any) -> Band:
    source = open_file(path, **options)
    (picture,) = source.pictures()
    bands = list(picture.bands())
    alphas = [band.alpha for band in bands if band.alpha is not None]
    return Band(np.concatenate([band.rgb for band in bands]), np.concatenate(alphas) if alphas else None)


def refused(path: Path) -> str:
    with pytest.raises(PictureError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def check(path: Path, pixels: Pixels) -> None:
    """The file is read as these (H, W) or (H, W, 2..4) pixels, whole and in bands."""
    stack = pixels[..., None] if pixels.ndim == 2 else pixels
    channels = stack.shape[2]
    source = open_file(path)
    header = source.header
    assert (header.width, header.height) == (stack.shape[1], stack.shape[0])
    assert header.color.gray == (channels < 3)
    assert header.alpha == (channels in (2, 4))
    assert header.dtype == pixels.dtype
    assert source.warnings == []
    for band_bytes in (1, 1000, 1 << 22):
        found = read(path, band_bytes=band_bytes)
        assert np.array_equal(found.rgb, np.repeat(stack[..., :1], 3, axis=2) if channels < 3 else stack[..., :3])
        assert (found.alpha is None) == (not header.alpha)
        assert found.alpha is None or np.array_equal(found.alpha, stack[..., -1])


LAYOUTS: dict[str, dict[str, Any]] = {
    "one strip": {},
    "strips": {"rowsperstrip": 7},
    "deflate": {"compression": "zlib", "rowsperstrip": 7},
    "deflate in one strip": {"compression": "zlib"},
    "tiles": {"tile": (16, 32)},
    "deflated tiles": {"tile": (32, 16), "compression": "zlib"},
    "BigTIFF": {"bigtiff": True, "rowsperstrip": 10},
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_depths_orders_and_layouts(tmp_path: Path, channels: int, dtype: Any, layout: str, order: Any) -> None:
    pixels = noise(channels, dtype)
    kind: dict[str, Any] = {"photometric": "rgb" if channels > 2 else "minisblack"}
    if channels in (2, 4):
        kind |= {"extrasamples": ["unassalpha"], "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", pixels, byteorder=order, metadata=None, **kind, **LAYOUTS[layout])
    check(tmp_path / "a.tif", pixels)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_planes_one_after_the_other(tmp_path: Path, layout: str) -> None:
    for dtype in (np.uint8, np.uint16):
        pixels = noise(4, dtype)
        tifffile.imwrite(
            tmp_path / "a.tif",
            pixels.transpose(2, 0, 1),
            **{"photometric": "rgb", "planarconfig": "separate", "extrasamples": ["unassalpha"], "metadata": None},
            **LAYOUTS[layout],
        )
        check(tmp_path / "a.tif", pixels)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_what_pillow_writes(tmp_path: Path, mode: str, compression: str) -> None:
    pixels = noise(len(mode))
    Pil.fromarray(pixels, mode).save(tmp_path / "a.tif", compression=compression)
    check(tmp_path / "a.tif", pixels)
    tags: dict[int, Any] = {317: 2, 278: 11}
    if compression in ("tiff_lzw", "tiff_adobe_deflate"):
        Pil.fromarray(pixels, mode).save(tmp_path / "a.tif", compression=compression, tiffinfo=tags)
        with tifffile.TiffFile(tmp_path / "a.tif") as file:
            assert file.pages[0].tags[317].value == 2
        check(tmp_path / "a.tif", pixels)


@pytest.mark.parametrize("scheme", [1, 5, 8, 32773])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_what_opencv_writes(tmp_path: Path, channels: int, scheme: int) -> None:
    """16 bit with LZW and a predictor is its own choice; it does not say that the fourth channel is transparency."""
    for dtype in (np.uint8, np.uint16):
        pixels = noise(channels, dtype)
        swapped = pixels if channels == 1 else pixels[..., [2, 1, 0, 3][:channels]]
        for predictor in (1, 2):
            parameters = [cv2.IMWRITE_TIFF_COMPRESSION, scheme, cv2.IMWRITE_TIFF_PREDICTOR, predictor]
            cv2.imwrite(str(tmp_path / "a.tif"), swapped, parameters)
            check(tmp_path / "a.tif", pixels)


def tiff(tags: dict[int, tuple[int, Any]], data: bytes) -> bytes:
    """A little-endian TIFF with one strip of data; tags: number → (type, value or values)."""
    sizes = {1: "B", 3: "H", 4: "I"}
    entries, beyond = b"", b""
    tags = {273: (4, 0), 279: (4, len(data)), **tags}
    start = 8 + 2 + 12 * len(tags) + 4
    lengths = 0
    for tag in sorted(tags):
        kind, given = tags[tag]
        values = [given] if isinstance(given, int) else list(given)
        stored = struct.pack(f"<{len(values)}{sizes[kind]}", *values)
        if len(stored) > 4:
            entries += struct.pack("<HHII", tag, kind, len(values), start + len(beyond))
            beyond += stored + b"\0" * (len(stored) % 2)
        else:
            entries += struct.pack("<HHI", tag, kind, len(values)) + stored.ljust(4, b"\0")
            lengths += 1
    at = entries.index(struct.pack("<HHI", 273, 4, 1)) + 8
    entries = entries[:at] + struct.pack("<I", start + len(beyond)) + entries[at + 4 :]
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + struct.pack("<I", 0) + beyond + data


def basic(bits: int | list[int], photometric: int, samples: int = 1, **more: Any) -> dict[int, tuple[int, Any]]:
    sizes = {256: (3, WIDTH), 257: (3, HEIGHT), 258: (3, bits), 259: (3, 1), 262: (3, photometric), 277: (3, samples)}
    return {**sizes, 278: (3, HEIGHT), **more}


@pytest.mark.parametrize("bits", [1, 2, 4, 10, 12, 14])
@pytest.mark.parametrize("samples", [1, 3])
def test_packed_depths_fill_the_range(tmp_path: Path, bits: int, samples: int) -> None:
    values = noise(samples, np.uint16, 1 << bits).reshape(HEIGHT, -1)
    values[0, :2] = (0, (1 << bits) - 1)
    single = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    data = np.packbits(single.reshape(HEIGHT, -1).astype(np.uint8), axis=1).tobytes()
    (tmp_path / "a.tif").write_bytes(tiff(basic([bits] * samples, 2 if samples == 3 else 1, samples), data))
    dtype, full = (np.uint8, 255) if bits <= 8 else (np.uint16, 65535)
    wanted = np.rint(values * (full / ((1 << bits) - 1))).astype(dtype).reshape(HEIGHT, WIDTH, -1)
    check(tmp_path / "a.tif", wanted if samples == 3 else wanted[..., 0])
    assert open_file(tmp_path / "a.tif").header.color.depth == bits


def test_white_may_be_zero_and_bits_reversed(tmp_path: Path) -> None:
    pixels = noise(1)
    (tmp_path / "a.tif").write_bytes(tiff(basic(8, 0), (255 - pixels).tobytes()))
    check(tmp_path / "a.tif", pixels)
    backwards = np.packbits(np.unpackbits(pixels.reshape(-1, 1), axis=1)[:, ::-1], axis=1)
    (tmp_path / "a.tif").write_bytes(tiff({**basic(8, 1), 266: (3, 2)}, backwards.tobytes()))
    check(tmp_path / "a.tif", pixels)


@pytest.mark.parametrize("compression", ["raw", "group3", "group4", "packbits", "tiff_lzw"])
def test_bitmaps_are_gray(tmp_path: Path, compression: str) -> None:
    picture = Pil.fromarray(noise(1)).convert("1")
    picture.save(tmp_path / "a.tif", compression=compression)
    check(tmp_path / "a.tif", np.asarray(picture.convert("L")))


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_a_palette_is_expanded(tmp_path: Path, compression: str) -> None:
    picture = Pil.fromarray(noise(3)).quantize(200)
    picture.save(tmp_path / "a.tif", compression=compression)
    check(tmp_path / "a.tif", np.asarray(picture.convert("RGB")))


def test_jpeg_inside(tmp_path: Path) -> None:
    flat = np.full((HEIGHT, WIDTH, 3), (200, 80, 40), np.uint8)
    Pil.fromarray(flat).save(tmp_path / "a.tif", compression="jpeg", quality=95)
    found = read(tmp_path / "a.tif")
    assert np.abs(found.rgb.astype(int) - flat).max() <= 3


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_row_10_premultiplied_colors_are_made_straight(tmp_path: Path, channels: int, dtype: Any) -> None:
    """Read as they are, half transparent edges would be darkened twice."""
    full = int(np.iinfo(dtype).max)
    alpha = np.linspace(0, full, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1).round()
    color = noise(channels, dtype)[..., : channels - 1]
    stored = np.dstack((np.rint(color * (alpha / full)), alpha)).astype(dtype)
    kind: Any = {"photometric": "rgb" if channels == 4 else "minisblack", "planarconfig": "contig", "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", stored, extrasamples=["assocalpha"], **kind)
    found = read(tmp_path / "a.tif")
    assert np.array_equal(found.alpha, stored[..., -1])
    solid = alpha[..., 0] > full / 2
    wanted = np.repeat(color, 3, axis=2) if channels == 2 else color
    assert np.abs(found.rgb[solid].astype(int) - wanted[solid]).max() <= 1
    assert (found.rgb[0, 0] == 0).all(), "nothing to see where nothing is"


def test_channels_of_unknown_meaning_are_left_out_and_told(tmp_path: Path) -> None:
    pixels = noise(4)
    kind: Any = {"photometric": "rgb", "planarconfig": "contig", "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", pixels, extrasamples=["unspecified"], **kind)
    (warning,) = open_file(tmp_path / "a.tif").warnings
    assert "left out" in warning
    found = read(tmp_path / "a.tif")
    assert np.array_equal(found.rgb, pixels[..., :3])
    assert found.alpha is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_row_18_the_orientation_tag_is_applied_and_reset(tmp_path: Path, orientation: int, dtype: Any) -> None:
    pixels = noise(3, dtype)
    places = Pil.fromarray(np.arange(HEIGHT * WIDTH, dtype=np.int32).reshape(HEIGHT, WIDTH))
    places.getexif()[0x0112] = orientation
    upright = pixels.reshape(-1, 3)[np.asarray(ImageOps.exif_transpose(places))]
    data = tiff({**basic([8 * pixels.itemsize] * 3, 2, 3), 274: (3, orientation)}, pixels.tobytes())
    (tmp_path / "a.tif").write_bytes(data)
    check(tmp_path / "a.tif", upright)
    exif = Pil.Exif()
    exif.load(open_file(tmp_path / "a.tif").header.metadata.exif or b"")
    assert 0x0112 not in exif


def test_row_18_orientation_of_a_tiff_that_pillow_decodes(tmp_path: Path) -> None:
    flat = np.zeros((16, 32, 3), np.uint8)
    flat[:, :16] = 255
    Pil.fromarray(flat).save(tmp_path / "a.tif", compression="jpeg", tiffinfo={274: 6})
    header = open_file(tmp_path / "a.tif").header
    assert (header.width, header.height) == (16, 32)
    found = read(tmp_path / "a.tif").rgb
    assert found[:14].min() > 200
    assert found[18:].max() < 50


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rows_17_and_19_profile_texts_and_density_are_kept(tmp_path: Path, dtype: Any, big: bool) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    tifffile.imwrite(
        tmp_path / "a.tif",
        noise(3, dtype),
        photometric="rgb",
        bigtiff=big,
        iccprofile=profile,
        resolution=(118.11, 118.11),
        resolutionunit="CENTIMETER",
        description="a picture",
        metadata=None,
        extratags=[(700, 1, len(xmp), xmp, True)],
    )
    header = open_file(tmp_path / "a.tif").header
    assert header.color.icc == profile
    assert header.metadata.xmp == xmp
    assert header.metadata.dpi == pytest.approx((300, 300), abs=0.01)
    exif = Pil.Exif()
    exif.load(header.metadata.exif or b"")
    assert exif[0x010E] == "a picture"
    assert not {256, 257, 258, 259, 273, 277, 279, 700, 34675} & set(exif), "how the file is laid out is no description"


def test_tags_that_are_not_carried_over_are_named(tmp_path: Path) -> None:
    pixels = noise(3)
    Pil.fromarray(pixels).save(tmp_path / "a.tif", tiffinfo={33723: b"\x1c\x02\x05\0\x01a", 270: "a title"})
    source = open_file(tmp_path / "a.tif")
    assert source.warnings == ["not carried over: IPTC"]
    assert b"a title" in (source.header.metadata.exif or b"")
    Pil.fromarray(pixels).save(tmp_path / "a.tif")
    assert open_file(tmp_path / "a.tif").warnings == []


def test_the_cameras_part_of_exif_is_kept(tmp_path: Path) -> None:
    exif = Pil.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2024:02:29 12:00:00"
    Pil.fromarray(noise(3)).save(tmp_path / "a.tif", exif=exif.tobytes())
    kept = Pil.Exif()
    kept.load(open_file(tmp_path / "a.tif").header.metadata.exif or b"")
    assert kept.get_ifd(0x8769)[0x9003] == "2024:02:29 12:00:00"


def test_refused_kinds_are_named_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    kinds: dict[str, tuple[Pixels, dict[str, Any]]] = {
        "floating point": (noise(3).astype(np.float32), {"photometric": "rgb"}),
        "signed": (noise(1).astype(np.int16), {"photometric": "minisblack"}),
        "32 bits": (noise(1).astype(np.uint32), {"photometric": "minisblack"}),
        "several pages": (np.stack((noise(1), noise(1))), {"photometric": "minisblack"}),
        "camera RAW": (noise(1, np.uint16), {"photometric": 32803}),
    }
    for name, (pixels, options) in kinds.items():
        tifffile.imwrite(path, pixels, metadata=None, **options)
        message = refused(path)
        assert name in message, message
        assert any(word in message for word in ("convert", "split", "develop")), message


def test_camera_raw_shows_though_its_first_picture_is_a_thumbnail(tmp_path: Path) -> None:
    """As in DNG and NEF: the sensor's values are in a sub-directory."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(noise(3), photometric="rgb", subfiletype=1, subifds=1, metadata=None)
        writer.write(noise(1, np.uint16), photometric=32803, metadata=None)
    assert "camera RAW" in refused(tmp_path / "a.tif")


def test_a_thumbnail_is_no_second_page(tmp_path: Path) -> None:
    pixels = noise(3)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(pixels, photometric="rgb", metadata=None)
        writer.write(pixels[::4, ::4].copy(), photometric="rgb", subfiletype=1, metadata=None)
    check(tmp_path / "a.tif", pixels)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4"])
def test_row_34_no_cut_is_taken_for_a_whole_picture(
    tmp_path: Path, compression: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Pillow and OpenCV put a TIFF's directory behind or before its pixels; cut, either is told."""
    path = tmp_path / "a.tif"
    picture = Pil.fromarray(noise(3))
    (picture.convert("1") if compression == "group4" else picture).save(path, compression=compression)
    data = path.read_bytes()
    for share in (0.01, 0.2, 0.5, 0.8, 0.95):
        path.write_bytes(data[: int(len(data) * share)])
        refused(path)
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err == "" or compression == "jpeg", "only libtiff's JPEG codec speaks past Pillow"


def test_row_34_strips_that_end_early_are_told(tmp_path: Path) -> None:
    """The directory is whole, but points at less than it needs: no gray below."""
    path = tmp_path / "a.tif"
    for scheme in (1, 5, 8):
        cv2.imwrite(str(path), noise(3, np.uint16), [cv2.IMWRITE_TIFF_COMPRESSION, scheme])
        with tifffile.TiffFile(path) as file:
            page: Any = file.pages[0]
            counts = page.tags[279]
            size = counts.valuebytecount // counts.count
            last = counts.valueoffset + counts.valuebytecount - size
            half = page.databytecounts[-1] // 2
        data = bytearray(path.read_bytes())
        data[last : last + size] = half.to_bytes(size, "little")
        path.write_bytes(data)
        refused(path)


def test_wish_11_memory_does_not_grow_with_the_height(tmp_path: Path) -> None:
    for options in (
        {},
        {"compression": "zlib"},
        {"tile": (256, 256)},
        {"compression": "zlib", "planarconfig": "separate"},
    ):
        peaks = [peak(tmp_path / "a.tif", height, options) for height in (1000, 7000)]
        assert peaks[1] < peaks[0] + 20_000, f"{options}: the taller one has 87,890 KB more pixels"


def peak(path: Path, height: int, options: dict[str, Any]) -> int:
    """Kilobytes of a process that reads 5000 × height RGB pixels."""
    pixels = np.zeros((3, height, 5000) if "planarconfig" in options else (height, 5000, 3), np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", metadata=None, **options)
    script = f"""
import resource
from pathlib import Path
from upscale.media.reading.decode import open_file
(picture,) = open_file(Path({str(path)!r})).pictures()
assert sum(len(band.rgb) for band in picture.bands()) == {height}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_the_size_is_refused_before_the_pixels_are_touched(tmp_path: Path) -> None:
    sizes = {256: (4, 60_000), 257: (4, 60_000)}
    (tmp_path / "a.tif").write_bytes(tiff({**basic([8] * 3, 2, 3), **sizes}, b"1234"))
    assert "--allow-huge" in refused(tmp_path / "a.tif")
    assert open_file(tmp_path / "a.tif", max_pixels=None).header.width == 60_000
