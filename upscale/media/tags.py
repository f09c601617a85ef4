"""Directories of TIFF tags, read from EXIF and written into TIFF files, BigTIFF files and EXIF.

Formats: TIFF 6.0 (Adobe 1992), section 2; BigTIFF as in libtiff; EXIF 2.32 (CIPA DC-008), section 4.6.
"""

import mmap
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 1, 2, 3, 4, 5, 7, 16
_UNITS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8, 129: 1}
_SWAPPED = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}

EXIF, GPS, INTEROP = 34665, 34853, 40965
ORIENTATION, MAKER_NOTE = 274, 37500
_POINTERS = frozenset((EXIF, GPS, INTEROP))
_MOST_LEVELS = 3

STORAGE = frozenset(
    (
        *(*range(254, 269), *range(273, 282), 284, *range(288, 294), 301, *range(317, 348), *range(512, 533)),
        *(700, 33723, 34377, 34675, 37724),
    )
)
"""Tags that are not true of, or not kept in, a new file: how a TIFF is laid out (sizes, strips, compression, orientation),
what has a place of its own (XMP, ICC), and what is not carried over (IPTC, Photoshop's: the reader says so)."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A value: its TIFF type, how many units, and their bytes, lowest first."""

    kind: int
    count: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Directory:
    """`tags` by number; `parts`: further directories by the number of the tag that points to them."""

    tags: dict[int, Tag] = field(default_factory=dict[int, Tag])
    parts: "dict[int, Directory]" = field(default_factory=lambda: {})

    def merged(self, tags: Mapping[int, Tag]) -> "Directory":
        return Directory({**self.tags, **tags}, self.parts)


def shorts(*values: int) -> Tag:
    return Tag(SHORT, len(values), struct.pack(f"<{len(values)}H", *values))


def longs(*values: int) -> Tag:
    """Whole numbers; of 64 bits only where one needs it."""
    wide = max(values) > 0xFFFFFFFF
    return Tag(LONG8 if wide else LONG, len(values), struct.pack(f"<{len(values)}{'Q' if wide else 'I'}", *values))


def rational(value: float) -> Tag:
    """A positive number, to about six digits."""
    scale = 10000 if value < 400000 else 1
    return Tag(RATIONAL, 1, struct.pack("<II", round(value * scale), scale))


def number_in(directory: Directory, number: int) -> float | None:
    """The first value of a tag of whole numbers or fractions; None where there is none."""
    tag = directory.tags.get(number)
    match tag:
        case Tag(3, _, data):
            return float(struct.unpack_from("<H", data)[0])
        case Tag(4, _, data):
            return float(struct.unpack_from("<I", data)[0])
        case Tag(5, _, data):
            above, below = struct.unpack_from("<II", data)
            return above / below if below else None
        case _:
            return None


def octets(data: bytes, kind: int = UNDEFINED) -> Tag:
    return Tag(kind, len(data), data)


def parse_exif(data: bytes) -> Directory:
    """The first directory of EXIF bytes, with those it points to; a thumbnail's is left out. Raises ValueError."""
    return _parsed(data.removeprefix(b"Exif\0\0"), ())


def parse_tiff(path: Path, skipped: Collection[int]) -> Directory:
    """The same of a TIFF or BigTIFF file, without the tags in `skipped`. Raises ValueError, and OSError."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as body:
        return _parsed(body, skipped)


def _parsed(body: bytes | mmap.mmap, skipped: Collection[int]) -> Directory:
    order = {b"II": "<", b"MM": ">"}.get(body[:2])
    if order is None or len(body) < 8:
        raise ValueError("no TIFF tags")
    try:
        (version,) = struct.unpack_from(order + "H", body, 2)
        form = _FORMS.get(version)
        if form is None:
            raise ValueError("no TIFF tags")
        (start,) = struct.unpack_from(order + form.offset, body, form.first)
        return _directory(body, start, order, form, skipped, 1)
    except (struct.error, OverflowError) as error:
        raise ValueError("TIFF tags cut off") from error


@dataclass(frozen=True, slots=True)
class _Form:
    """How a directory lies in a file: where its offset stands, and struct's letters for its counts and offsets."""

    first: int
    count: str
    units: str
    offset: str
    inline: int


_FORMS = {42: _Form(4, "H", "I", "I", 4), 43: _Form(8, "Q", "Q", "Q", 8)}


