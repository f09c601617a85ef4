"""What a TIFF says of itself: a TIFF's tags as one value, and everything that is refused by name."""

import contextlib
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from upscale.image import Metadata
from upscale.media.formats import REFUSED
from upscale.media.metadata import DAMAGE, metadata_of, xmp_orientation
from upscale.media.reading.opened import RefusedError, not_carried
from upscale.media.tags import STORAGE, parse_tiff

NONE, LZW, JPEG_OLD, JPEG, DEFLATE, PACKBITS, DEFLATE_OLD = 1, 5, 6, 7, 8, 32773, 32946
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIELAB, ICCLAB = 0, 1, 2, 3, 5, 6, 8, 9
_SUBFILE, _SUB_IFDS, _DNG_VERSION, _PHOTOMETRIC = 254, 330, 50706, 262
_NOT_CARRIED = {33723: "IPTC", 34377: "Photoshop's image resources", 37724: "Photoshop's layers"}
_MOST_PAGES = 256
_RAW_PHOTOMETRICS = {32803, 34892}
_COLORS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, CIELAB: 3, ICCLAB: 3}


@dataclass(frozen=True, slots=True)
class Layout:
    """How the pixels lie in the file. Names are those of TIFF 6.0; `segments` are (offset, bytes) of strips or tiles,
    plane after plane where `planar`.

    `alpha`: which sample is the transparency, None without; `premultiplied`: whether the colors carry it already.
    """

    width: int
    height: int
    bits: int
    samples: int
    photometric: int
    compression: int
    predictor: int
    planar: bool
    order: str
    reversed_bits: bool
    tile: tuple[int, int] | None
    rows_per_strip: int
    segments: tuple[tuple[int, int], ...]
    palette: tuple[int, ...]
    alpha: int | None
    premultiplied: bool

    @property
    def colors(self) -> int:
        """Samples of a pixel that are its color; the rest are extra."""
        return _COLORS[self.photometric]

    @property
    def plane_samples(self) -> int:
        """Samples that lie together."""
        return 1 if self.planar else self.samples

    def row_bytes(self, width: int) -> int:
        return (width * self.plane_samples * self.bits + 7) // 8


@dataclass(frozen=True, slots=True)
class Contents:
    """A TIFF's only picture, and what it carries."""

    layout: Layout
    orientation: int
    icc: bytes | None
    metadata: Metadata
    warnings: list[str]


def inspect(path: Path) -> Contents:
    """Reads the tags. Raises RefusedError for what is not supported, and nearly anything for damaged files."""
    with tifffile.TiffFile(path) as file:
        page: Any = next(iter(file.pages), None)
        if page is None:
            raise ValueError("no picture in it")
        _refuse_raw(file, page)
        _refuse_pages(file)
        layout, warnings = _layout(page, file.byteorder)
        warnings += not_carried(name for tag, name in _NOT_CARRIED.items() if page.tags.get(tag) is not None)
        xmp = _bytes(page, 700)
        orientation = _first(_value(page, 274, xmp_orientation(xmp)))
        return Contents(layout, orientation, _bytes(page, 34675), _metadata(path, xmp), warnings)


def _value(page: Any, tag: int, default: Any) -> Any:
    found = page.tags.get(tag)
    return default if found is None or found.value is None else found.value


def _first(value: Any) -> int:
    return int(np.ravel(value)[0])


def _bytes(page: Any, tag: int) -> bytes | None:
    value = _value(page, tag, None)
    return bytes(value) if isinstance(value, bytes | bytearray) else None


def _metadata(path: Path, xmp: bytes | None) -> Metadata:
    """The tags as EXIF, with the directories of camera and place, byte for byte."""
    with contextlib.suppress(*DAMAGE):
        return metadata_of(parse_tiff(path, STORAGE), xmp, None)
    return metadata_of(None, xmp, None)


def _refuse_raw(file: Any, page: Any) -> None:
    kinds = {_first(_value(one, _PHOTOMETRIC, 1)) for one in (page, *(page.pages or ()))}
    if page.tags.get(_DNG_VERSION) is not None or kinds & _RAW_PHOTOMETRICS:
        raise RefusedError(REFUSED[".dng"])


