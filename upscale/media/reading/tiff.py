"""TIFF: strips or tiles, any byte order and depth up to 16 bits, in bands where rows can be had one after the other.

Uncompressed, deflate, LZW and PackBits pixels are unpacked here, so that every combination of depth, planes, tiles and color
model is read by the same few lines; LZW and PackBits strips go through libtiff as pictures of bytes. What is left (JPEG,
fax) is read by Pillow. Layout: TIFF 6.0 (Adobe, 1992) and its technical notes.
"""

import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image as Pil

from upscale.image import Array, Band, Color, Floats, Header
from upscale.media.metadata import transposes
from upscale.media.reading import tiff_file as tiff
from upscale.media.reading.inflate import Inflated
from upscale.media.reading.opened import (
    Limits,
    Opened,
    RefusedError,
    band_of,
    gathered,
    still,
    straight,
    turned,
    widened,
)
from upscale.media.reading.profiles import cmyk_to_srgb, fitting, lab_to_srgb, of_inks, srgb_profile
from upscale.media.reading.tiff_file import Contents, Layout

_PACKED = {tiff.LZW, tiff.PACKBITS}
_STREAMED = {tiff.NONE, tiff.DEFLATE, tiff.DEFLATE_OLD}
_LARGEST_SEGMENT = 1 << 30
"""Bytes of a strip or tile that is not streamed; those that one meets are far smaller."""
_BLOCK = 1 << 20
_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def open_tiff(path: Path, limits: Limits) -> Opened:
    """Raises RefusedError, and nearly anything else for damaged files."""
    found = tiff.inspect(path)
    layout = found.layout
    limits.check(layout.width, layout.height)
    own = layout.compression in _PACKED | _STREAMED and layout.photometric != tiff.YCBCR
    if not own:
        _refuse_foreign(path, layout)
    color, warnings = _color(found)
    turn = found.orientation
    width, height = (layout.height, layout.width) if transposes(turn) else (layout.width, layout.height)
    dtype = np.dtype(np.uint16 if layout.bits > 8 else np.uint8)
    header = Header(width, height, dtype, layout.alpha is not None, color, found.metadata)
    if own:
        return still(
            header, lambda: turned(gathered(_bands(path, found, limits), limits.rows(3 * layout.width)), turn), warnings
        )
    return still(header, lambda: _by_pillow(path, found), warnings)


def _color(found: Contents) -> tuple[Color, list[str]]:
    layout, warnings = found.layout, list(found.warnings)
    gray = layout.photometric in (tiff.WHITE_IS_ZERO, tiff.BLACK_IS_ZERO)
    bits = 8 if layout.photometric == tiff.PALETTE else layout.bits
    if layout.photometric == tiff.CMYK:
        color, _, more = of_inks(found.icc, bits)
        return color, warnings + more
    if layout.photometric in (tiff.CIELAB, tiff.ICCLAB):
        return Color(bits, icc=srgb_profile()), [*warnings, "L*a*b* is converted to sRGB"]
    icc, more = fitting(found.icc, gray)
    return Color(bits, gray, icc=icc), warnings + more


def _inks(found: Contents) -> bytes | None:
    return of_inks(found.icc, found.layout.bits)[1]


def _refuse_foreign(path: Path, layout: Layout) -> None:
    """What Pillow would have to read, and cannot or would cut to 8 bits."""
    remedy = f"TIFF compression {layout.compression} with {layout.bits} bits is not supported; save it with deflate"
    if layout.bits > 8 or layout.premultiplied or layout.photometric in (tiff.CIELAB, tiff.ICCLAB):
        raise RefusedError(remedy)
    try:
        with Pil.open(path, formats=["TIFF"]) as opened:
            mode = opened.mode
    except (OSError, KeyError, SyntaxError) as error:
        raise RefusedError(remedy) from error
    channels = {"1": 1, "L": 1, "P": 1, "LA": 2, "RGB": 3, "YCbCr": 3, "RGBX": 3, "RGBA": 4, "CMYK": 4}.get(mode)
    if channels != layout.colors + (layout.alpha is not None):
        raise RefusedError(remedy)


