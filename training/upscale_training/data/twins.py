"""Twins: pictures that are the same as another one, as the same file or in another size or format. For that, all pictures of
a folder are looked at, which also finds those that cannot be decoded and those without color.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from upscale.image import from_float, to_float
from upscale_training.data.pictures import Entry, read_picture
from upscale_training.errors import DataError

BITS_APART, LEVELS_APART = 40, 6.0
"""Twins differ in no more of 256 bits and, on the mean, levels of their 17×16 thumbnails."""

_WIDE, _HIGH = 17, 16
_GRAY_LEVELS = 3
_JPEG = b"\xff\xd8"


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A picture at a glance: gray (16, 17) in 0..255, whether it has no color, and 256 bits of what is brighter than its left
    neighbor (dHash, Krawetz 2013), which survive another size and another file format."""

    thumb: npt.NDArray[np.float32]
    gray: bool
    bits: npt.NDArray[np.uint8]


def twins(train: Mapping[Entry, Look], held_out: Mapping[Entry, Look]) -> dict[Entry, Entry]:
    """Training pictures that are also held out, as the same file or in another size or format → the held-out one."""
    if not train or not held_out:
        return {}
    found: dict[Entry, Entry] = {}
    entries, ours = list(train), list(train.values())
    bits, thumbs = np.stack([look.bits for look in ours]), np.stack([look.thumb for look in ours])
    for entry, look in held_out.items():
        apart = np.bitwise_count(bits ^ look.bits).sum(axis=1, dtype=np.int64)
        levels = np.abs(thumbs - look.thumb).mean(axis=(1, 2))
        near = np.flatnonzero((apart <= BITS_APART) & (levels <= LEVELS_APART))
        found |= {entries[index]: entry for index in near.tolist()}
    return found | _identical(train, held_out)


def looks(entries: Sequence[Entry]) -> dict[Entry, Look | str]:
    """`look_at` for all pictures."""
    with ThreadPoolExecutor() as pool:  # OpenCV decodes without Python's lock
        return dict(zip(entries, pool.map(look_at, entries), strict=True))


def look_at(entry: Entry) -> Look | str:
    """Decoded as small as the format allows; or why it cannot be, from the reader that the training uses."""
    try:
        pixels = _decoded(entry)
    except (OSError, cv2.error, DataError) as error:
        return str(error) if isinstance(error, DataError) else f"{entry.path}: cannot be read ({error})"
    if min(pixels.shape[:2]) > 8 * _WIDE:
        pixels = cv2.resize(pixels, (8 * _WIDE, 8 * _HIGH), interpolation=cv2.INTER_AREA)
    gray = bool(np.ptp(np.asarray(pixels, np.int16), axis=2).max() <= _GRAY_LEVELS)
    small = cv2.resize(np.asarray(pixels, np.float32), (_WIDE, _HIGH), interpolation=cv2.INTER_AREA)
    thumb = np.asarray(small @ np.array([0.114, 0.587, 0.299], np.float32), np.float32)
    return Look(thumb, gray, np.packbits(thumb[:, 1:] > thumb[:, :-1]))


def _decoded(entry: Entry) -> npt.NDArray[np.uint8]:
    """(H, W, 3) BGR, of a JPEG perhaps smaller."""
    data = entry.path.read_bytes()
    flag = _reduction(entry.width, entry.height) if data.startswith(_JPEG) else cv2.IMREAD_COLOR
    pixels = None if _cut_short(data) else cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    if pixels is None:
        pixels = np.ascontiguousarray(from_float(to_float(read_picture(entry.path)), np.uint8)[..., ::-1])
    return np.asarray(pixels, np.uint8)


def _reduction(width: int, height: int) -> int:
    """OpenCV's flag for the strongest reduction that leaves two pixels for each of the thumbnail's. For JPEG alone, where it is
    a mean; of other formats OpenCV decodes all and takes single pixels."""
    flags = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
    return next((flag for by, flag in flags.items() if min(width, height) // by >= 2 * _WIDE), cv2.IMREAD_COLOR)


def _cut_short(data: bytes) -> bool:
    """Whether a JPEG, PNG or WebP lacks its end: OpenCV may fill up what is missing without a word."""
    if data.startswith(_JPEG):
        return b"\xff\xd9" not in data[-64:]
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-64:]
    return data.startswith(b"RIFF") and int.from_bytes(data[4:8], "little") + 8 > len(data)


def _identical(train: Iterable[Entry], held_out: Iterable[Entry]) -> dict[Entry, Entry]:
    """By size in bytes first, then by sha256."""
    sizes: dict[int, list[Entry]] = {}
    for entry in held_out:
        sizes.setdefault(entry.path.stat().st_size, []).append(entry)
    found: dict[Entry, Entry] = {}
    for entry in train:
        for other in sizes.get(entry.path.stat().st_size, []):
            if _sha256(entry.path) == _sha256(other.path):
                found[entry] = other
    return found


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
