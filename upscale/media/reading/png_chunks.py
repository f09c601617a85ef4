"""What a PNG or APNG says of itself: a walk over its chunks, without the pixels.

The layout is that of the PNG specification, third edition (W3C, 2025).
"""

import contextlib
import io
import struct
import zlib
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from upscale.media.reading.inflate import inflated
from upscale.media.reading.opened import MAX_CHUNK, Limits

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Color type → channels as they are stored."""
COLOR_CHUNKS = (b"gAMA", b"cHRM", b"sRGB", b"cICP")
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_KEPT = {*COLOR_CHUNKS, b"iCCP", b"eXIf", b"pHYs"}
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_LONGEST_KEYWORD, _MOST_KEYWORDS = 79, 1000


@dataclass(frozen=True, slots=True)
class Shape:
    """Size and kind of the pixels; `kind` is PNG's color type."""

    width: int
    height: int
    bits: int
    kind: int
    interlaced: bool

    @property
    def row_bytes(self) -> int:
        return (self.width * CHANNELS[self.kind] * self.bits + 7) // 8

    @property
    def pixel_bytes(self) -> int:
        return max(1, CHANNELS[self.kind] * self.bits // 8)


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of an APNG: where it lies, how long it is seen (ms), and how it is disposed of and blended."""

    shape: Shape
    left: int
    top: int
    duration: float
    dispose: int
    blend: int
    data: int


@dataclass(slots=True)
class Contents:
    """What the walk over a file's chunks finds. `data`: where the first IDAT chunk starts; `texts`: keywords of texts that
    are neither XMP nor EXIF."""

    shape: Shape
    data: int = 0
    palette: bytes = b""
    transparent: bytes | None = None
    kept: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    texts: set[str] = field(default_factory=set[str])
    xmp: bytes | None = None
    legacy_exif: bytes | None = None
    plays: int | None = None
    announced: int = 0
    frames: list[Frame] = field(default_factory=list[Frame])
    pending: tuple[int, ...] | None = None


def walk(file: BinaryIO, limits: Limits) -> Contents:
    """All chunks, without the pixels. Raises ValueError for a file that is cut off or whose structure is damaged."""
    size = file.seek(0, io.SEEK_END)
    file.seek(len(SIGNATURE))
    kind, length = _chunk_head(file, size)
    if kind != b"IHDR" or length != 13:
        raise ValueError("no IHDR chunk")
    found = Contents(_shape(_content(file, kind, length)))
    limits.check(found.shape.width, found.shape.height)
    while (head := _chunk_head(file, size))[0] != b"IEND":
        kind, length = head
        start = file.tell() - 8
        if kind == b"IDAT" and not found.data:
            found.data = start
        _take(found, file, kind, length, start)
        file.seek(start + 12 + length)
    _check_whole(found)
    return found


def _check_whole(found: Contents) -> None:
    if not found.data:
        raise ValueError("no pixels")
    if found.shape.kind == 3 and not found.palette:
        raise ValueError("no palette")
    if found.plays is not None and len(found.frames) != found.announced:
        raise ValueError(f"{len(found.frames)} of {found.announced} frames")


def _chunk_head(file: BinaryIO, size: int) -> tuple[bytes, int]:
    head = file.read(8)
    if len(head) < 8:
        raise ValueError("cut off")
    length, kind = struct.unpack(">I4s", head)
    if not kind.isalpha():
        raise ValueError("a chunk without name")
    if file.tell() + length + 4 > size:
        raise ValueError("cut off")
    return kind, length


def _content(file: BinaryIO, kind: bytes, length: int) -> bytes:
    data, check = file.read(length), file.read(4)
    if len(check) < 4 or zlib.crc32(data, zlib.crc32(kind)) != int.from_bytes(check, "big"):
        raise ValueError(f"checksum of {kind.decode()}")
    return data


def _shape(data: bytes) -> Shape:
    width, height, bits, kind, compression, filtering, interlacing = struct.unpack(">IIBBBBB", data)
    if bits not in _DEPTHS.get(kind, ()) or compression or filtering or interlacing > 1 or 0 in (width, height):
        raise ValueError("a kind of pixels that PNG does not have")
    return Shape(width, height, bits, kind, bool(interlacing))


def _take(found: Contents, file: BinaryIO, kind: bytes, length: int, start: int) -> None:
    """Remembers what the chunk says. Those that decide the pixels must be whole; of the others damaged ones are left out."""
    if kind == b"PLTE":
        if length > 768 or length % 3:
            raise ValueError("a palette of a wrong size")
        found.palette = _content(file, kind, length)
    elif kind == b"tRNS" and length <= 256 and found.shape.kind in (0, 2, 3):
        found.transparent = _content(file, kind, length)
    elif kind == b"acTL" and length == 8:
        found.announced, found.plays = struct.unpack(">II", _content(file, kind, length))
    elif kind == b"fcTL" and length == 26 and found.plays is not None:
        found.pending = struct.unpack(">IIIIHHBB", _content(file, kind, length)[4:])
    elif kind in (b"IDAT", b"fdAT") and found.pending is not None:
        found.frames.append(_frame(found.shape, found.pending, start))
        found.pending = None
    elif kind in _KEPT and length <= MAX_CHUNK:
        with contextlib.suppress(ValueError):
            found.kept.setdefault(kind, _content(file, kind, length))
    elif kind in _TEXTS:
        _take_text(found, file, kind, length)


def _take_text(found: Contents, file: BinaryIO, kind: bytes, length: int) -> None:
    start = file.tell()
    with contextlib.suppress(ValueError, LookupError, zlib.error):
        data = _content(file, kind, length) if kind != b"tEXt" and length <= MAX_CHUNK else b""
        if kind == b"iTXt" and (xmp := _xmp(data)):
            found.xmp = xmp
            return
        if kind == b"zTXt" and (exif := _legacy_exif(data)):
            found.legacy_exif = exif
            return
    file.seek(start)
    keyword = file.read(min(length, _LONGEST_KEYWORD)).partition(b"\0")[0].decode("latin-1")
    if len(found.texts) < _MOST_KEYWORDS:
        found.texts.add("".join(sign for sign in keyword if sign.isprintable()))


def _frame(whole: Shape, control: tuple[int, ...], start: int) -> Frame:
    width, height, left, top, numerator, denominator, dispose, blend = control
    if not width or not height or left + width > whole.width or top + height > whole.height:
        raise ValueError("a frame outside the picture")
    shape = replace(whole, width=width, height=height)
    return Frame(shape, left, top, 1000 * numerator / (denominator or 100), dispose, blend, start)


def profile_of(chunk: bytes | None) -> bytes | None:
    if chunk is None:
        return None
    try:
        return inflated(chunk[chunk.index(b"\0") + 2 :], MAX_CHUNK)
    except (ValueError, zlib.error):
        return None


def _xmp(chunk: bytes) -> bytes | None:
    keyword, _, rest = chunk.partition(b"\0")
    if keyword != b"XML:com.adobe.xmp" or len(rest) < 4:
        return None
    text = rest[2:].split(b"\0", 2)[2]
    return inflated(text, MAX_CHUNK) if rest[0] else text


def _legacy_exif(chunk: bytes) -> bytes | None:
    """EXIF as ImageMagick wrote it before there was eXIf: name, length, then hexadecimal digits."""
    keyword, _, rest = chunk.partition(b"\0")
    if keyword not in (b"Raw profile type exif", b"Raw profile type APP1"):
        return None
    digits = inflated(rest[1:], MAX_CHUNK).split(maxsplit=2)[2]
    data = bytes.fromhex(b"".join(digits.split()).decode("ascii"))
    return data if data.startswith(b"Exif\0\0") else None


def density_in(chunk: bytes | None) -> tuple[float, float] | None:
    if chunk is None or len(chunk) != 9 or chunk[8] != 1:
        return None
    x, y = struct.unpack(">II", chunk[:8])
    return x * 0.0254, y * 0.0254
