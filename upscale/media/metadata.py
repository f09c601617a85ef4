"""What a picture's file says beside its pixels: which way is up, EXIF, XMP and DPI, in and out again."""

import contextlib
import math
import re
import struct
from typing import Any

import numpy as np
from PIL import ExifTags
from PIL import Image as Pil

from upscale.image import Array, Metadata

DAMAGE = (SyntaxError, OSError, ValueError, EOFError, LookupError, TypeError, struct.error)
"""What Pillow raises for damaged files."""

_LARGEST = {("EXIF", "JPEG"): 65533, ("XMP", "JPEG"): 65504}
_WITH_XMP = ("JPEG", "WEBP")
_ORIENTATION = 274
_RESOLUTION_TAGS = frozenset((282, 283, 296))
STORAGE_TAGS = frozenset(
    (
        *(*range(254, 269), *range(273, 282), 284, *range(288, 294), 301, *range(317, 348), *range(512, 533)),
        *(700, 33723, 34377, 34675, 37724),
    )
)
"""TIFF tags that say how a file is laid out (sizes, strips, compression, orientation) or hold what is kept elsewhere."""

_XMP_ORIENTATION = rb"""tiff:Orientation=["']([0-9])["']|<tiff:Orientation>\s*([0-9])\s*</tiff:Orientation>"""

_NO_TURN = (False, 1, 1)
_TURNS = {
    **{2: (False, 1, -1), 3: (False, -1, -1), 4: (False, -1, 1)},
    **{5: (True, 1, 1), 6: (True, 1, -1), 7: (True, -1, -1), 8: (True, -1, 1)},
}
"""EXIF orientation → whether to transpose first, then the steps through rows and columns."""


def orientation(opened: Any) -> int:
    """1 to 8, as in EXIF or XMP; 1 for a TIFF, which Pillow and OpenCV turn themselves, and where the EXIF is damaged."""
    if opened.format == "TIFF":
        return 1
    with contextlib.suppress(*DAMAGE):
        return int(opened.getexif().get(_ORIENTATION, 1))
    return 1


def is_transposed(opened: Any) -> bool:
    return transposes(orientation(opened))


def transposes(orientation: int) -> bool:
    """Whether sides change places on the way to upright."""
    return _TURNS.get(orientation, _NO_TURN)[0]


def upright(pixels: Array, orientation: int) -> Array:
    """(H, W, ...) pixels as they are meant to be seen."""
    transposed, rows, columns = _TURNS.get(orientation, _NO_TURN)
    return np.ascontiguousarray((pixels.swapaxes(0, 1) if transposed else pixels)[::rows, ::columns])


def metadata(opened: Any) -> Metadata:
    """What describes the picture, not how its file was laid out; without orientation, since the pixels are upright."""
    dpi, xmp = opened.info.get("dpi"), opened.info.get("xmp")
    if dpi is not None and not all(math.isfinite(value) and 0 < value < 65536 for value in map(float, dpi)):
        dpi = None
    return Metadata(
        _exif(opened, STORAGE_TAGS if dpi is not None else STORAGE_TAGS | _RESOLUTION_TAGS),
        re.sub(_XMP_ORIENTATION, b"", xmp) if isinstance(xmp, bytes) else None,
        (float(dpi[0]), float(dpi[1])) if dpi else None,
    )


def orientation_of(exif: bytes | None, xmp: bytes | None) -> int:
    """1 to 8: what EXIF says, else XMP, else 1; also where they are damaged."""
    with contextlib.suppress(*DAMAGE):
        found = _loaded(exif or b"").get(_ORIENTATION)
        if found is not None:
            return int(found) if int(found) in _TURNS else 1
    return xmp_orientation(xmp)


def xmp_orientation(xmp: bytes | None) -> int:
    """1 to 8, 1 where XMP does not say."""
    found = re.search(_XMP_ORIENTATION, xmp or b"")
    value = int(found[1] or found[2]) if found else 1
    return value if value in _TURNS else 1


def metadata_of(exif: bytes | Pil.Exif | None, xmp: bytes | None, dpi: tuple[float, float] | None) -> Metadata:
    """What is kept of a file's EXIF, XMP and DPI: all but its layout and orientation, since the pixels are upright.

    A damaged EXIF is None: the picture may be whole all the same. So is a senseless density.
    """
    density = _sane(dpi)
    kept = None
    with contextlib.suppress(*DAMAGE):
        loaded = exif if isinstance(exif, Pil.Exif) else _loaded(exif or b"")
        kept = _described(loaded, STORAGE_TAGS if density is not None else STORAGE_TAGS | _RESOLUTION_TAGS)
    return Metadata(kept, re.sub(_XMP_ORIENTATION, b"", xmp) if xmp else None, density)


def density_of(exif: bytes | Pil.Exif | None) -> tuple[float, float] | None:
    """DPI as EXIF or TIFF tags say; None without them or where they are senseless."""
    with contextlib.suppress(*DAMAGE, ArithmeticError):
        loaded = exif if isinstance(exif, Pil.Exif) else _loaded(exif or b"")
        inches = {2: 1.0, 3: 2.54}.get(loaded.get(296, 2))
        if inches is not None and 282 in loaded and 283 in loaded:
            return _sane((float(loaded[282]) * inches, float(loaded[283]) * inches))
    return None


def _sane(dpi: tuple[float, float] | None) -> tuple[float, float] | None:
    if dpi is None or not all(math.isfinite(value) and 0 < value < 65536 for value in map(float, dpi)):
        return None
    return float(dpi[0]), float(dpi[1])


def _described(exif: Pil.Exif, dropped: frozenset[int]) -> bytes | None:
    for tag in dropped.intersection(exif):
        del exif[tag]
    return exif.tobytes() if len(exif) else None


def _exif(opened: Any, dropped: frozenset[int]) -> bytes | None:
    """None also where it is damaged: the picture may be whole all the same."""
    with contextlib.suppress(*DAMAGE):
        exif = opened.getexif()
        for tag in dropped.intersection(exif):
            del exif[tag]
        return exif.tobytes() if len(exif) else None
    return None


def writable(given: Metadata, format_: str, width: int, height: int) -> tuple[Metadata, list[str]]:
    """What a format can hold of it for a picture of the new size, and warnings about the rest."""
    parts = {"EXIF": _resized(given.exif, width, height), "XMP": given.xmp if format_ in _WITH_XMP else None}
    warnings: list[str] = []
    for name, data in parts.items():
        if data is not None and len(data) > _LARGEST.get((name, format_), len(data)):
            warnings.append(f"{name} of {len(data):,} bytes is more than {format_} holds: dropped")
            parts[name] = None
    return Metadata(parts["EXIF"], parts["XMP"], given.dpi), warnings


def has_directories(exif: bytes | None) -> bool:
    """Whether EXIF has the camera's or the place's part, beside the plain tags."""
    loaded = _loaded(exif or b"")
    return ExifTags.IFD.Exif in loaded or ExifTags.IFD.GPSInfo in loaded


def _resized(data: bytes | None, width: int, height: int) -> bytes | None:
    if data is None:
        return None
    exif = _loaded(data)
    details = exif.get_ifd(ExifTags.IFD.Exif) if ExifTags.IFD.Exif in exif else {}
    for tag, side in ((ExifTags.Base.ExifImageWidth, width), (ExifTags.Base.ExifImageHeight, height)):
        if tag in details:
            details[tag] = side
    return exif.tobytes()


def _loaded(data: bytes) -> Pil.Exif:
    exif = Pil.Exif()
    exif.load(data)
    return exif
