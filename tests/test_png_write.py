"""PNG as we write it: other programs read the same pixels, and it is as small as theirs, at any height."""

import io
import itertools
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pil

from upscale.image import Animation, Metadata
from upscale.media.writing.deflate import BLOCK, Deflater, deflated
from upscale.media.writing.layout import Content, Layout
from upscale.media.writing.png import delay, filtered, write_png

Pixels = npt.NDArray[Any]
MakePhoto = Callable[..., Pixels]


def content(pixels: Pixels, **more: Any) -> Content:
    height, width, channels = pixels.shape
    return Content(width, height, Layout(channels, 8 * pixels.itemsize), **more)


def written(pixels: Pixels, rows: int = 64, **more: Any) -> bytes:
    file = io.BytesIO()
    bands = (pixels[start : start + rows] for start in range(0, len(pixels), rows))
    write_png(file, content(pixels, **more), iter([bands]))
    return file.getvalue()


def chunks(png: bytes) -> list[tuple[str, bytes]]:
    found, at = [], 8
    while at < len(png):
        length, name = struct.unpack(">I4s", png[at : at + 8])
        data = png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length])[0] == zlib.crc32(name + data)
        found.append((name.decode(), data))
        at += 12 + length
    return found


def read(png: bytes) -> Pixels:
    """By OpenCV, in our order of channels."""
    pixels: Any = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    return pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (40, 53)])
def test_other_programs_read_the_same_pixels(
    make_photo: MakePhoto, dtype: Any, channels: int, size: tuple[int, int]
) -> None:
    photo = make_photo(*size, dtype=dtype)
    pixels = np.concatenate((photo, photo[::-1, ::-1, :1]), axis=2)[
        ..., {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]
    ]
    png = written(pixels)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    assert chunks(png)[0] == ("IHDR", struct.pack(">IIBBBBB", size[1], size[0], 8 * pixels.itemsize, kind, 0, 0, 0))
    back = read(png)
    if channels == 2:  # OpenCV reads gray with alpha as color with alpha
        assert np.array_equal(back[..., 0], back[..., 2])
        back = back[..., [0, 3]]
    assert np.array_equal(back.reshape(pixels.shape), pixels)
    if dtype == np.uint8 or channels == 1:
        with Pil.open(io.BytesIO(png)) as opened:
            assert opened.mode == {1: "L" if dtype == np.uint8 else "I;16", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
            assert np.array_equal(np.asarray(opened).reshape(pixels.shape), pixels)


@given(st.integers(1, 6), st.integers(1, 20), st.integers(1, 8), st.integers(0, 1 << 30))
@settings(max_examples=60, deadline=None)
def test_filters_undo_to_the_same_bytes(rows: int, width: int, pixel: int, seed: int) -> None:
    """Undone byte by byte as the specification's section 9.2 says, for every filter."""
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 4 if seed % 2 else 256, (rows, width * pixel), dtype=np.uint8)
    above = rng.integers(0, 256, width * pixel, dtype=np.uint8)
    coded = filtered(data, above, pixel)
    before = above.astype(int)
    for number, row in enumerate(coded):
        line = undone(int(row[0]), row[1:].astype(int), before, pixel)
        assert np.array_equal(line, data[number])
        before = line