def _directory(
    body: bytes | mmap.mmap, start: int, order: str, form: _Form, skipped: Collection[int], level: int
) -> Directory:
    directory = Directory()
    (count,) = struct.unpack_from(order + form.count, body, start)
    head = order + "HH" + form.units
    step = struct.calcsize(head) + form.inline
    first = start + struct.calcsize(order + form.count)
    for place in range(first, first + step * count, step):
        number, kind, units = struct.unpack_from(head, body, place)
        at, length = place + struct.calcsize(head), units * _UNITS.get(kind, 0)
        if number in _POINTERS:
            if level < _MOST_LEVELS:
                (value,) = struct.unpack_from(order + form.offset, body, at)
                directory.parts[number] = _directory(body, value, order, form, skipped, level + 1)
        elif length and number not in skipped:
            if length > form.inline:
                (at,) = struct.unpack_from(order + form.offset, body, at)
            raw = bytes(body[at : at + length])
            if len(raw) < length:
                raise ValueError("TIFF tags cut off")
            directory.tags[number] = Tag(kind, units, _lowest_first(raw, kind, order))
    return directory


def has_maker_note(directory: Directory) -> bool:
    """A camera maker's own notes, whose format nobody else knows: they count their offsets from the start of the EXIF."""
    return EXIF in directory.parts and MAKER_NOTE in directory.parts[EXIF].tags


def patched(data: bytes, values: Mapping[int, float]) -> bytes:
    """EXIF bytes with other numbers in tags that are there (whole ones, and fractions), and without the link to the thumbnail;
    all else stays at its place and in its byte order. Raises ValueError, struct.error."""
    prefix = b"Exif\0\0" if data.startswith(b"Exif\0\0") else b""
    body = bytearray(data[len(prefix) :])
    order = "<" if body.startswith(b"II") else ">"
    (start,) = struct.unpack_from(order + "I", body, 4)
    end = _patch(body, start, order, values)
    struct.pack_into(order + "I", body, end, 0)
    return prefix + bytes(body)


def _patch(body: bytearray, start: int, order: str, values: Mapping[int, float]) -> int:
    """Of one directory and the camera's within it; gives the place of the link to the next one."""
    (count,) = struct.unpack_from(order + "H", body, start)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        number, kind, _, inside = struct.unpack_from(order + "HHII", body, place)
        if number == EXIF:
            _patch(body, inside, order, values)
        match kind if number in values else None:
            case 3:
                struct.pack_into(order + "H", body, place + 8, min(round(values[number]), 0xFFFF))
            case 4:
                struct.pack_into(order + "I", body, place + 8, round(values[number]))
            case 5:
                struct.pack_into(order + "II", body, inside, round(values[number] * 10000), 10000)
            case _:
                pass
    return start + 2 + 12 * count


def _lowest_first(raw: bytes, kind: int, order: str) -> bytes:
    size = _SWAPPED.get(kind)
    if order == "<" or size is None:
        return raw
    return np.frombuffer(raw, f">u{size}").astype(f"<u{size}").tobytes()


def exif_bytes(directory: Directory) -> bytes:
    """EXIF as files carry it, with its prefix."""
    return b"Exif\0\0II*\0\x08\0\0\0" + serialized(directory, 8)


def serialized(directory: Directory, start: int, big: bool = False) -> bytes:
    """A directory and all that it points to, as it stands at the offset `start` of a file; `start` is even."""
    numbers = sorted((*directory.tags, *directory.parts))
    head, entry, inline = ("<Q", "<HHQ", 8) if big else ("<H", "<HHI", 4)
    size = struct.calcsize(head) + len(numbers) * (struct.calcsize(entry) + inline) + inline
    table, beyond = struct.pack(head, len(numbers)), b""
    for number in numbers:
        end = start + size + len(beyond)
        if number in directory.parts:
            tag = longs(end) if not big else Tag(LONG8, 1, struct.pack("<Q", end))
            beyond += serialized(directory.parts[number], end, big)
        else:
            tag = directory.tags[number]
        data = tag.data
        if len(data) > inline:
            beyond += data + bytes(len(data) % 2)
            data = struct.pack("<Q" if big else "<I", end)
        table += struct.pack(entry, number, tag.kind, tag.count) + data.ljust(inline, b"\0")
    return table + bytes(inline) + beyond