def _by_pillow(path: Path, found: Contents) -> Iterator[Band]:
    """Upright, since Pillow turns a TIFF itself."""
    with Pil.open(path, formats=["TIFF"]) as opened:
        opened.load()
        if opened.mode == "CMYK":
            yield band_of(cmyk_to_srgb(np.asarray(opened), _inks(found)))
            return
        mode = {"1": "L", "P": "RGB", "YCbCr": "RGB", "RGBX": "RGB"}.get(opened.mode, opened.mode)
        yield band_of(np.asarray(opened.convert(mode)))


def _bands(path: Path, found: Contents, limits: Limits) -> Iterator[Band]:
    layout = found.layout
    with path.open("rb") as file:
        planes = range(layout.samples if layout.planar else 1)
        rows = [_plane_rows(file, layout, plane, limits) for plane in planes]
        for parts in zip(*rows, strict=True):
            yield _resolved(np.concatenate(parts, axis=2), found)


def _plane_rows(file: BinaryIO, layout: Layout, plane: int, limits: Limits) -> Iterator[Array]:
    """(n, width, samples of a plane) values as they are stored, in uint8 or uint16, from the top."""
    width, height = layout.tile or (layout.width, layout.rows_per_strip)
    if width < 1 or height < 1:
        raise ValueError(f"tiles of {width}×{height}")
    across, down = -(-layout.width // width), -(-layout.height // height)
    first = plane * across * down
    if len(layout.segments) < first + across * down:
        raise ValueError("strips or tiles are missing")
    for number in range(down):
        segments = layout.segments[first + number * across : first + (number + 1) * across]
        left = min(height, layout.height - number * height)
        if layout.tile:
            parts = [_unpacked(_whole(file, layout, one, width, height), layout, width) for one in segments]
            yield np.concatenate(parts, axis=1)[:left, : layout.width]
        else:
            yield from (_unpacked(raw, layout, width) for raw in _strip(file, layout, segments[0], left, limits))


def _strip(file: BinaryIO, layout: Layout, segment: tuple[int, int], rows: int, limits: Limits) -> Iterator[Array]:
    """(n, bytes of a row): piece by piece where that is possible, since a strip may be the whole picture."""
    if layout.compression in _PACKED:
        yield _whole(file, layout, segment, layout.width, rows)
        return
    row_bytes = layout.row_bytes(layout.width)
    read, step = _reader(file, layout, segment), limits.rows(row_bytes)
    for start in range(0, rows, step):
        count = min(step, rows - start)
        yield np.frombuffer(read(count * row_bytes), np.uint8).reshape(count, row_bytes)


def _whole(file: BinaryIO, layout: Layout, segment: tuple[int, int], width: int, rows: int) -> Array:
    """(rows, bytes of a row) of a strip or tile."""
    row_bytes = layout.row_bytes(width)
    if row_bytes * rows > _LARGEST_SEGMENT:
        raise RefusedError("strips or tiles that large are not supported; save it with deflate in smaller strips")
    if layout.compression in _PACKED:
        packed = b"".join(_pieces(file, layout, segment))
        return _through_libtiff(packed, layout.compression, row_bytes, rows)
    return np.frombuffer(_reader(file, layout, segment)(row_bytes * rows), np.uint8).reshape(rows, row_bytes)


def _reader(file: BinaryIO, layout: Layout, segment: tuple[int, int]) -> Callable[[int], bytes]:
    """Gives exactly so many of a segment's bytes, unpacked. Raises ValueError where they end before."""
    pieces = _pieces(file, layout, segment)
    return (Inflated if layout.compression != tiff.NONE else _Joined)(pieces).read


def _pieces(file: BinaryIO, layout: Layout, segment: tuple[int, int]) -> Iterator[bytes]:
    """A segment's bytes as they are in the file; several segments may be read by turns."""
    at, left = segment
    while left:
        file.seek(at)
        piece = file.read(min(left, _BLOCK) if left > 0 else _BLOCK)
        if not piece:
            raise ValueError("cut off")
        at, left = at + len(piece), left - len(piece)
        yield piece.translate(_REVERSED) if layout.reversed_bits else piece


class _Joined:
    """Pieces of any size as pieces of the size that one asks for."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def read(self, count: int) -> bytes:
        parts, found = [self._rest], len(self._rest)
        while found < count:
            piece = next(self._pieces, b"")
            if not piece:
                raise ValueError("pixels are missing")
            parts.append(piece)
            found += len(piece)
        joined = b"".join(parts)
        self._rest = joined[count:]
        return joined[:count]


def _through_libtiff(packed: bytes, compression: int, row_bytes: int, rows: int) -> Array:
    """Unpacks bytes: as the only strip of a gray 8-bit TIFF, since these compressions know bytes only."""
    tags = ((256, row_bytes), (257, rows), (258, 8), (259, compression), (262, 1), (273, 122), (277, 1))
    entries = b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in (*tags, (278, rows), (279, len(packed)))
    )
    small = struct.pack("<2sHIH", b"II", 42, 8, 9) + entries + struct.pack("<I", 0) + packed
    with Pil.open(io.BytesIO(small), formats=["TIFF"]) as opened:
        return np.asarray(opened)


def _unpacked(raw: Array, layout: Layout, width: int) -> Array:
    """(n, width, samples) values; the predictor (TIFF 6.0, section 14) undone."""
    samples = layout.plane_samples
    if layout.bits == 8:
        values = raw.reshape(len(raw), width, samples)
    elif layout.bits == 16:
        values = raw.view(f"{layout.order}u2").astype(np.uint16).reshape(len(raw), width, samples)
    else:
        bits = np.unpackbits(raw, axis=1)[:, : width * samples * layout.bits].reshape(len(raw), width, samples, -1)
        values = bits @ (1 << np.arange(layout.bits - 1, -1, -1, dtype=np.uint16))
    if layout.predictor == 2:
        return np.cumsum(values, axis=1, dtype=values.dtype)
    return values


def _resolved(values: Array, found: Contents) -> Band:
    """Stored values as full-range pixels."""
    layout = found.layout
    colors = _colors(values[..., : layout.colors], found)
    if layout.alpha is None:
        return band_of(colors)
    alpha = widened(values[..., layout.alpha : layout.alpha + 1], layout.bits)
    if layout.premultiplied:
        colors = straight(colors, alpha)
    return band_of(np.dstack((colors, alpha)))


def _colors(values: Array, found: Contents) -> Array:
    layout = found.layout
    if layout.photometric == tiff.PALETTE:
        return _lookup(layout)[values[..., 0]]
    if layout.photometric in (tiff.CIELAB, tiff.ICCLAB):
        return lab_to_srgb(_lab(values, layout), values.dtype)
    pixels = widened(values, layout.bits)
    if layout.photometric == tiff.WHITE_IS_ZERO:
        return np.iinfo(pixels.dtype).max - pixels
    return cmyk_to_srgb(pixels, _inks(found)) if layout.photometric == tiff.CMYK else pixels


def _lookup(layout: Layout) -> Array:
    """(2^bits, 3): all red values come first, then green, then blue, in 16 bits, of which the low ones are the high ones again or 0
    (some write only 8)."""
    colors = np.array(layout.palette[: 3 << layout.bits]).reshape(3, -1).T
    return (colors if colors.max() < 256 else colors >> 8).astype(np.uint8)


def _lab(values: Array, layout: Layout) -> Floats:
    """L* in 0..100, a* and b*: CIELab has them signed, ICCLab around the middle (TIFF 6.0 and its technical note 4)."""
    unit = 1.0 if layout.bits == 8 else 256.0
    if layout.photometric == tiff.ICCLAB:
        lightness, around = values[..., :1] / (255.0 * unit), values[..., 1:] / unit - 128.0
    else:
        lightness, around = (
            values[..., :1] / np.iinfo(values.dtype).max,
            values[..., 1:].view(f"i{layout.bits // 8}") / unit,
        )
    return np.dstack((lightness * 100, around)).astype(np.float32)
