"""What a picture's file says beside its pixels: which way is up, EXIF, XMP and density."""

import contextlib
import math
import re
import struct

import numpy as np

from upscale.image import Array, Metadata
from upscale.media.tags import (
    ORIENTATION,
    STORAGE,
    Directory,
    exif_bytes,
    has_maker_note,
    number_in,
    parse_exif,
    patched,
)

DAMAGE = (SyntaxError, OSError, ValueError, EOFError, LookupError, TypeError, struct.error)
"""What Pillow raises for damaged files."""

_RESOLUTION = frozenset((282, 283, 296))
_LARGEST_KIND = 13
"""Of TIFF types; those above are BigTIFF's, or for UTF-8, which few EXIF readers know."""


def xmp_number(name: str) -> re.Pattern[bytes]:
    """A whole number in XMP (part 1, 7.4 and 7.9.2.2), an attribute or an element: `before`, `value` and `after`."""
    said = re.escape(name.encode())
    before = rb"(?P<before>\b%b\s*=\s*(?P<quote>[\"'])|<%b\s*>)" % (said, said)
    return re.compile(before + rb"\s*(?P<value>\d{1,9})\s*(?P<after>(?(quote)(?P=quote)|</%b\s*>))" % said)


XMP_ORIENTATION = xmp_number("tiff:Orientation")

_NO_TURN = (False, 1, 1)
_TURNS = {
    **{2: (False, 1, -1), 3: (False, -1, -1), 4: (False, -1, 1)},
    **{5: (True, 1, 1), 6: (True, 1, -1), 7: (True, -1, -1), 8: (True, -1, 1)},
}
"""EXIF orientation → whether to transpose first, then the steps through rows and columns."""


def transposes(orientation: int) -> bool:
    """Whether sides change places on the way to upright."""
    return _TURNS.get(orientation, _NO_TURN)[0]


def upright(pixels: Array, orientation: int) -> Array:
    """(H, W, ...) pixels as they are meant to be seen."""
    transposed, rows, columns = _TURNS.get(orientation, _NO_TURN)
    return np.ascontiguousarray((pixels.swapaxes(0, 1) if transposed else pixels)[::rows, ::columns])


def orientation_of(exif: bytes | None, xmp: bytes | None) -> int:
    """1 to 8: what EXIF says, else XMP, else 1; also where they are damaged."""
    found = number_in(_parsed(exif), ORIENTATION)
    if found is not None:
        return int(found) if found in _TURNS else 1
    return xmp_orientation(xmp)


def xmp_orientation(xmp: bytes | None) -> int:
    """1 to 8, 1 where XMP does not say."""
    found = XMP_ORIENTATION.search(xmp or b"")
    value = int(found["value"]) if found else 1
    return value if value in _TURNS else 1


def metadata_of(exif: bytes | Directory | None, xmp: bytes | None, dpi: tuple[float, float] | None) -> Metadata:
    """What is kept of a file's EXIF, XMP and DPI: all but its layout and orientation, since the pixels are upright.

    A damaged EXIF is None: the picture may be whole all the same. So is a senseless density; without one, EXIF's is taken.
    """
    directory = exif if isinstance(exif, Directory) else _parsed(exif)
    density = _sane(dpi) or density_of(directory)
    if isinstance(exif, bytes) and has_maker_note(directory):
        described = patched(exif, {ORIENTATION: 1})  # taken apart, the notes could not be read any more
    else:
        kept = {number: tag for number, tag in directory.tags.items() if number not in STORAGE | _RESOLUTION}
        kept = {number: tag for number, tag in kept.items() if tag.kind <= _LARGEST_KIND}
        described = exif_bytes(Directory(kept, directory.parts)) if kept or directory.parts else None
    return Metadata(described, XMP_ORIENTATION.sub(b"", xmp) if xmp else None, density)


def density_of(exif: bytes | Directory | None) -> tuple[float, float] | None:
    """DPI as EXIF or TIFF tags say; None without them or where they are senseless."""
    directory = exif if isinstance(exif, Directory) else _parsed(exif)
    x, y, unit = (number_in(directory, tag) for tag in (282, 283, 296))
    inches = {2: 1.0, 3: 2.54}.get(2 if unit is None else int(unit))
    return None if inches is None or x is None or y is None else _sane((x * inches, y * inches))


def _parsed(exif: bytes | None) -> Directory:
    """Empty where there is none or where it is damaged."""
    with contextlib.suppress(*DAMAGE):
        return parse_exif(exif or b"")
    return Directory()


def _sane(dpi: tuple[float, float] | None) -> tuple[float, float] | None:
    if dpi is None or not all(math.isfinite(value) and 0 < value < 65536 for value in map(float, dpi)):
        return None
    return float(dpi[0]), float(dpi[1])
