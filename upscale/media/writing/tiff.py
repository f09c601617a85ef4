"""TIFF, 8 and 16 bit, written strip by strip as the rows come; it becomes a BigTIFF when it has grown beyond 4 GB.

Formats: TIFF 6.0 (Adobe 1992), sections 8, 14 (predictor) and 18 (transparency); deflate: Adobe's TIFF Technical Note 2
of 2002; BigTIFF as in libtiff; EXIF, GPS, XMP (tag 700) and ICC (34675) in their places.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from upscale.image import Array
from upscale.media import tags
from upscale.media.tags import Directory, Tag, longs, octets, parse_exif, rational, serialized, shorts
from upscale.media.writing.deflate import BLOCK, deflated
from upscale.media.writing.layout import Content, Pixels

CLASSIC_END = 1 << 32
"""Offsets in a classic TIFF have 32 bits: where a file ends later, it is a BigTIFF."""

_HEAD = 16  # room for either kind of beginning, since the kind is known only at the end
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _OFFSETS, _SAMPLES = 256, 257, 258, 259, 262, 273, 277
_ROWS, _COUNTS, _X, _Y, _PLANES, _UNIT, _PREDICTOR, _EXTRA, _XMP, _ICC = (
    278,
    279,
    282,
    283,
    284,
    296,
    317,
    338,
    700,
    34675,
)
_DEFLATE, _DIFFERENCES, _UNASSOCIATED, _GRAY, _RGB = 8, 2, 2, 1, 2


def write_tiff(file: BinaryIO, content: Content, frames: Iterator[Iterator[Pixels]]) -> None:
    """The first frame, as deflated strips of about a megabyte with horizontal prediction.

    The directories stand before the strips, in a room that is filled at the end: Pillow does not find them beyond 4 GB.
    """
    height = max(1, BLOCK // content.row_bytes)
    strips = -(-content.height // height)
    described = _directory(content).merged({_ROWS: longs(height)})
    largest = described.merged({_OFFSETS: Tag(tags.LONG8, strips, bytes(8 * strips)), _COUNTS: longs(*[0] * strips)})
    file.write(bytes(_HEAD + len(serialized(largest, _HEAD, big=True))))
    starts: list[int] = []
    counts: list[int] = []
    for strip in _strips(next(frames), height):
        starts.append(file.tell())
        counts.append(file.write(deflated(_predicted(strip))))
    next(frames, None)
    big = file.tell() >= CLASSIC_END
    directory = described.merged({_OFFSETS: longs(*starts), _COUNTS: longs(*counts)})
    file.seek(0)
    file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, _HEAD) if big else struct.pack("<2sHIQ", b"II", 42, _HEAD, 0))
    file.write(serialized(directory, _HEAD, big))


def _strips(bands: Iterator[Pixels], height: int) -> Iterator[Pixels]:
    """The same rows in portions of `height`, the last one of what is left."""
    waiting: list[Pixels] = []
    rows = 0
    for band in bands:
        while rows + len(band) >= height:
            yield np.concatenate((*waiting, band[: height - rows]))
            band, waiting, rows = band[height - rows :], [], 0
        waiting.append(band)
        rows += len(band)
    if rows:
        yield np.concatenate(waiting)


def _predicted(strip: Pixels) -> bytes:
    """Each sample as its difference to the pixel on the left, lowest byte first."""
    differences = strip.copy()
    differences[:, 1:] -= strip[:, :-1]
    ordered: Array = differences.astype(strip.dtype.newbyteorder("<"), copy=False)
    return ordered.tobytes()


def _directory(content: Content) -> Directory:
    given, layout = content.metadata, content.layout
    plain = {
        _WIDTH: longs(content.width),
        _LENGTH: longs(content.height),
        _BITS: shorts(*[layout.depth] * layout.channels),
        _COMPRESSION: shorts(_DEFLATE),
        _PHOTOMETRIC: shorts(_GRAY if layout.channels < 3 else _RGB),
        _SAMPLES: shorts(layout.channels),
        _PLANES: shorts(1),
        _PREDICTOR: shorts(_DIFFERENCES),
    }
    if layout.alpha:
        plain[_EXTRA] = shorts(_UNASSOCIATED)
    if given.dpi is not None:
        plain |= {_X: rational(given.dpi[0]), _Y: rational(given.dpi[1]), _UNIT: shorts(2)}
    if given.xmp is not None:
        plain[_XMP] = octets(given.xmp, tags.BYTE)
    if content.icc is not None:
        plain[_ICC] = octets(content.icc)
    return (Directory() if given.exif is None else parse_exif(given.exif)).merged(plain)
