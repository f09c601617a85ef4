"""Folders of pictures: what is there, what can be used, and pixels on demand."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from upscale.errors import PictureError
from upscale.image import from_float, joined, to_float
from upscale.media.formats import BY_SUFFIX
from upscale.media.listing import pictures as listed
from upscale.media.reading.decode import open_file
from upscale_training.errors import DataError

Pixels = npt.NDArray[Any]
"""(H, W, 3) RGB, uint8 or uint16."""

CACHE_BYTES = 1 << 30
"""How much of decoded pictures a process keeps."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture that can be used: its sides in pixels as it is meant to be seen (upright)."""

    path: Path
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Bad:
    """A picture that cannot be used, and why, in one line that names it."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What some folders hold, in the order of the paths."""

    entries: tuple[Entry, ...]
    bad: tuple[Bad, ...]

    @property
    def pixels(self) -> int:
        return sum(entry.width * entry.height for entry in self.entries)

    def digest(self) -> str:
        """A sha256 over names and sizes: a resumed run must see the same pictures in the same order."""
        whole = hashlib.sha256()
        for entry in self.entries:
            whole.update(f"{entry.path.name}\0{entry.width}\0{entry.height}\n".encode("utf-8", "surrogatepass"))
        return whole.hexdigest()


def list_pictures(places: Iterable[Path], smallest: int) -> Listing:
    """Every still picture in `places` (files and folders, with their subfolders) whose sides are `smallest` pixels at least.

    Raises DataError where a place does not exist or nothing usable is found.
    """
    entries, bad = list[Entry](), list[Bad]()
    places = list(places)
    for path in sorted({path for place in places for path in _paths(place)}):
        entry = _looked_at(path, smallest)
        (entries if isinstance(entry, Entry) else bad).append(entry)  # pyright: ignore[reportArgumentType]
    if not entries:
        why = f"; the first of {len(bad)} unusable ones: {bad[0].reason}" if bad else ""
        raise DataError(f"{', '.join(map(str, places))}: no picture of at least {smallest}×{smallest} pixels{why}")
    return Listing(tuple(entries), tuple(bad))


def read_picture(path: Path) -> Pixels:
    """The picture, or the first one of an animation: (H, W, 3) RGB, uint8 or uint16, upright. Raises DataError.

    Transparent pixels keep the color that the file holds; floats become 16 bits.
    """
    try:
        with open_file(path) as source:
            pixels = joined(list(next(source.pictures()).bands())).rgb
    except PictureError as error:
        raise DataError(str(error)) from error
    return pixels if pixels.dtype.name in ("uint8", "uint16") else from_float(to_float(pixels), np.uint16)


class Reader:
    """Reads pictures and keeps the latest ones decoded, `capacity` bytes of them at most."""

    def __init__(self, capacity: int = CACHE_BYTES) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[Path, Pixels] = OrderedDict()
        self._bytes = 0

    def read(self, path: Path) -> Pixels:
        """As `read_picture`."""
        if path in self._kept:
            self._kept.move_to_end(path)
            return self._kept[path]
        pixels = read_picture(path)
        self._kept[path] = pixels
        self._bytes += pixels.nbytes
        while self._bytes > self._capacity and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return pixels


def _paths(place: Path) -> Iterator[Path]:
    if not place.exists():
        raise DataError(f"{place}: no such file or folder; check the name")
    if place.is_file():
        yield place
        return
    for path, error in listed(place, place, recursive=True):
        if error is not None:
            raise DataError(str(error))
        if path.suffix.lower() in BY_SUFFIX:
            yield path


def _looked_at(path: Path, smallest: int) -> Entry | Bad:
    try:
        with open_file(path) as source:
            width, height = source.header.width, source.header.height
    except PictureError as error:
        return Bad(path, str(error))
    if min(width, height) < smallest:
        return Bad(path, f"{path}: {width}×{height} is smaller than a crop of {smallest}×{smallest}; left out")
    return Entry(path, width, height)
