"""Small valid files of every format, and ways to damage them; for test_mutations.py and benchmarks/mutations.py."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pil

from upscale.errors import PictureError
from upscale.media.isolated.decoder import Decoder

Rng = np.random.Generator
SIDES = 24, 32
"""Height and width of the valid pictures."""


# Valid files


def valid_files() -> dict[str, bytes]:
    """Name, whose suffix fits, → content; formats that need an extra are left out where it is not installed."""
    return {**_png(), **_jpeg(), **_others(), **_tiff(), **_plain(), **_animations(), **_extras()}


def photo(channels: int = 3, frame: int = 0, levels: int = 255) -> Any:
    """(24, 32[, channels]): shading and grain."""
    height, width = SIDES
    rng = np.random.default_rng((channels, frame))
    y, x, c = np.mgrid[0:height, 0:width, 0:channels]
    values = 0.5 + 0.3 * np.sin(x / 5 + c + frame) * np.cos(y / 4) + rng.normal(0, 0.05, y.shape)
    pixels = np.rint(np.clip(values, 0, 1) * levels).astype(np.uint8 if levels < 256 else np.uint16)
    return pixels[..., 0] if channels == 1 else pixels


def _saved(picture: Any, format_: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    (picture if isinstance(picture, Pil.Image) else Pil.fromarray(picture)).save(stream, format_, **options)
    return stream.getvalue()


def _exif(orientation: int) -> bytes:
    exif = Pil.Exif()
    exif[274], exif[271] = orientation, "a camera"
    return exif.tobytes()


def _png() -> dict[str, bytes]:
    color = photo(4)
    palette = Pil.fromarray(color[..., :3]).quantize(16)
    text = {"pnginfo": None, "dpi": (300, 300), "icc_profile": b"not a profile" * 9, "exif": _exif(6)}
    return {
        "gray.png": _saved(photo(1), "PNG"),
        "gray16.png": png(photo(1, levels=65535), 0),
        "ga.png": _saved(photo(2), "PNG"),
        "rgb.png": _saved(photo(), "PNG", **text),
        "rgb16.png": png(photo(levels=65535), 2),
        "rgba16.png": png(photo(4, levels=65535), 6),
        "rgba.png": _saved(color, "PNG"),
        "palette.png": _saved(palette, "PNG", transparency=bytes(range(16))),
        "bits.png": _saved(Pil.fromarray(photo(1)).convert("1"), "PNG"),
    }


def png(pixels: Any, color_type: int) -> bytes:
    """A 16-bit PNG, which Pillow does not write in color."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, color_type, 0, 0, 0)
    return join_png([(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def _jpeg() -> dict[str, bytes]:
    cmyk = Pil.fromarray(photo(4), "CMYK") if not hasattr(Pil, "frombytes") else None
    cmyk = cmyk or Pil.frombytes("CMYK", SIDES[::-1], photo(4).tobytes())
    return {
        "gray.jpg": _saved(photo(1), "JPEG"),
        "rgb.jpg": _saved(photo(), "JPEG", exif=_exif(8), dpi=(72, 72), icc_profile=b"x" * 500),
        "progressive.jpg": _saved(photo(), "JPEG", progressive=True, subsampling=0),
        "restart.jpg": _saved(photo(), "JPEG", restart_marker_blocks=2),
        "cmyk.jpg": _saved(cmyk, "JPEG"),
    }


def _others() -> dict[str, bytes]:
    return {
        "lossy.webp": _saved(photo(), "WEBP", exif=_exif(3)),
        "lossless.webp": _saved(photo(4), "WEBP", lossless=True),
        "rgb.avif": _saved(photo(), "AVIF", speed=10),
        "rgba.avif": _saved(photo(4), "AVIF", speed=10),
        "rgb.jp2": _saved(photo(), "JPEG2000"),
        "gray16.jp2": _saved(photo(1, levels=65535), "JPEG2000"),
        "stream.j2k": _saved(photo(4), "JPEG2000", no_jp2=True, quality_layers=[20, 10]),
        "palette.gif": _saved(Pil.fromarray(photo()).quantize(64), "GIF", transparency=3),
    }


def _tiff() -> dict[str, bytes]:
    bits = Pil.fromarray(photo(1)).convert("1")
    kinds = {"raw": "raw", "lzw": "tiff_lzw", "zip": "tiff_adobe_deflate", "bits": "packbits", "jpeg": "jpeg"}
    return {
        **{f"{name}.tif": _saved(photo(), "TIFF", compression=kind) for name, kind in kinds.items()},
        "fax.tif": _saved(bits, "TIFF", compression="group4"),
        "palette.tif": _saved(Pil.fromarray(photo()).quantize(16), "TIFF"),
        "big.tif": _saved(photo(4), "TIFF", big_tiff=True),
        **_more_tiff(),
    }


def _more_tiff() -> dict[str, bytes]:
    import tifffile

    def written(pixels: Any, **options: Any) -> bytes:
        stream = io.BytesIO()
        tifffile.imwrite(stream, pixels, **options)
        return stream.getvalue()

    cmyk: dict[str, Any] = {"photometric": "separated"}
    return {
        "deep.tif": written(photo(levels=65535), photometric="rgb", byteorder=">", predictor=2, compression="zlib"),
        "tiles.tif": written(photo(), photometric="rgb", tile=(16, 16)),
        "planes.tif": written(np.moveaxis(photo(), 2, 0), photometric="rgb", planarconfig="separate"),
        "cmyk.tif": written(photo(4), **cmyk),
    }


def _plain() -> dict[str, bytes]:
    height, width = SIDES
    text = " ".join(map(str, photo().ravel().tolist()))
    return {
        "rgb.bmp": _saved(photo(), "BMP"),
        "gray.bmp": _saved(photo(1), "BMP"),
        "bits.bmp": _saved(Pil.fromarray(photo(1)).convert("1"), "BMP"),
        "rgb.ppm": _saved(photo(), "PPM"),
        "gray.pgm": _saved(photo(1), "PPM"),
        "bits.pbm": _saved(Pil.fromarray(photo(1)).convert("1"), "PPM"),
        "text.ppm": f"P3\n# a comment\n{width} {height}\n255\n{text}\n".encode(),
        "deep.ppm": f"P6 {width} {height} 65535\n".encode() + photo(levels=65535).astype(">u2").tobytes(),
    }


def _animations() -> dict[str, bytes]:
    frames = [Pil.fromarray(photo(4, frame)) for frame in range(3)]
    more: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "duration": [40, 80, 120], "loop": 2}
    return {
        "moving.gif": _saved(frames[0], "GIF", disposal=2, **more),
        "moving.png": _saved(frames[0], "PNG", disposal=1, blend=1, **more),
        "moving.webp": _saved(frames[0], "WEBP", **more),
        "moving.avif": _saved(frames[0], "AVIF", speed=10, **more),
    }


def _extras() -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        for name, mode, pixels in (("rgb", "RGB", photo()), ("rgba", "RGBA", photo(4))):
            stream = io.BytesIO()
            pillow_heif.encode(mode, SIDES[::-1], pixels.tobytes(), stream, quality=50)
            found[f"{name}.heic"] = stream.getvalue()
    try:
        import pillow_jxl  # noqa: F401
    except ImportError:
        return found
    return {**found, "rgb.jxl": _saved(photo(), "JXL"), "rgba.jxl": _saved(photo(4), "JXL", lossless=True)}


# Damage


@dataclass(frozen=True, slots=True)
class Mutation:
    """A damaged file; `hostile_files.mutation(seed, index)` makes it again."""

    name: str
    data: bytes


def mutations(seed: int, count: int) -> Iterator[Mutation]:
    """Formats and ways of damage in turn."""
    valid = valid_files()
    for index in range(count):
        yield mutation(seed, index, valid)


def mutation(seed: int, index: int, valid: dict[str, bytes] | None = None) -> Mutation:
    valid = valid or valid_files()
    name = sorted(valid)[index % len(valid)]
    rng, data = np.random.default_rng((seed, index)), valid[name]
    for _ in range(1 + int(rng.integers(3)) * int(rng.integers(2))):
        change = _WAYS[int(rng.integers(len(_WAYS)))]
        data = _within_png(rng, data, change) if name.endswith(".png") and rng.random() < 0.7 else change(rng, data)
    stem, _, suffix = name.rpartition(".")
    return Mutation(f"{stem}-{seed}-{index}.{suffix}", data)


def _place(rng: Rng, data: bytes) -> int:
    """Where to begin: the first hundred bytes, which say how to read the rest, as often as all others."""
    end = min(len(data), 100) if rng.random() < 0.5 else len(data)
    return int(rng.integers(max(1, end)))


def _flip(rng: Rng, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 20)) if changed else 0):
        changed[min(_place(rng, data), len(changed) - 1)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _overwrite(rng: Rng, data: bytes) -> bytes:
    start, run = _place(rng, data), int(rng.integers(1, 64))
    new = rng.bytes(run) if rng.random() < 0.6 else bytes([int(rng.choice([0, 255]))]) * run
    return (data[:start] + new + data[start + run :])[: len(data)]


def _cut_off(rng: Rng, data: bytes) -> bytes:
    return data[: _place(rng, data)]


def _insert(rng: Rng, data: bytes) -> bytes:
    start = _place(rng, data)
    return data[:start] + rng.bytes(int(rng.integers(1, 300))) + data[start:]


def _remove(rng: Rng, data: bytes) -> bytes:
    start = _place(rng, data)
    return data[:start] + data[start + int(rng.integers(1, 100)) :]


def _swap(rng: Rng, data: bytes) -> bytes:
    one, two, three = sorted(_place(rng, data) for _ in range(3))
    return data[:one] + data[two:three] + data[one:two] + data[three:]


def _repeat(rng: Rng, data: bytes) -> bytes:
    start, run = _place(rng, data), int(rng.integers(1, 200))
    return data[: start + run] + data[start : start + run] * int(rng.integers(1, 50)) + data[start + run :]


_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def _extreme(rng: Rng, data: bytes) -> bytes:
    """A number, such as a size, becomes a very small or very large one."""
    start, size = _place(rng, data), int(rng.choice([1, 2, 4]))
    order = "big" if rng.random() < 0.5 else "little"
    number = int(rng.choice(_EXTREMES)) % (1 << 8 * size)
    return data[:start] + number.to_bytes(size, order) + data[start + size :]


_WAYS: tuple[Callable[[Rng, bytes], bytes], ...] = (
    *(_flip, _overwrite, _cut_off, _insert),
    *(_remove, _swap, _repeat, _extreme, _extreme),
)


def _within_png(rng: Rng, data: bytes, change: Callable[[Rng, bytes], bytes]) -> bytes:
    """The same within one chunk, or with the chunks' order, and checksums that are right again."""
    chunks = split_png(data)
    if not chunks:
        return change(rng, data)
    place, other = (int(rng.integers(len(chunks))) for _ in range(2))
    way = rng.random()
    if way < 0.7:
        chunks[place] = chunks[place][0], change(rng, chunks[place][1])
    elif way < 0.8:
        chunks.insert(other, chunks[place])
    elif way < 0.9:
        chunks[place], chunks[other] = chunks[other], chunks[place]
    else:
        del chunks[place]
    return join_png(chunks)


def split_png(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, start = list[tuple[bytes, bytes]](), 8
    while start + 12 <= len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        chunks.append((data[start + 4 : start + 8], data[start + 8 : start + 8 + length]))
        start += 12 + length
    return chunks


def join_png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


# What became of it


def outcome(decoder: Decoder, path: Path) -> str:
    """ "decoded" or the PictureError's text. Raises AssertionError where pictures differ from their header or a message
    is not one line that names the file, and lets every other exception through."""
    try:
        with decoder.open(path) as source:
            frames = 0
            for picture in source.pictures():
                frames += 1
                header, rows = picture.header, 0
                assert header == source.header
                for band in picture.bands():
                    assert band.rgb.shape[1:] == (header.width, 3)
                    assert band.rgb.dtype == header.dtype
                    assert (band.alpha is not None) == header.alpha
                    assert band.alpha is None or band.alpha.shape == band.rgb.shape[:2]
                    rows += len(band.rgb)
                assert rows == header.height
            assert frames == (1 if source.animation is None else len(source.animation.durations))
    except PictureError as error:
        text = str(error)
        assert text.startswith(f"{path}: ")
        assert text.removeprefix(str(path)).isprintable()
        return text
    return "decoded"
