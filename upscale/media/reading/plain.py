"""PNM (PBM, PGM, PPM) and BMP: pixels that lie in the file as they are, read in bands.

PNM is read here, since Pillow has no 16-bit color (netpbm's ppm(5), pgm(5), pbm(5)); BMP's kinds are Pillow's.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image as Pil

from upscale.image import Array, Band, Color, Header
from upscale.media.metadata import metadata_of
from upscale.media.reading.opened import Limits, Opened, RefusedError, band_of, is_gray, still

_HEAD = 1 << 16
"""Bytes in which a PNM's header must end, comments included."""
_SPACE = rb"(?:\s|#[^\n\r]*[\n\r])+"


@dataclass(frozen=True, slots=True)
class Pnm:
    """`kind`: the digit of the magic number; `most`: the value of white; `start`: of the pixels in the file."""

    kind: int
    width: int
    height: int
    most: int
    start: int

    @property
    def channels(self) -> int:
        return 3 if self.kind in (3, 6) else 1

    @property
    def row_bytes(self) -> int:
        if self.kind == 4:
            return (self.width + 7) // 8
        return self.width * self.channels * (2 if self.most > 255 else 1)


def open_pnm(path: Path, limits: Limits) -> Opened:
    """Raises RefusedError, ValueError for damaged files."""
    with path.open("rb") as file:
        found = _pnm(file.read(_HEAD))
        size = file.seek(0, 2)
    limits.check(found.width, found.height)
    if found.kind > 3 and size < found.start + found.row_bytes * found.height:
        raise ValueError("cut off")
    dtype = np.dtype(np.uint16 if found.most > 255 else np.uint8)
    color = Color(found.most.bit_length(), found.channels == 1)
    header = Header(found.width, found.height, dtype, False, color)
    return still(header, lambda: _pnm_bands(path, found, limits))


def _pnm(head: bytes) -> Pnm:
    kind = int(head[1:2])
    count = 2 if kind in (1, 4) else 3
    matched = re.match(rb"P\d" + count * (_SPACE + rb"(\d{1,9})") + rb"(?:#[^\n\r]*[\n\r])?\s", head)
    if matched is None:
        raise ValueError("its header cannot be understood")
    width, height, most = (*map(int, matched.groups()), 1)[:3]
    if not 0 < most < 65536:
        raise ValueError(f"a white of {most}")
    return Pnm(kind, width, height, most, matched.end())


def _pnm_bands(path: Path, found: Pnm, limits: Limits) -> Iterator[Band]:
    with path.open("rb") as file:
        file.seek(found.start)
        if found.kind <= 3:
            yield band_of(_scaled(_from_text(file, found), found))
            return
        step = limits.rows(found.row_bytes)
        for start in range(0, found.height, step):
            raw = np.frombuffer(file.read(min(step, found.height - start) * found.row_bytes), np.uint8)
            yield band_of(_scaled(_values(raw.reshape(-1, found.row_bytes), found), found))


def _from_text(file: BinaryIO, found: Pnm) -> Array:
    text = re.sub(rb"#[^\n\r]*", b" ", file.read())
    if found.kind == 1:  # digits need no space between them
        values = np.frombuffer(text, np.uint8)
        values = values[(values == 48) | (values == 49)] - 48
    else:
        values = np.array(text.split(), np.uint32)
    count = found.width * found.height * found.channels
    if len(values) < count:
        raise ValueError("cut off")
    return values[:count].reshape(found.height, found.width, found.channels)


def _values(raw: Array, found: Pnm) -> Array:
    if found.kind == 4:
        return np.unpackbits(raw, axis=1)[:, : found.width, None]
    values = raw.view(">u2") if found.most > 255 else raw
    return values.reshape(len(raw), found.width, found.channels)


def _scaled(values: Array, found: Pnm) -> Array:
    """Over the full range; in bitmaps, 1 is black."""
    if found.kind in (1, 4):
        return ((1 - values) * 255).astype(np.uint8)
    dtype, full = (np.uint16, 65535) if found.most > 255 else (np.uint8, 255)
    if values.max() > found.most:
        raise ValueError("values above white")
    if found.most == full:
        return values.astype(dtype)
    return np.rint(np.arange(found.most + 1) * (full / found.most)).astype(dtype)[values]


def open_bmp(path: Path, limits: Limits) -> Opened:
    """Raises RefusedError, and nearly anything for damaged files."""
    with Pil.open(path, formats=["BMP"]) as opened:
        limits.check(*opened.size)
        tile: Any = opened.tile[0]
        palette = bytes(opened.getpalette("RGB") or ()) if opened.mode == "P" else b""
        mode, dpi = opened.mode, opened.info.get("dpi")
    if mode not in ("1", "L", "P", "RGB", "RGBA"):
        raise RefusedError(f"BMP pixels of kind {mode} are not supported; convert it to PNG first")
    gray = mode in ("1", "L") or (mode == "P" and is_gray(palette))
    width, height = opened.size
    header = Header(
        width,
        height,
        np.dtype(np.uint8),
        mode == "RGBA",
        Color(1 if mode == "1" else 8, gray),
        metadata_of(None, None, dpi),
    )
    if tile[0] != "raw":
        return still(header, lambda: _bmp_whole(path))
    raw_mode, stride, direction = tile[3]
    if path.stat().st_size < tile[2] + stride * height:
        raise ValueError("cut off")
    return still(
        header, lambda: _bmp_bands(path, header, (mode, palette, raw_mode), (tile[2], stride, direction), limits)
    )


def _bmp_whole(path: Path) -> Iterator[Band]:
    with Pil.open(path, formats=["BMP"]) as opened:
        yield _bmp_band(opened, bytes(opened.getpalette("RGB") or ()) if opened.mode == "P" else b"")


def _bmp_bands(
    path: Path, header: Header, kind: tuple[str, bytes, str], place: tuple[int, int, int], limits: Limits
) -> Iterator[Band]:
    """`kind`: Pillow's mode, palette and name for the stored pixels; `place`: offset, bytes of a row, -1 for bottom up."""
    (mode, palette, raw_mode), (offset, stride, direction) = kind, place
    step = limits.rows(stride)
    with path.open("rb") as file:
        for start in range(0, header.height, step):
            count = min(step, header.height - start)
            first = start if direction > 0 else header.height - start - count
            file.seek(offset + first * stride)
            data = file.read(count * stride)
            yield _bmp_band(
                Pil.frombytes(mode, (header.width, count), data, "raw", raw_mode, stride, direction), palette
            )


def _bmp_band(picture: Pil.Image, palette: bytes) -> Band:
    if not palette:
        return band_of(np.asarray(picture.convert("L") if picture.mode == "1" else picture))
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette) // 3] = np.frombuffer(palette, np.uint8).reshape(-1, 3)
    return band_of(colors[np.asarray(picture)])
