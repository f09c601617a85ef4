"""PNG and APNG, 8 and 16 bit, written as the rows come: memory does not grow with a still picture's height.

Format: Portable Network Graphics (PNG) Specification, third edition, W3C 2025 (chunks and their order: section 5,
filters: section 9, animation: sections 5.7 and 11.3.6).
"""

import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import numpy as np

from upscale.image import Array
from upscale.media.writing.deflate import Deflater
from upscale.media.writing.layout import Content, Pixels

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_PORTION = 1 << 16  # of compressed data in a chunk
_FILTERED_AT_ONCE = 1 << 17  # bytes: what the filters work on stays in the processor's cache
_INCH = 0.0254


def write_png(file: BinaryIO, content: Content, frames: Iterator[Iterator[Pixels]]) -> None:
    """One frame as PNG; with `content.animation`, as many as it has durations as APNG."""
    file.write(_SIGNATURE)
    layout = content.layout
    head = struct.pack(">IIBBBBB", content.width, content.height, layout.depth, _COLOR_TYPES[layout.channels], 0, 0, 0)
    _chunk(file, b"IHDR", head)
    for name, data in _color_chunks(content):
        _chunk(file, name, data)
    for name, data in _describing_chunks(content):
        _chunk(file, name, data)
    if content.animation is None:
        _stream(file, content.row_bytes, layout.bytes_per_pixel, next(frames))
        next(frames, None)
    else:
        _animate(file, content, frames)
    _chunk(file, b"IEND", b"")


def _chunk(file: BinaryIO, name: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + name)
    file.write(data)
    file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(name))))


def _color_chunks(content: Content) -> Iterator[tuple[bytes, bytes]]:
    """What the pixels' numbers mean; only one of iCCP and sRGB may be there, and a profile says more."""
    for name, data in content.chunks:
        if content.icc is None or name not in ("sRGB", "iCCP"):
            yield name.encode("ascii"), data
    if content.icc is not None:
        yield b"iCCP", b"ICC profile\0\0" + zlib.compress(content.icc, 9)


def _describing_chunks(content: Content) -> Iterator[tuple[bytes, bytes]]:
    given = content.metadata
    if given.dpi is not None:
        yield b"pHYs", struct.pack(">IIB", *(max(1, round(value / _INCH)) for value in given.dpi), 1)
    if given.exif is not None:
        yield b"eXIf", given.exif.removeprefix(b"Exif\0\0")
    if given.xmp is not None:
        yield b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + given.xmp


def _stream(
    file: BinaryIO, row_bytes: int, pixel: int, bands: Iterator[Pixels], name: bytes = b"IDAT", number: int = 0
) -> int:
    """Rows as chunks of compressed data; fdAT ones are numbered from `number`, and the next number is returned."""
    above = np.zeros(row_bytes, np.uint8)
    coder, waiting = Deflater(), bytearray()

    def out(parts: Iterator[bytes], last: bool = False) -> None:
        nonlocal number
        for part in parts:
            waiting.extend(part)
        while len(waiting) >= _PORTION or (last and waiting):
            prefix = struct.pack(">I", number) if name == b"fdAT" else b""
            _chunk(file, name, prefix + bytes(memoryview(waiting)[:_PORTION]))
            del waiting[:_PORTION]
            number += 1

    for band in bands:
        rows = _bytes(band)
        step = max(1, _FILTERED_AT_ONCE // row_bytes)
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            out(coder.add(filtered(part, above, pixel).data.cast("B")))
            above = part[-1]
    out(coder.finish(), last=True)
    return number


def _bytes(pixels: Pixels) -> Array:
    """(n, row bytes): samples in PNG's byte order."""
    ordered = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">"))
    return ordered.reshape(len(pixels), -1).view(np.uint8)


def filtered(rows: Array, above: Array, pixel: int) -> Array:
    """(n, 1 + row bytes): each row by that of the five filters whose sum of absolute differences is the smallest.

    `rows`: (n, row bytes) uint8; `above`: the row over them; `pixel`: bytes of a pixel.
    """
    count, width = rows.shape
    around = np.zeros((count + 1, width + pixel), np.uint8)
    around[0, pixel:], around[1:, pixel:] = above, rows
    left, up, corner = around[1:, :-pixel], around[:-1, pixel:], around[:-1, :-pixel]
    ways = np.empty((5, count, width), np.uint8)
    ways[0] = rows
    np.subtract(rows, left, out=ways[1])
    np.subtract(rows, up, out=ways[2])
    np.subtract(rows, (left & up) + ((left ^ up) >> 1), out=ways[3])
    np.subtract(rows, _paeth(left, up, corner), out=ways[4])
    best = np.abs(ways.view(np.int8)).view(np.uint8).sum(axis=2, dtype=np.uint32).argmin(axis=0)
    result = np.empty((count, 1 + width), np.uint8)
    result[:, 0], result[:, 1:] = best, ways[best, np.arange(count)]
    return result


def _paeth(left: Array, up: Array, corner: Array) -> Array:
    """That of the three which is nearest to left + up − corner; ties go in this order. In bytes, without overflow:
    the distances to left and up are |up − corner| and |left − corner|, and the one to corner is their sum where both
    differences have one sign (then it is never the smallest), else their difference.
    """
    to_left = np.maximum(up, corner) - np.minimum(up, corner)
    to_up = np.maximum(left, corner) - np.minimum(left, corner)
    to_corner = np.maximum(to_left, to_up) - np.minimum(to_left, to_up)
    to_corner |= ((up >= corner) == (left >= corner)).view(np.uint8) * np.uint8(255)
    nearest = np.where(to_up <= to_corner, up, corner)
    return np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)


def _animate(file: BinaryIO, content: Content, frames: Iterator[Iterator[Pixels]]) -> None:
    """Frames as what differs from the one before: each is kept until the next has been compared with it."""
    animation = content.animation
    assert animation is not None
    _chunk(file, b"acTL", struct.pack(">II", len(animation.durations), animation.plays))
    number, before = 0, None
    for duration, frame in zip(animation.durations, frames, strict=True):
        pixels = np.concatenate(list(frame))
        top, left, bottom, right = (0, 0, *pixels.shape[:2]) if before is None else _changed(before, pixels)
        place = struct.pack(">IIIII", number, right - left, bottom - top, left, top)
        _chunk(file, b"fcTL", place + struct.pack(">HHBB", *delay(duration), 0, 0))  # stays; replaces what it covers
        part = np.ascontiguousarray(pixels[top:bottom, left:right])
        row_bytes = (right - left) * content.layout.bytes_per_pixel
        name = b"IDAT" if before is None else b"fdAT"
        after = _stream(file, row_bytes, content.layout.bytes_per_pixel, iter((part,)), name, number + 1)
        number, before = number + 1 if before is None else after, pixels


def _changed(before: Pixels, pixels: Pixels) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of the part that differs; one pixel where nothing does."""
    differs = (before != pixels).any(axis=2)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not len(rows):
        return 0, 0, 1, 1
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def delay(duration: float) -> tuple[int, int]:
    """Milliseconds as a fraction of a second whose parts have 16 bits each: as near as that allows."""
    wanted = Fraction(duration).limit_denominator(1000) / 1000
    for most in (65535, 1000, 100, 10, 1):
        fraction = wanted.limit_denominator(most)
        if fraction.numerator <= 65535:
            return fraction.numerator, fraction.denominator
    return 65535, 1
