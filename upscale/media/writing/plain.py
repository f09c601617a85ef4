"""PPM, PGM and BMP, written as the rows come.

Formats: Netpbm's ppm(5) and pgm(5), binary; Microsoft's BITMAPFILEHEADER and BITMAPINFOHEADER.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from upscale.media.writing.layout import Content, Pixels

_BMP_HEAD = 14 + 40
_METER = 39.37007874
BMP_END = 1 << 32
"""A BMP says its length in 32 bits."""


def write_ppm(file: BinaryIO, content: Content, frames: Iterator[Iterator[Pixels]]) -> None:
    """Gray as P5, color as P6; 16 bits with the highest byte first."""
    kind, most = ("P5" if content.layout.channels == 1 else "P6"), (1 << content.layout.depth) - 1
    file.write(f"{kind}\n{content.width} {content.height}\n{most}\n".encode("ascii"))
    for band in next(frames):
        file.write(np.ascontiguousarray(band, band.dtype.newbyteorder(">")).data)
    next(frames, None)


def bmp_bytes(content: Content) -> int:
    """The length of the file."""
    return _BMP_HEAD + (1024 if content.layout.channels == 1 else 0) + _bmp_row(content) * content.height


def _bmp_row(content: Content) -> int:
    return (content.row_bytes + 3) // 4 * 4


def write_bmp(file: BinaryIO, content: Content, frames: Iterator[Iterator[Pixels]]) -> None:
    """Gray with a palette of 256 grays, color as BGR. The last row stands first: each band goes to its place."""
    row, gray = _bmp_row(content), content.layout.channels == 1
    start = _BMP_HEAD + (1024 if gray else 0)
    x, y = (round(value * _METER) for value in content.metadata.dpi or (0, 0))
    size = (content.width, content.height, 1, 8 if gray else 24, 0, row * content.height, x, y, 256 if gray else 0, 0)
    file.write(struct.pack("<2sIHHI", b"BM", bmp_bytes(content), 0, 0, start))
    file.write(struct.pack("<IiiHHIIiiII", 40, *size))
    if gray:
        file.write(b"".join(bytes((level, level, level, 0)) for level in range(256)))
    left = content.height
    for band in next(frames):
        left -= len(band)
        lines = np.zeros((len(band), row), np.uint8)
        lines[:, : content.row_bytes] = band[::-1, :, ::-1].reshape(len(band), -1)
        file.seek(start + left * row)
        file.write(lines.data)
    next(frames, None)
