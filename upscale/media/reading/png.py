"""PNG and APNG, of every depth and color type, in bands whose memory does not grow with the picture's height.

The unfiltering, which is serial and slow in Python, is left to Pillow and OpenCV: some rows as they were filtered, behind
the row that comes before them, make a small PNG of their own. Palettes, transparent colors, depths and interlacing are
resolved here, so that these libraries never see more of a hostile file than rows of whole bytes.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image as Pil

from upscale.image import Animation, Array, Band, Color, Header
from upscale.media.metadata import metadata_of, orientation_of, transposes
from upscale.media.reading.inflate import Inflated
from upscale.media.reading.opened import Limits, Opened, band_of, is_gray, moving, not_carried, still, turned, widened
from upscale.media.reading.png_chunks import (
    CHANNELS,
    COLOR_CHUNKS,
    SIGNATURE,
    Contents,
    Shape,
    density_in,
    profile_of,
    walk,
)
from upscale.media.reading.profiles import fitting

_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""The passes' first column and row, and their steps (PNG, 8.1)."""
_SAME_BYTES = {1: (8, 0), 2: (8, 4), 3: (8, 2), 4: (8, 6), 6: (16, 2), 8: (16, 6)}
"""Bytes of a pixel → depth and color type of a PNG that is unfiltered alike (filters know bytes only)."""
_BLOCK = 1 << 16


def open_png(path: Path, limits: Limits) -> Opened:
    """Raises RefusedError, and nearly anything else for damaged files."""
    with path.open("rb") as file:
        found = walk(file, limits)
    kept = found.kept
    exif = kept.get(b"eXIf") or found.legacy_exif
    icc, warnings = fitting(profile_of(kept.get(b"iCCP")), found.shape.kind in (0, 4))
    gray = found.shape.kind in (0, 4) or (found.shape.kind == 3 and icc is None and is_gray(found.palette))
    warnings += not_carried(f"text {keyword!r}" for keyword in sorted(found.texts))
    chunks = tuple((name.decode(), content) for name, content in kept.items() if name in COLOR_CHUNKS)
    color = Color(8 if found.shape.kind == 3 else found.shape.bits, gray, icc=icc, chunks=chunks)
    orientation = orientation_of(exif, found.xmp)
    shape = found.shape
    width, height = (shape.height, shape.width) if transposes(orientation) else (shape.width, shape.height)
    dtype = np.dtype(np.uint16 if shape.bits == 16 else np.uint8)
    alpha = shape.kind in (4, 6) or found.transparent is not None
    header = Header(width, height, dtype, alpha, color, metadata_of(exif, found.xmp, density_in(kept.get(b"pHYs"))))
    if len(found.frames) > 1:
        limits.check(width, height, len(found.frames))
        header = replace(header, alpha=alpha or _shows_nothing(found))
        animation = Animation(tuple(frame.duration for frame in found.frames), found.plays or 0)
        return moving(header, animation, lambda: _seen(path, found, header, orientation, limits), warnings)
    return still(header, lambda: turned(_still_bands(path, found, limits), orientation), warnings)


def _shows_nothing(found: Contents) -> bool:
    """Whether frames leave parts of an opaque APNG undrawn: what is cleared, or was never drawn. To dispose of the first
    frame as "previous" is to clear it."""
    first, whole = found.frames[0], found.shape
    covers = (first.shape.width, first.shape.height) == (whole.width, whole.height)
    return not covers or first.dispose == 2 or any(frame.dispose == 1 for frame in found.frames)


def _seen(path: Path, found: Contents, header: Header, orientation: int, limits: Limits) -> Iterator[Band]:
    for frame in _composed(path, found, limits):
        (whole,) = turned(iter([frame]), orientation)
        yield whole if header.alpha else Band(whole.rgb)


def _still_bands(path: Path, found: Contents, limits: Limits) -> Iterator[Band]:
    for samples in _samples(path, found.shape, found.data, limits):
        yield band_of(_resolved(samples, found))


def _samples(path: Path, shape: Shape, data: int, limits: Limits) -> Iterator[Array]:
    """(n, width, channels) samples as they are stored, 1 to 16 bits in uint8 or uint16."""
    with path.open("rb") as file:
        stream = Inflated(_compressed(file, data))
        if shape.interlaced:
            yield _interlaced(stream, shape)
        else:
            yield from _progressive(stream, shape, limits.rows(shape.row_bytes))
        stream.finish()


def _compressed(file: BinaryIO, start: int) -> Iterator[bytes]:
    """The content of the consecutive IDAT or fdAT chunks, checked, in small blocks."""
    file.seek(start + 4)
    wanted = file.read(4)
    file.seek(start)
    while len(head := file.read(8)) == 8 and head[4:] == wanted:
        left, check = int.from_bytes(head[:4], "big"), zlib.crc32(wanted)
        skipped = 4 if wanted == b"fdAT" else 0  # the sequence number
        while left:
            block = file.read(min(left, _BLOCK) if not skipped else min(left, skipped))
            if not block:
                raise ValueError("cut off")
            check = zlib.crc32(block, check)
            left -= len(block)
            if skipped:
                skipped = 0
            else:
                yield block
        if file.read(4) != check.to_bytes(4, "big"):
            raise ValueError("checksum of the pixels")


def _progressive(stream: Inflated, shape: Shape, step: int) -> Iterator[Array]:
    above: Array | None = None
    for start in range(0, shape.height, step):
        count = min(step, shape.height - start)
        raw = _unfiltered(stream.read(count * (shape.row_bytes + 1)), shape, above)
        above = raw[-1].copy()
        yield _unpacked(raw, shape)