def undone(kind: int, row: Pixels, above: Pixels, pixel: int) -> Pixels:
    line = np.zeros_like(row)
    for at, value in enumerate(row):
        a, c = (line[at - pixel], above[at - pixel]) if at >= pixel else (0, 0)
        b = above[at]
        guess = a + b - c
        distances = [abs(guess - a), abs(guess - b), abs(guess - c)]
        paeth = (a, b, c)[distances.index(min(distances))]
        line[at] = (value + (0, a, b, (a + b) // 2, paeth)[kind]) % 256
    return line


def test_every_filter_is_used_where_it_is_best(make_photo: MakePhoto) -> None:
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 256, (1, 300), dtype=np.uint8)
    ramp = np.arange(300, dtype=np.uint8)[None]
    assert filtered(ramp, np.zeros(300, np.uint8), 1)[0, 0] == 1
    assert filtered(noise, noise[0], 1)[0, 0] == 2
    photo = make_photo(200, 200)
    used = set(filtered(photo[1:].reshape(199, -1), photo[0].reshape(-1), 3)[:, 0].tolist())
    assert len(used) > 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_bytes_do_not_depend_on_the_bands(make_photo: MakePhoto, dtype: Any) -> None:
    pixels = make_photo(300, 1700, dtype=dtype)
    assert pixels.nbytes > BLOCK
    first = written(pixels, 300)
    assert all(written(pixels, rows) == first for rows in (1, 7, 64))


def test_deflate_gives_one_stream_out_of_any_portions() -> None:
    rng = np.random.default_rng(1)
    data = np.cumsum(rng.integers(-2, 3, 3 * BLOCK + 12345), dtype=np.int64).astype(np.uint8).tobytes()
    data += b"some text that repeats, " * 50_000
    whole = deflated(data)
    assert zlib.decompress(whole) == data
    coder, parts, at = Deflater(), [], 0
    for size in itertools.cycle((1, 100_000, 3, 2_000_000)):
        parts += coder.add(data[at : at + size])
        at += size
        if at >= len(data):
            break
    assert b"".join([*parts, *coder.finish()]) == whole
    assert zlib.decompress(deflated(b"")) == b""


def test_it_is_no_larger_than_what_pillow_writes(make_photo: MakePhoto) -> None:
    photo = make_photo(400, 500)
    flat = np.zeros((400, 500, 3), np.uint8)
    cv2.circle(flat, (250, 200), 150, (200, 30, 40), -1, cv2.LINE_AA)
    text = np.full((400, 500, 3), 255, np.uint8)
    for row in range(20):
        cv2.putText(text, "a line of text, again", (5, 20 * row + 14), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0))
    smooth = cv2.GaussianBlur(photo, (0, 0), 2)
    tiles = np.tile(make_photo(25, 25), (16, 20, 1))
    for name, pixels in {"photo": photo, "flat": flat, "text": text, "smooth": smooth, "tiles": tiles}.items():
        theirs = io.BytesIO()
        Pil.fromarray(pixels).save(theirs, "PNG", compress_level=4)
        assert len(written(pixels)) <= 1.02 * len(theirs.getvalue()), name


