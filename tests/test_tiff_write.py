"""TIFF as we write it: every program reads the same pixels and metadata, in the classic and in the big kind."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image as Pil

from upscale.image import Metadata
from upscale.media.tags import EXIF, GPS, INTEROP, Directory, Tag, exif_bytes, parse_exif
from upscale.media.writing import tiff as tiff_write
from upscale.media.writing.layout import Content, Layout
from upscale.media.writing.tiff import write_tiff

Pixels = npt.NDArray[Any]
MakePhoto = Callable[..., Pixels]
KINDS = ["classic", "big"]


@pytest.fixture
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "big":
        monkeypatch.setattr(tiff_write, "CLASSIC_END", 0)  # as if the file had grown beyond 4 GB
    return str(request.param)


def written(path: Path, pixels: Pixels, rows: int = 64, **more: Any) -> Path:
    height, width, channels = pixels.shape
    with path.open("wb") as file:
        bands = (pixels[start : start + rows] for start in range(0, height, rows))
        write_tiff(file, Content(width, height, Layout(channels, 8 * pixels.itemsize), **more), iter([bands]))
    return path


def channels_of(photo: Pixels, channels: int) -> Pixels:
    every = np.concatenate((photo, photo[::-1, ::-1, :1]), axis=2)
    return np.ascontiguousarray(every[..., {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]])


@pytest.mark.parametrize("kind", KINDS, indirect=True)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (31, 45)])
def test_other_programs_read_the_same_pixels(
    tmp_path: Path, make_photo: MakePhoto, kind: str, dtype: Any, channels: int, size: tuple[int, int]
) -> None:
    pixels = channels_of(make_photo(*size, dtype=dtype), channels)
    path = written(tmp_path / "a.tif", pixels, rows=13)
    assert path.read_bytes()[2] == (43 if kind == "big" else 42)
    assert np.array_equal(tifffile.imread(path).reshape(pixels.shape), pixels)
    seen: Any = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if channels in (1, 3) or (channels, dtype) == (4, np.uint16):
        assert np.array_equal((seen[..., None] if channels == 1 else seen[..., [2, 1, 0, 3][:channels]]), pixels)
    elif (
        channels == 4
    ):  # OpenCV multiplies 8-bit colors with alpha, whoever wrote the file; it knows no gray with alpha
        assert np.array_equal(seen[..., 3], pixels[..., 3])
    if (channels, dtype) == (2, np.uint16):
        return  # Pillow has no such pictures
    with Pil.open(path) as opened:
        seen = np.asarray(opened).reshape(pixels.shape)
        assert np.array_equal(seen, pixels if seen.dtype == dtype else pixels >> 8)
        assert opened.tag_v2.get(338) == ((2,) if channels in (2, 4) else None), "alpha is not premultiplied"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_many_strips_and_any_bands_give_the_same_bytes(tmp_path: Path, make_photo: MakePhoto, dtype: Any) -> None:
    pixels = make_photo(900, 1500, dtype=dtype)
    first = written(tmp_path / "a.tif", pixels, 900)
    assert np.array_equal(tifffile.imread(first), pixels)
    with tifffile.TiffFile(first) as file:
        page: Any = file.pages[0]
        assert len(page.dataoffsets) > 2, "in strips, which others can read one by one"
    for rows in (1, 64, 333):
        assert written(tmp_path / "b.tif", pixels, rows).read_bytes() == first.read_bytes()


@pytest.mark.parametrize("kind", KINDS, indirect=True)
def test_the_strips_offsets_are_right_beyond_4_gb(
    tmp_path: Path, make_photo: MakePhoto, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file with a hole of 4 GB before the first strip: what only a BigTIFF can address."""
    if kind == "big":
        monkeypatch.undo()
    path, pixels = tmp_path / "a.tif", make_photo(40, 30)

    class Far(io.FileIO):
        def write(self, data: Any) -> int:  # type: ignore[override]
            first, done = self.tell() == 0 and not any(data), super().write(data) or 0
            if first and kind == "big":
                self.seek(1 << 32)
            return done

    with Far(path, "w+") as file:
        write_tiff(file, Content(30, 40, Layout(3, 8)), iter([iter([pixels])]))  # type: ignore[arg-type]
    assert np.array_equal(tifffile.imread(path), pixels)
    with path.open("rb") as file:
        assert file.read(4)[2] == (43 if kind == "big" else 42)
    with Pil.open(path) as opened:
        assert np.array_equal(np.asarray(opened), pixels)


