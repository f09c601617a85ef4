"""PNG as it is read: every kind of pixels, in bands as in one piece, and nothing of a damaged or hostile file."""

import io
import itertools
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Pil

from upscale.errors import PictureError
from upscale.image import Band, Picture
from upscale.media.reading.decode import open_file

Pixels = npt.NDArray[Any]
SIGNATURE = b"\x89PNG\r\n\x1a\n"
KINDS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
EVERY_KIND = [(kind, bits) for kind, depths in KINDS.items() for bits in depths]
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed(samples: Pixels, bits: int) -> Pixels:
    """Rows of (h, w, channels) samples as bytes."""
    rows = samples.reshape(len(samples), -1)
    if bits == 16:
        return rows.astype(">u2").view(np.uint8)
    if bits == 8:
        return rows.astype(np.uint8)
    single = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(single.reshape(len(rows), -1).astype(np.uint8), axis=1)


def filtered(rows: Pixels, pixel: int, first: int = 0) -> bytes:
    """Every row with the next one of PNG's five filters, as the specification has them; plain Python, for judging."""
    result = bytearray()
    above = [0] * rows.shape[1]
    for number, row in enumerate(rows.tolist()):
        kind = (number + first) % 5
        result.append(kind)
        for at, value in enumerate(row):
            a, b = (row[at - pixel] if at >= pixel else 0), above[at]
            c = above[at - pixel] if at >= pixel else 0
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            result.append((value - (0, a, b, (a + b) // 2, paeth)[kind]) & 255)
        above = row
    return bytes(result)


def png(samples: Pixels, kind: int, bits: int, *extra: bytes, interlaced: bool = False, split: int = 1000) -> bytes:
    """A PNG of (h, w, channels) samples, with all filters, its pixels in several IDAT chunks."""
    height, width = samples.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, int(interlaced))
    pixel = max(1, CHANNELS[kind] * bits // 8)
    parts = [samples[top::down, left::across] for left, top, across, down in ADAM7] if interlaced else [samples]
    data = b"".join(filtered(packed(part, bits), pixel) for part in parts if part.size)
    compressed = zlib.compress(data)
    idats = b"".join(chunk(b"IDAT", compressed[at : at + split]) for at in range(0, len(compressed), split))
    return SIGNATURE + chunk(b"IHDR", head) + b"".join(extra) + idats + chunk(b"IEND", b"")


def samples_of(kind: int, bits: int, height: int = 23, width: int = 19, seed: int = 0) -> Pixels:
    rng = np.random.default_rng((kind, bits, seed))
    return rng.integers(0, 1 << bits, (height, width, CHANNELS[kind]))


PALETTE = np.random.default_rng(9).integers(0, 256, (256, 3)).astype(np.uint8)


def plte(bits: int) -> list[bytes]:
    return [chunk(b"PLTE", PALETTE[: 1 << bits].tobytes())]


def whole(picture: Picture) -> Band:
    bands = list(picture.bands())
    alphas = [band.alpha for band in bands if band.alpha is not None]
    return Band(np.concatenate([band.rgb for band in bands]), np.concatenate(alphas) if alphas else None)


def read(path: Path, **options: Any) -> Band:
    with open_file(path, **options) as source:
        (picture,) = source.pictures()
        return whole(picture)


def expected(samples: Pixels, kind: int, bits: int) -> tuple[Pixels, Pixels | None]:
    """RGB and alpha that such samples mean."""
    if kind == 3:
        return PALETTE[samples[..., 0]], None
    dtype, full = (np.uint16, 65535) if bits == 16 else (np.uint8, 255)
    pixels = (samples * (full // ((1 << bits) - 1))).astype(dtype)
    rgb = np.repeat(pixels[..., :1], 3, axis=2) if CHANNELS[kind] < 3 else pixels[..., :3]
    return rgb, pixels[..., -1] if kind in (4, 6) else None


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("kind", "bits"), EVERY_KIND)
def test_every_kind_of_pixels_in_bands_of_any_height(tmp_path: Path, kind: int, bits: int, interlaced: bool) -> None:
    samples = samples_of(kind, bits)
    path = tmp_path / "a.png"
    path.write_bytes(png(samples, kind, bits, *(plte(bits) if kind == 3 else []), interlaced=interlaced))
    rgb, alpha = expected(samples, kind, bits)
    row_bytes = (19 * CHANNELS[kind] * bits + 7) // 8
    for rows in (1, 2, 7, 22, 23, 100):
        source = open_file(path, band_bytes=rows * row_bytes)
        (picture,) = source.pictures()
        heights = [len(band.rgb) for band in picture.bands()]
        assert heights[0] == (23 if interlaced else min(rows, 23))
        found = whole(picture)
        assert np.array_equal(found.rgb, rgb), rows
        assert found.rgb.dtype == source.header.dtype == rgb.dtype
        assert (found.alpha is None) == (alpha is None) == (not source.header.alpha)
        assert alpha is None or np.array_equal(found.alpha, alpha)
        assert source.header.color.gray == (kind in (0, 4))
        assert source.header.color.depth == (8 if kind == 3 else bits)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (5, 5)])
@pytest.mark.parametrize("interlaced", [False, True])
def test_tiny_pictures(tmp_path: Path, size: tuple[int, int], interlaced: bool) -> None:
    for kind, bits in ((0, 1), (2, 8), (6, 16)):
        samples = samples_of(kind, bits, *size)
        (tmp_path / "a.png").write_bytes(png(samples, kind, bits, interlaced=interlaced))
        assert np.array_equal(read(tmp_path / "a.png").rgb, expected(samples, kind, bits)[0])


def test_other_writers_files_are_read_as_they_read_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for mode in ("1", "L", "LA", "RGB", "RGBA", "P"):
        picture = Pil.fromarray(rng.integers(0, 256, (40, 33, 4)).astype(np.uint8)).convert(mode)
        picture.save(tmp_path / "a.png")
        found = read(tmp_path / "a.png", band_bytes=400)
        assert np.array_equal(found.rgb, np.asarray(picture.convert("RGB"))), mode
        if "A" in mode:
            assert np.array_equal(found.alpha, np.asarray(picture.getchannel("A")))
    deep = rng.integers(0, 65536, (40, 33, 4)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), deep)
    found = read(tmp_path / "a.png", band_bytes=900)
    assert np.array_equal(found.rgb, deep[..., 2::-1])
    assert np.array_equal(found.alpha, deep[..., 3])


def test_row_11_palette_with_transparency_is_expanded(tmp_path: Path) -> None:
    samples = samples_of(3, 4)
    transparent = bytes((0, 255, 128))  # shorter than the palette: the rest is opaque
    (tmp_path / "a.png").write_bytes(png(samples, 3, 4, *plte(4), chunk(b"tRNS", transparent)))
    found = read(tmp_path / "a.png", band_bytes=30)
    assert found.alpha is not None
    assert np.array_equal(found.rgb, PALETTE[samples[..., 0]])
    wanted = np.array([0, 255, 128, *[255] * 13])
    assert np.array_equal(found.alpha, wanted[samples[..., 0]])


@pytest.mark.parametrize(("kind", "bits"), [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16)])
def test_a_transparent_color_becomes_alpha(tmp_path: Path, kind: int, bits: int) -> None:
    samples = samples_of(kind, bits)
    samples[3, 4] = samples[10, 11]
    key = chunk(b"tRNS", samples[3, 4].astype(">u2").tobytes())
    (tmp_path / "a.png").write_bytes(png(samples, kind, bits, key))
    found = read(tmp_path / "a.png", band_bytes=60)
    assert found.alpha is not None
    assert np.array_equal(found.alpha == 0, (samples == samples[3, 4]).all(axis=2))
    assert found.alpha.max() == (65535 if bits == 16 else 255)