def _refuse_pages(file: Any) -> None:
    """Thumbnails and smaller copies are no pages (NewSubfileType, bit 0)."""
    # The second one is enough: a damaged file's directories may point in a circle.
    whole = (page for page in islice(file.pages, _MOST_PAGES) if not _first(_value(page, _SUBFILE, 0)) & 1)
    if len(list(islice(whole, 2))) > 1:
        raise RefusedError("has several pages; split it first (for example with tiffsplit)")


def _layout(page: Any, order: str) -> tuple[Layout, list[str]]:
    samples = _first(_value(page, 277, 1))
    bits = _bits(page, samples)
    photometric = _first(_value(page, _PHOTOMETRIC, 1))
    if photometric not in _COLORS:
        raise RefusedError(f"TIFF pixels of kind {photometric} are not supported; convert it to RGB first")
    if photometric == CMYK and _first(_value(page, 332, 1)) != 1:
        raise RefusedError("inks other than CMYK are not supported; convert it to RGB first")
    alpha, premultiplied, warnings = _alpha(page, samples, _COLORS[photometric])
    tiled = page.tags.get(322) is not None
    tile = (_first(_value(page, 322, 0)), _first(_value(page, 323, 0))) if tiled else None
    height = _first(_value(page, 257, 0))
    offsets, counts = _all(page, 324 if tiled else 273), _all(page, 325 if tiled else 279)
    compression = _first(_value(page, 259, NONE))
    layout = Layout(
        width=_first(_value(page, 256, 0)),
        height=height,
        bits=bits,
        samples=samples,
        photometric=photometric,
        compression=compression,
        predictor=_first(_value(page, 317, 1)),
        planar=_first(_value(page, 284, 1)) == 2 and samples > 1,
        order=order,
        reversed_bits=_first(_value(page, 266, 1)) == 2,
        tile=tile,
        rows_per_strip=min(height, _first(_value(page, 278, height))) or height,
        segments=tuple(zip(offsets, counts, strict=True)) if counts else tuple((at, -1) for at in offsets),
        palette=_all(page, 320),
        alpha=alpha,
        premultiplied=premultiplied,
    )
    _refuse_odd(layout)
    return layout, warnings


def _refuse_odd(layout: Layout) -> None:
    whole = layout.bits in (8, 16)
    known = {
        PALETTE: layout.bits <= 8,
        CIELAB: whole,
        ICCLAB: whole,
    }.get(layout.photometric, True)
    if not known or layout.predictor not in ((1, 2) if whole else (1,)):
        kind = f"pixels of kind {layout.photometric} with {layout.bits} bits and predictor {layout.predictor}"
        raise RefusedError(f"TIFF {kind} are not supported; convert it to RGB first")


def _all(page: Any, tag: int) -> tuple[int, ...]:
    value = _value(page, tag, ())
    return tuple(int(one) for one in np.ravel(value))


def _bits(page: Any, samples: int) -> int:
    kinds = {int(kind) for kind in _all(page, 339)} or {1}
    found = set(_all(page, 258)) or {1}
    if 3 in kinds or 6 in kinds:
        raise RefusedError(REFUSED[".exr"])
    if kinds - {1, 4}:
        raise RefusedError("signed numbers as pixels are not supported; convert it to 8 or 16 bits first")
    if len(found) != 1 or samples < 1:
        raise RefusedError("channels of different depths are not supported; convert it to RGB first")
    bits = found.pop()
    if not 1 <= bits <= 16:
        raise RefusedError(f"{bits} bits a channel are not supported; convert it to 16 bits first")
    return bits


def _alpha(page: Any, samples: int, colors: int) -> tuple[int | None, bool, list[str]]:
    """Which sample is transparency (TIFF 6.0, ExtraSamples: 1 premultiplied, 2 straight, 0 of unknown meaning).

    A fourth sample without the tag is transparency: OpenCV and others write it so.
    """
    if samples < colors:
        raise ValueError(f"{samples} channels")
    extra = _all(page, 338)
    if samples == colors + 1 and not extra and colors in (1, 3):
        return colors, False, []
    for number, kind in enumerate(extra[: samples - colors]):
        if kind in (1, 2):
            more = samples - colors - 1
            return colors + number, kind == 1, [f"{more} extra channels are left out"] if more else []
    left = samples - colors
    return None, False, [f"{left} extra channel{'s' * (left > 1)} of unknown meaning left out"] if left else []