def described(endian: str = "<") -> bytes:
    exif = Pil.Exif()
    exif.endian = endian
    exif[0x010F], exif[0x8298], exif[0x0132] = "a maker", "someone", "2024:02:29 12:00:00"
    camera = exif.get_ifd(EXIF)
    camera[0x829A], camera[0x9003], camera[0x927C] = 1 / 250, "2024:02:29 12:00:00", b"maker's own \0\1\2"
    camera[INTEROP] = {1: "R98"}
    place = exif.get_ifd(GPS)
    place[1], place[2] = "N", (48.0, 8.0, 14.5)
    return exif.tobytes()


@pytest.mark.parametrize("kind", KINDS, indirect=True)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_row_19_exif_with_camera_and_place_is_kept(
    tmp_path: Path, make_photo: MakePhoto, kind: str, dtype: Any, endian: str
) -> None:
    xmp, icc = b"<x:xmpmeta/>", bytes(range(256)) * 9
    metadata = Metadata(described(endian), xmp, (300, 72.5))
    path = written(tmp_path / "a.tif", make_photo(9, 9, dtype=dtype), metadata=metadata, icc=icc)
    with Pil.open(path) as opened:
        exif = opened.getexif()
        assert (exif[0x010F], exif[0x0132]) == ("a maker", "2024:02:29 12:00:00")
        camera, place = exif.get_ifd(EXIF), exif.get_ifd(GPS)
        assert float(camera[0x829A]) == pytest.approx(1 / 250)
        assert (camera[0x9003], camera[0x927C]) == ("2024:02:29 12:00:00", b"maker's own \0\1\2")
        assert (place[1], place[2]) == ("N", (48.0, 8.0, 14.5))
        assert opened.info["icc_profile"] == icc
        assert opened.info["dpi"] == pytest.approx((300, 72.5))
        assert opened.tag_v2[700] == xmp
    with tifffile.TiffFile(path) as file:
        page: Any = file.pages[0]
        tags = page.tags
        assert tags["Copyright"].value == "someone"
        assert tags["ExifTag"].value["DateTimeOriginal"] == "2024:02:29 12:00:00"
        assert tags["GPSTag"].value["GPSLatitude"] == (48, 1, 8, 1, 29, 2)
        assert [tag.code for tag in tags] == sorted(tag.code for tag in tags), "in the order that TIFF demands"


@pytest.mark.parametrize("endian", ["<", ">"])
def test_exif_survives_being_parsed_and_written(endian: str) -> None:
    once = parse_exif(described(endian))
    assert set(once.parts) == {EXIF, GPS}
    assert set(once.parts[EXIF].parts) == {INTEROP}
    assert parse_exif(exif_bytes(once)) == once
    exif = Pil.Exif()
    exif.load(exif_bytes(once))
    assert exif.get_ifd(GPS)[2] == (48.0, 8.0, 14.5)


def test_row_19_names_keep_their_accents(tmp_path: Path, make_photo: MakePhoto) -> None:
    """Pillow writes question marks for what is not ASCII; files are full of it."""
    name = "José © 图片\0".encode()
    exif = exif_bytes(Directory({0x013B: Tag(2, len(name), name)}))
    path = written(tmp_path / "a.tif", make_photo(5, 5), metadata=Metadata(exif))
    with tifffile.TiffFile(path) as file:
        page: Any = file.pages[0]
        assert page.tags["Artist"].value == "José © 图片"


def test_damaged_exif_is_a_value_error_and_never_a_loop() -> None:
    rng = np.random.default_rng(4)
    whole = described()
    for _ in range(400):
        damaged = bytearray(whole[: int(rng.integers(4, len(whole)))])
        for at in rng.integers(0, len(damaged), 5):
            damaged[at] = rng.integers(256)
        try:
            parse_exif(bytes(damaged))
        except ValueError:
            continue
    endless = b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, EXIF, 4, 1, 8, 0)
    parse_exif(endless)