def _interlaced(stream: Inflated, shape: Shape) -> Array:
    dtype = np.uint16 if shape.bits == 16 else np.uint8
    whole = np.empty((shape.height, shape.width, CHANNELS[shape.kind]), dtype)
    for left, top, across, down in _ADAM7:
        width, height = -(-(shape.width - left) // across), -(-(shape.height - top) // down)
        if width > 0 and height > 0:
            part = replace(shape, width=width, height=height)
            raw = _unfiltered(stream.read(height * (part.row_bytes + 1)), part, None)
            whole[top::down, left::across] = _unpacked(raw, part)
    return whole


def _unfiltered(filtered: bytes, shape: Shape, above: Array | None) -> Array:
    """(n, row_bytes) bytes of n filtered rows; `above` is the unfiltered row before them."""
    rows = np.frombuffer(filtered, np.uint8).reshape(-1, shape.row_bytes + 1)
    if rows[:, 0].max() > 4:
        raise ValueError("a row with an unknown filter")
    first = b"" if above is None else b"\0" + above.tobytes()
    bits, kind = _SAME_BYTES[shape.pixel_bytes]
    width, height = shape.row_bytes // shape.pixel_bytes, len(rows) + (above is not None)
    png = _small_png(width, height, bits, kind, first + filtered)
    decoded = _decoded_deep(png) if bits == 16 else np.asarray(Pil.open(io.BytesIO(png), formats=["PNG"]))
    return decoded.reshape(height, -1).view(np.uint8)[height - len(rows) :]


def _small_png(width: int, height: int, bits: int, kind: int, rows: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b""))
    parts = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))
        for name, data in chunks
    )
    return SIGNATURE + b"".join(parts)


def _decoded_deep(png: bytes) -> Array:
    """(H, W, 3 | 4) in RGB(A) order and PNG's byte order."""
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("16-bit pixels that cannot be decoded")
    code = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return np.asarray(cv2.cvtColor(pixels, code)).astype(">u2")


def _unpacked(raw: Array, shape: Shape) -> Array:
    if shape.bits == 16:
        return raw.view(">u2").astype(np.uint16).reshape(len(raw), shape.width, -1)
    if shape.bits == 8:
        return raw.reshape(len(raw), shape.width, -1)
    bits = np.unpackbits(raw, axis=1).reshape(len(raw), -1, shape.bits)
    values = bits @ (1 << np.arange(shape.bits - 1, -1, -1, dtype=np.uint8))
    return values[:, : shape.width, None].astype(np.uint8)


def _resolved(samples: Array, found: Contents) -> Array:
    """Full-range gray, gray+alpha, RGB or RGBA: palette looked up, the transparent color made alpha."""
    shape, transparent = found.shape, found.transparent
    if shape.kind == 3:
        return _lookup(found.palette, transparent)[samples[..., 0]]
    pixels = widened(samples, shape.bits)
    if transparent is None:
        return pixels
    channels = CHANNELS[shape.kind]
    key = np.array(struct.unpack(f">{channels}H", transparent[: 2 * channels])) & ((1 << shape.bits) - 1)
    full = np.iinfo(pixels.dtype).max
    alpha = np.where((samples == key).all(axis=2), 0, full).astype(pixels.dtype)
    return np.dstack((pixels, alpha))


def _lookup(palette: bytes, transparent: bytes | None) -> Array:
    """(256, 3 | 4); what the palette does not have is black."""
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette) // 3] = np.frombuffer(palette, np.uint8).reshape(-1, 3)
    if transparent is None:
        return colors
    alpha = np.full((256, 1), 255, np.uint8)
    alpha[: len(transparent), 0] = np.frombuffer(transparent, np.uint8)
    return np.hstack((colors, alpha))


def _composed(path: Path, found: Contents, limits: Limits) -> Iterator[Band]:
    """The frames as they are seen: blended onto what is there, which is then disposed of (PNG, 11.3.2.3)."""
    shape = found.shape
    canvas = np.zeros((shape.height, shape.width, 4), np.uint16 if shape.bits == 16 else np.uint8)
    for number, frame in enumerate(found.frames):
        parts = [_resolved(part, found) for part in _samples(path, frame.shape, frame.data, limits)]
        drawn = _rgba(np.concatenate(parts))
        place = canvas[frame.top : frame.top + frame.shape.height, frame.left : frame.left + frame.shape.width]
        before = place.copy()
        place[...] = _over(drawn, before) if frame.blend == 1 else drawn
        yield band_of(canvas.copy())
        if frame.dispose == 1 or (frame.dispose == 2 and number == 0):
            place[...] = 0
        elif frame.dispose == 2:
            place[...] = before


def _rgba(pixels: Array) -> Array:
    if pixels.shape[2] < 3:
        pixels = pixels[..., [0, 0, 0, 1][: pixels.shape[2] + 2]]
    if pixels.shape[2] == 4:
        return pixels
    return np.dstack((pixels, np.full(pixels.shape[:2], np.iinfo(pixels.dtype).max, pixels.dtype)))


def _over(drawn: Array, below: Array) -> Array:
    """Straight alpha over straight alpha (PNG, 13.16), rounded."""
    full = float(np.iinfo(drawn.dtype).max)
    share = drawn[..., 3:] / full
    rest = below[..., 3:] / full * (1 - share)
    alpha = share + rest
    color = (drawn[..., :3] * share + below[..., :3] * rest) / np.where(alpha, alpha, 1)
    return np.rint(np.dstack((color, alpha * full))).astype(drawn.dtype)