def test_a_gray_palette_is_gray(tmp_path: Path) -> None:
    samples = samples_of(3, 4)
    ramp = np.repeat(np.arange(0, 256, 17, dtype=np.uint8)[:, None], 3, axis=1)
    (tmp_path / "a.png").write_bytes(png(samples, 3, 4, chunk(b"PLTE", ramp.tobytes())))
    assert open_file(tmp_path / "a.png").header.color.gray
    (tmp_path / "a.png").write_bytes(png(samples, 3, 4, *plte(4)))
    assert not open_file(tmp_path / "a.png").header.color.gray


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(PictureError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("kind", "bits"), [(2, 8), (2, 16), (6, 16), (0, 1)])
@pytest.mark.parametrize("interlaced", [False, True])
def test_row_34_no_cut_is_taken_for_a_whole_picture(
    tmp_path: Path, kind: int, bits: int, interlaced: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    data = png(samples_of(kind, bits), kind, bits, interlaced=interlaced, split=100)
    for length in range(1, len(data) - 1, max(1, len(data) // 40)):
        (tmp_path / "a.png").write_bytes(data[:length])
        refused(tmp_path / "a.png")
    assert capfd.readouterr() == ("", "")


def test_row_34_pixels_that_end_early_are_told_though_every_chunk_is_whole(tmp_path: Path) -> None:
    samples = samples_of(2, 16)
    rows = filtered(packed(samples, 16), 6)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 19, 23, 16, 2, 0, 0, 0))
    for part in (rows[: len(rows) // 2], rows[:-1]):
        body = chunk(b"IDAT", zlib.compress(part)) + chunk(b"IEND", b"")
        (tmp_path / "a.png").write_bytes(SIGNATURE + head + body)
        assert "cut off" in refused(tmp_path / "a.png")


def test_a_flipped_bit_among_the_pixels_is_told(tmp_path: Path) -> None:
    """Not half a picture with gray below: the chunk's checksum and the stream's are both looked at."""
    data = bytearray(png(samples_of(2, 16), 2, 16))
    start = data.index(b"IDAT") + 8
    for at in range(start, start + 600, 37):
        damaged = data.copy()
        damaged[at] ^= 16
        (tmp_path / "a.png").write_bytes(damaged)
        refused(tmp_path / "a.png")


def test_damaged_text_beside_the_pixels_costs_the_text_not_the_picture(tmp_path: Path) -> None:
    samples = samples_of(2, 8)
    wrong = bytearray(chunk(b"eXIf", b"II*\0\x08\0\0\0\0\0\0\0\0\0"))
    wrong[-1] ^= 1
    profile = chunk(b"iCCP", b"p\0\0" + zlib.compress(b"nonsense"))
    short = (
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0abc"),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"a")),
    )
    (tmp_path / "a.png").write_bytes(png(samples, 2, 8, bytes(wrong), profile, *short))
    source = open_file(tmp_path / "a.png")
    assert source.header.metadata.exif is None
    assert source.header.color.icc is None
    assert np.array_equal(read(tmp_path / "a.png").rgb, samples)


def test_a_profile_or_text_that_inflates_without_end_costs_no_memory(tmp_path: Path) -> None:
    """300 MB of zeros in a few hundred KB, in each kind of chunk that is compressed."""
    pump = zlib.compressobj(9)
    bomb = b"".join(pump.compress(bytes(1 << 20)) for _ in range(300)) + pump.flush()
    chunks = (
        chunk(b"iCCP", b"p\0\0" + bomb),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + bomb),
    )
    samples = samples_of(2, 8)
    (tmp_path / "a.png").write_bytes(png(samples, 2, 8, *chunks))
    script = f"""
import resource
from pathlib import Path
from upscale.media.reading.decode import open_file
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
source = open_file(Path({str(tmp_path / "a.png")!r}))
assert source.header.color.icc is None and source.header.metadata.xmp is None
assert sum(len(band.rgb) for picture in source.pictures() for band in picture.bands()) == 23
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    assert peak_kilobytes(script) < 200_000


def peak_kilobytes(script: str) -> int:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def tall_png(path: Path, height: int, bits: int) -> None:
    """5000 pixels wide, RGB, of repeating rows, written without holding it."""
    row = b"\2" + bytes(5000 * 3 * bits // 8)
    pump = zlib.compressobj(1)
    with path.open("wb") as file:
        head = struct.pack(">IIBBBBB", 5000, height, bits, 2, 0, 0, 0)
        file.write(SIGNATURE + chunk(b"IHDR", head))
        for _ in range(height):
            if data := pump.compress(row):
                file.write(chunk(b"IDAT", data))
        file.write(chunk(b"IDAT", pump.flush()) + chunk(b"IEND", b""))


@pytest.mark.parametrize("bits", [8, 16])
def test_wish_11_memory_does_not_grow_with_the_height(tmp_path: Path, bits: int) -> None:
    peaks: list[int] = []
    for height in (1500, 9000):
        path = tmp_path / "a.png"
        tall_png(path, height, bits)
        peaks.append(
            peak_kilobytes(f"""
import resource
from pathlib import Path
from upscale.media.reading.decode import open_file
source = open_file(Path({str(path)!r}))
(picture,) = source.pictures()
assert sum(len(band.rgb) for band in picture.bands()) == {height}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
""")
        )
    assert peaks[1] < peaks[0] + 20_000, f"the taller one has {7500 * 5000 * 3 * bits // 8 >> 10:,} KB more pixels"


def actl(frames: int, plays: int) -> bytes:
    return chunk(b"acTL", struct.pack(">II", frames, plays))


def fctl(
    number: int, box: tuple[int, int, int, int], delay: tuple[int, int], dispose: int = 0, blend: int = 0
) -> bytes:
    return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, *box, *delay, dispose, blend))


def pixels_data(samples: Pixels, bits: int, pixel: int) -> bytes:
    return zlib.compress(filtered(packed(samples, bits), pixel))


def apng(
    bits: int, kind: int, frames: Iterable[tuple[Pixels, tuple[int, int], tuple[int, int], int, int]], plays: int = 0
) -> bytes:
    """frames: samples, (left, top), (delay, of), dispose, blend; the first is the picture of plain viewers too."""
    given = list(frames)
    height, width = given[0][0].shape[:2]
    parts = [SIGNATURE, chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))]
    parts.append(actl(len(given), plays))
    number = itertools.count()
    for index, (samples, (left, top), delay, dispose, blend) in enumerate(given):
        box = (samples.shape[1], samples.shape[0], left, top)
        parts.append(fctl(next(number), box, delay, dispose, blend))
        data = pixels_data(samples, bits, CHANNELS[kind] * bits // 8)
        parts.append(chunk(b"IDAT", data) if index == 0 else chunk(b"fdAT", struct.pack(">I", next(number)) + data))
    return b"".join((*parts, chunk(b"IEND", b"")))


def frames_of(path: Path) -> list[Band]:
    return [whole(picture) for picture in open_file(path).pictures()]


@pytest.mark.parametrize("bits", [8, 16])
def test_wish_17_frames_of_an_apng_are_blended_and_disposed(tmp_path: Path, bits: int) -> None:
    full = (1 << bits) - 1
    dtype = np.uint16 if bits == 16 else np.uint8
    background = np.full((6, 8, 4), (full, 0, 0, full))
    half = np.full((2, 3, 4), (0, full, 0, round(full / 2)))
    clear = np.zeros((2, 3, 4), int)
    drawn = [
        (background, (0, 0), (1, 10), 0, 0),
        (half, (1, 1), (1, 4), 2, 1),  # over the red; then as before
        (clear, (4, 2), (3, 0), 1, 0),  # replaces by nothing; then cleared
        (half, (4, 2), (0, 1), 0, 1),  # over nothing: as it is
    ]
    (tmp_path / "a.png").write_bytes(apng(bits, 6, drawn, plays=3))
    source = open_file(tmp_path / "a.png")
    assert source.animation is not None
    assert source.animation.durations == (100.0, 250.0, 30.0, 0.0)
    assert source.animation.plays == 3
    assert source.header.alpha
    frames = frames_of(tmp_path / "a.png")
    red = background[..., :3]
    assert np.array_equal(frames[0].rgb, red)
    mixed = frames[1].rgb[1, 1].astype(int)
    assert np.abs(mixed - [full / 2, full / 2, 0]).max() <= 1
    assert frames[1].alpha is not None
    assert frames[1].alpha.min() == full
    assert np.array_equal(frames[1].rgb[4:], red[4:])
    assert frames[2].alpha is not None
    assert np.array_equal(frames[2].rgb[1:3, 1:4], red[1:3, 1:4]), "the second frame is gone again"
    assert (frames[2].alpha[2:4, 4:7] == 0).all()
    assert frames[3].alpha is not None
    assert (frames[3].alpha[2:4, 4:7] == round(full / 2)).all()
    assert np.array_equal(frames[3].rgb[2, 4], np.array([0, full, 0], dtype))


def test_wish_17_an_apng_of_another_writer(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    frames = [Pil.fromarray(rng.integers(0, 256, (20, 30, 4)).astype(np.uint8)) for _ in range(4)]
    later: Any = frames[1:]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=later, duration=[40, 80, 120, 10], loop=2)
    source = open_file(tmp_path / "a.png")
    assert source.animation is not None
    assert source.animation.durations == (40, 80, 120, 10)
    assert source.animation.plays == 2
    for found, wanted in zip(frames_of(tmp_path / "a.png"), frames, strict=True):
        shown = np.asarray(wanted)
        assert np.array_equal(found.alpha, shown[..., 3])
        seen = shown[..., 3] > 0
        assert np.array_equal(found.rgb[seen], shown[..., :3][seen])


def test_an_opaque_apng_whose_frames_leave_holes_is_transparent(tmp_path: Path) -> None:
    """To dispose of the first frame as "previous" is to clear it, and a first frame may be smaller than the picture."""
    base, small = samples_of(2, 8), samples_of(2, 8, 2, 3)
    cleared = apng(8, 2, [(base, (0, 0), (1, 10), 2, 0), (small, (4, 5), (1, 10), 0, 0)])
    aside = apng(8, 2, [(base, (0, 0), (1, 10), 0, 0), *[(small, (4, 5), (1, 10), 0, 0)] * 2])
    start = aside.index(b"fcTL") - 4
    aside = aside[:start] + aside[start + 38 :]  # the first picture is now for plain viewers only
    aside = aside.replace(actl(3, 0), actl(2, 0))
    for data, hidden in ((cleared, 1), (aside, 0)):
        (tmp_path / "a.png").write_bytes(data)
        source = open_file(tmp_path / "a.png")
        assert source.header.alpha
        frame = frames_of(tmp_path / "a.png")[hidden]
        wanted = np.zeros((23, 19), np.uint8)
        wanted[5:7, 4:7] = 255
        assert frame.alpha is not None
        assert np.array_equal(frame.alpha, wanted)
        assert np.array_equal(frame.rgb[5:7, 4:7], small)
    opaque = apng(8, 2, [(base, (0, 0), (1, 10), 0, 0), (small, (4, 5), (1, 10), 2, 0)])
    (tmp_path / "a.png").write_bytes(opaque)
    assert not open_file(tmp_path / "a.png").header.alpha


def test_an_apng_of_one_frame_is_a_still_picture(tmp_path: Path) -> None:
    samples = samples_of(2, 8)
    (tmp_path / "a.png").write_bytes(apng(8, 2, [(samples, (0, 0), (1, 10), 0, 0)]))
    assert open_file(tmp_path / "a.png").animation is None
    assert np.array_equal(read(tmp_path / "a.png").rgb, samples)


def test_an_apng_that_lost_frames_or_draws_outside_is_damaged(tmp_path: Path) -> None:
    drawn = [(samples_of(2, 8, seed=seed), (0, 0), (1, 10), 0, 0) for seed in range(3)]
    data = apng(8, 2, drawn)
    last = data.rindex(b"fcTL") - 4
    (tmp_path / "a.png").write_bytes(data[:last] + chunk(b"IEND", b""))
    assert "frames" in refused(tmp_path / "a.png")
    drawn[1] = (drawn[1][0], (1, 0), (1, 10), 0, 0)
    (tmp_path / "a.png").write_bytes(apng(8, 2, drawn))
    assert "outside" in refused(tmp_path / "a.png")


def test_gamma_chunks_density_and_texts_are_carried(tmp_path: Path) -> None:
    chunks = {b"gAMA": struct.pack(">I", 100000), b"cHRM": bytes(range(32)), b"cICP": bytes((12, 13, 0, 1))}
    density = struct.pack(">IIB", 11811, 5906, 1)
    xmp = b'<x tiff:Orientation="1" dc:title="t"/>'
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp))
    extra = [chunk(kind, data) for kind, data in chunks.items()]
    (tmp_path / "a.png").write_bytes(png(samples_of(2, 8), 2, 8, *extra, chunk(b"pHYs", density), text))
    header = open_file(tmp_path / "a.png").header
    assert header.color.chunks == tuple((kind.decode(), data) for kind, data in chunks.items())
    assert header.metadata.dpi == pytest.approx((300, 150), abs=0.02)
    assert header.metadata.xmp == b'<x  dc:title="t"/>'


def test_texts_that_are_not_carried_over_are_named(tmp_path: Path) -> None:
    texts = (
        chunk(b"tEXt", b"Title\0a title"),
        chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"steps: 20")),
        chunk(b"iTXt", b"Copyright\0\0\0\0\0nobody"),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>"),
        chunk(b"tEXt", b"Title\0another"),
        chunk(b"tEXt", b"two\nlines\0a"),
    )
    (tmp_path / "a.png").write_bytes(png(samples_of(2, 8), 2, 8, *texts))
    (warning,) = open_file(tmp_path / "a.png").warnings
    assert warning == "not carried over: text 'Copyright', text 'Title', text 'parameters', text 'twolines'"
    many = [chunk(b"tEXt", b"%d\0a" % number) for number in range(5000)]
    (tmp_path / "a.png").write_bytes(png(samples_of(2, 8), 2, 8, *many))
    (warning,) = open_file(tmp_path / "a.png").warnings
    assert warning.endswith(" more")
    assert len(warning) < 120
    (tmp_path / "a.png").write_bytes(png(samples_of(2, 8), 2, 8, texts[3]))
    assert open_file(tmp_path / "a.png").warnings == []


def test_exif_as_older_imagemagick_wrote_it(tmp_path: Path) -> None:
    exif = Pil.Exif()
    exif[0x010E] = "a picture"
    data = exif.tobytes()
    text = b"\nexif\n%8d\n" % len(data) + data.hex().encode() + b"\n"
    extra = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))
    (tmp_path / "a.png").write_bytes(png(samples_of(2, 8), 2, 8, extra))
    kept = Pil.Exif()
    kept.load(open_file(tmp_path / "a.png").header.metadata.exif or b"")
    assert kept[0x010E] == "a picture"


def test_the_size_is_known_and_refused_without_the_pixels(tmp_path: Path) -> None:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    data = SIGNATURE + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(data)
    assert "--allow-huge" in refused(tmp_path / "a.png")
    source = open_file(tmp_path / "a.png", max_pixels=None)
    assert (source.header.width, source.header.height) == (100_000, 100_000)


def test_bands_can_be_read_again_and_side_by_side(tmp_path: Path) -> None:
    samples = samples_of(2, 8)
    (tmp_path / "a.png").write_bytes(png(samples, 2, 8))
    (picture,) = open_file(tmp_path / "a.png", band_bytes=200).pictures()
    pairs = list(zip(picture.bands(), picture.bands(), strict=True))
    assert np.array_equal(np.concatenate([one.rgb for one, _ in pairs]), samples)
    assert all(np.array_equal(one.rgb, other.rgb) for one, other in pairs)


def test_a_picture_is_judged_by_pillow_too(tmp_path: Path) -> None:
    """The writer of these tests could share a mistake with the reader."""
    for kind, bits in EVERY_KIND:
        if bits == 16:
            continue
        data = png(samples_of(kind, bits), kind, bits, *(plte(bits) if kind == 3 else []), interlaced=True)
        (tmp_path / "a.png").write_bytes(data)
        judged = np.asarray(Pil.open(io.BytesIO(data)).convert("RGB"))
        assert np.array_equal(read(tmp_path / "a.png").rgb, judged), (kind, bits)