class Sink(io.RawIOBase):
    """Takes everything and keeps nothing."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


def test_memory_does_not_grow_with_the_height(make_photo: MakePhoto) -> None:
    band = make_photo(32, 800)

    def peak(bands: int) -> int:
        def rows() -> Iterator[Pixels]:
            for _ in range(bands):
                yield band.copy()

        sink: Any = Sink()
        tracemalloc.start()
        write_png(sink, Content(800, 32 * bands, Layout(3, 8)), iter([rows()]))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    low, high = peak(150), peak(900)
    assert high < 1.3 * low
    assert high < 10 << 20


COLOR = (
    ("cICP", bytes((12, 13, 0, 1))),
    ("gAMA", struct.pack(">I", 100000)),
    ("cHRM", bytes(range(32))),
    ("sRGB", b"\0"),
)


def test_color_chunks_stand_before_the_pixels_as_they_were(make_photo: MakePhoto) -> None:
    found = chunks(written(make_photo(5, 5), chunks=COLOR))
    names = [name for name, _ in found]
    assert found[1:5] == list(COLOR)
    assert names.index("IDAT") == 5
    assert names[-1] == "IEND"


def test_a_profile_replaces_srgb_but_not_the_other_chunks(make_photo: MakePhoto) -> None:
    profile = bytes(range(256)) * 20
    found = dict(chunks(written(make_photo(5, 5), chunks=COLOR, icc=profile)))
    assert "sRGB" not in found, "the specification allows one of the two"
    assert {"cICP", "gAMA", "cHRM"} <= set(found)
    name, _, rest = found["iCCP"].partition(b"\0")
    assert 1 <= len(name) <= 79
    assert zlib.decompress(rest[1:]) == profile


def test_density_exif_and_xmp_are_written(make_photo: MakePhoto) -> None:
    exif = Pil.Exif()
    exif[0x010F] = "a maker"
    xmp = "<x:xmpmeta>é</x:xmpmeta>".encode()
    png = written(make_photo(5, 5), metadata=Metadata(exif.tobytes(), xmp, (300, 72)))
    with Pil.open(io.BytesIO(png)) as opened:
        assert opened.info["dpi"] == pytest.approx((300, 72), abs=0.02)
        assert opened.getexif()[0x010F] == "a maker"
        assert opened.info["xmp"] == xmp
    assert dict(chunks(png))["eXIf"][:2] in (b"II", b"MM"), "without the prefix that JPEG has"


def test_frames_of_an_apng_come_back(make_photo: MakePhoto) -> None:
    rng = np.random.default_rng(2)
    first = make_photo(30, 40, dtype=np.uint16)
    frames = [first, first.copy(), first.copy(), make_photo(30, 40, seed=1, dtype=np.uint16)]
    frames[2][10:14, 20:33] = rng.integers(0, 65536, (4, 13, 3))
    file: BinaryIO = io.BytesIO()
    animation = Animation((100.0, 33.333, 20.0, 70_000.0), 3)
    write_png(file, content(first, animation=animation), iter([iter([frame[:7], frame[7:]]) for frame in frames]))
    file.seek(0)
    png = file.read()
    found = chunks(png)
    controls = [data for name, data in found if name == "fcTL"]
    assert dict(found)["acTL"] == struct.pack(">II", 4, 3)
    assert len(controls) == 4
    numbers = [int.from_bytes(data[:4], "big") for name, data in found if name in ("fcTL", "fdAT")]
    assert numbers == list(range(len(numbers))), "numbered without a gap"
    times = [struct.unpack(">HH", data[20:24]) for data in controls]
    assert [above / below * 1000 for above, below in times] == pytest.approx(animation.durations, rel=1e-4)
    assert [struct.unpack(">4I", data[4:20]) for data in controls] == [
        (40, 30, 0, 0),
        (1, 1, 0, 0),
        (13, 4, 20, 10),
        (40, 30, 0, 0),
    ]
    with Pil.open(io.BytesIO(png)) as opened:
        for number, frame in enumerate(frames):
            opened.seek(number)
            assert np.array_equal(np.asarray(opened.convert("RGB")), frame >> 8), "as Pillow reads 16 bits"


@pytest.mark.parametrize("duration", [0, 1, 10, 16.6667, 33.3333, 41.7, 1000 / 24, 100, 65535, 65_536, 700_000, 9e7])
def test_delays_are_as_near_as_apng_can_tell(duration: float) -> None:
    above, below = delay(duration)
    assert 0 <= above <= 65535
    assert 1 <= below <= 65535
    if duration < 6e7:
        assert above / below * 1000 == pytest.approx(duration, rel=1e-4)


@pytest.mark.slow
def test_row_7_more_than_4_gb_of_pixels(tmp_path: Any) -> None:
    """A flat picture, so that the file is small; its data is inflated again by the check of `save`."""
    from upscale.image import Band, Color, Header
    from upscale.media.formats import PNG
    from upscale.media.writing.encode import Encoding, save

    band = Band(np.full((100, 60_000, 3), 7, np.uint8))
    header = Header(60_000, 24_000, np.dtype(np.uint8), False, Color())
    save(tmp_path / "a.png", header, None, Encoding(PNG), iter([itertools.repeat(band, 240)]))
    found = (tmp_path / "a.png").read_bytes()[:33]
    assert struct.unpack(">II", found[16:24]) == (60_000, 24_000)
