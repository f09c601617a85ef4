"""EXIF, XMP and density as they go into a file: sizes and orientation corrected, what a format cannot hold named."""

import re

from upscale.image import Metadata
from upscale.media import tags
from upscale.media.formats import JPEG, TIFF, Format
from upscale.media.metadata import xmp_number
from upscale.media.tags import (
    STORAGE,
    Directory,
    Tag,
    exif_bytes,
    has_maker_note,
    longs,
    parse_exif,
    patched,
    rational,
    shorts,
)

_LARGEST_EXIF, _LARGEST_XMP = 65533, 65504  # of one JPEG segment, in the way Pillow writes them

_X, _Y, _UNIT = 282, 283, 296
_EXIF_WIDTH, _EXIF_HEIGHT = 40962, 40963
_XMP_SIDES = {"tiff:ImageWidth": 0, "exif:PixelXDimension": 0, "tiff:ImageLength": 1, "exif:PixelYDimension": 1}


def fitting(given: Metadata, format_: Format, width: int, height: int) -> tuple[Metadata, list[str]]:
    """What a format can hold of it for a picture of this size, and a line about each thing that it cannot."""
    lost: list[str] = []
    exif = _exif(given, format_, width, height, lost)
    xmp = _xmp(given, format_, width, height, lost)
    dpi = given.dpi if format_.dpi else None
    if given.dpi is not None and not (format_.dpi or format_.exif):
        lost.append(f"{format_.name} holds no density (DPI): dropped")
    return Metadata(exif, xmp, dpi), lost


def _exif(given: Metadata, format_: Format, width: int, height: int, lost: list[str]) -> bytes | None:
    """A density that has no place of its own in the format goes into EXIF."""
    density = given.dpi if format_.exif and not format_.dpi else None
    if given.exif is not None and not format_.exif:
        lost.append(f"{format_.name} holds no EXIF: dropped")
    if not format_.exif or (given.exif is None and density is None):
        return None
    try:
        directory = Directory() if given.exif is None else parse_exif(given.exif)
    except ValueError:
        lost.append("EXIF is damaged: dropped")
        return None
    if given.exif is not None and has_maker_note(directory) and format_ is not TIFF:
        exif = patched(given.exif, _numbers(given.dpi, width, height))
    else:
        exif = exif_bytes(_corrected(directory, given.dpi, width, height))
        if has_maker_note(directory):
            lost.append(f"the camera's own notes (MakerNote) move in {format_.name}: few programs will read them there")
    if format_ is JPEG and len(exif) > _LARGEST_EXIF:
        lost.append(f"EXIF of {len(exif):,} bytes is more than {format_.name} holds: dropped")
        return None
    return exif


def _numbers(dpi: tuple[float, float] | None, width: int, height: int) -> dict[int, float]:
    sizes = {tags.ORIENTATION: 1.0, _EXIF_WIDTH: float(width), _EXIF_HEIGHT: float(height)}
    return sizes if dpi is None else {**sizes, _X: dpi[0], _Y: dpi[1], _UNIT: 2.0}


def _corrected(directory: Directory, dpi: tuple[float, float] | None, width: int, height: int) -> Directory:
    kept = {number: tag for number, tag in directory.tags.items() if number not in STORAGE}
    if dpi is not None:
        kept |= {_X: rational(dpi[0]), _Y: rational(dpi[1]), _UNIT: shorts(2)}
    parts = dict(directory.parts)
    if tags.EXIF in parts:
        parts[tags.EXIF] = parts[tags.EXIF].merged(_sides(parts[tags.EXIF], width, height))
    return Directory(kept, parts)


def _sides(camera: Directory, width: int, height: int) -> dict[int, Tag]:
    sides = {_EXIF_WIDTH: longs(width), _EXIF_HEIGHT: longs(height)}
    return {number: side for number, side in sides.items() if number in camera.tags}


def _xmp(given: Metadata, format_: Format, width: int, height: int, lost: list[str]) -> bytes | None:
    if given.xmp is None:
        return None
    if not format_.xmp:
        lost.append(f"{format_.name} holds no XMP: dropped")
        return None
    xmp = _resized(given.xmp, width, height)
    if b"HasExtendedXMP" in xmp:
        xmp = _without(xmp, "xmpNote:HasExtendedXMP")
        lost.append("the part of XMP that stood outside its first segment is not kept")
    if format_ is JPEG and len(xmp) > _LARGEST_XMP:
        lost.append(f"XMP of {len(xmp):,} bytes is more than {format_.name} holds: dropped")
        return None
    return xmp


def _resized(xmp: bytes, width: int, height: int) -> bytes:
    """With the new size where a size is told, and upright, as attributes or as elements (XMP part 1, 7.4 and 7.9.2.2)."""
    for name, side in _XMP_SIDES.items():
        xmp = _with(xmp, name, (width, height)[side])
    return _with(xmp, "tiff:Orientation", 1)


def _with(xmp: bytes, name: str, value: int) -> bytes:
    return xmp_number(name).sub(rb"\g<before>%d\g<after>" % value, xmp)


def _without(xmp: bytes, name: str) -> bytes:
    """Without a property, as an attribute or an element. Goes through the text once: it may be hostile, and this is our own
    process."""
    word = name.encode()
    xmp = re.sub(rb"\b" + re.escape(word) + rb"\s*=\s*(\"[^\"]*\"|'[^']*')", b"", xmp)
    opening, closing, kept, at = b"<" + word, b"</" + word, list[bytes](), 0
    while (start := xmp.find(opening, at)) >= 0 and (end := xmp.find(closing, start)) >= 0:
        stop = xmp.find(b">", end)
        if stop < 0:
            break
        kept.append(xmp[at:start])
        at = stop + 1
    return b"".join((*kept, xmp[at:]))
