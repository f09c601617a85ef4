"""A file as a decoding process shows it: what is asked of the process, and the two kinds of `Source` that come of it."""

import contextlib
import os
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from upscale.errors import PictureError
from upscale.image import Animation, Band, Header, Image, Picture
from upscale.media.isolated.child import COMMAND, Child
from upscale.media.isolated.wire import Opened, WireError, number_of, understood

_SECONDS_PER_MEGAPIXEL = 1.0
_MEMORY_TO_OPEN = 4 << 30
"""Opening a JPEG XL is decoding it, before its size is known: enough for 250 megapixels."""

_MEMORY_TO_READ = 512 << 20
_MEMORY_PER_BYTE = 16
"""Twice what WebP takes, which is the most hungry: 7 times the picture, and JPEG 2000 6 times."""

_MEMORY_PER_PROCESSOR = 10 << 20
"""Some decoders start as many threads as there are processors, each with a stack."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What one file may take, and how the process is started.

    `max_pixels`: see decode.py. `seconds`: for one answer, and one more for each megapixel. `memory`: bytes, in place of
    what the announced size suggests. `command` is for tests.
    """

    max_pixels: int | None = None
    seconds: float = 60.0
    memory: int | None = None
    command: Sequence[str] = COMMAND

    def to_open(self) -> dict[str, Any]:
        memory = self.memory or _MEMORY_TO_OPEN + _for_threads()
        return {"max_pixels": self.max_pixels, "seconds": self.seconds, "memory": memory}

    def to_read(self, opened: Opened) -> dict[str, Any]:
        memory = self.memory or _MEMORY_TO_READ + _MEMORY_PER_BYTE * opened.frame_bytes + _for_threads()
        megapixels = opened.header.width * opened.header.height / 1e6
        return {"seconds": self.seconds + _SECONDS_PER_MEGAPIXEL * megapixels, "memory": memory}


@dataclass(slots=True)
class Held:
    """A `Source` that is whole in memory."""

    header: Header
    animation: Animation | None
    warnings: list[str]
    images: list[Image]

    def pictures(self) -> Iterator[Picture]:
        return iter(self.images)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Streamed:
    """A `Source` whose rows come from a process of its own. A frame of an animation is whole in memory when it comes."""

    def __init__(self, path: Path, opened: Opened, child: Child, policy: Policy) -> None:
        self.header, self.animation, self.warnings = opened.header, opened.animation, opened.warnings
        self._path, self._opened, self._policy = path, opened, policy
        self._first: Child | None = child
        self._children = [child]
        self._is_closed = False

    def pictures(self) -> Iterator[Picture]:
        if self.animation is None:
            yield _Rows(self)
            return
        with contextlib.closing(self.bands()) as bands:
            for _ in self.animation.durations:
                yield _whole(self.header, bands)
            next(bands, None)  # hears of the end

    def bands(self) -> Generator[Band]:
        """All rows of all frames, from the top: the first time from the process that opened the file, then from new ones."""
        child = self._begin()
        try:
            yield from bands_of(child, self._path, self._opened, self._policy)
        finally:
            child.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closed = True
        for child in self._children:
            child.end()

    def _begin(self) -> Child:
        """A process that has opened the file and waits."""
        if self._is_closed:
            raise ValueError(f"{self._path} is closed")
        child, self._first = self._first, None
        if child is not None:
            return child
        child = living(None, self._path, self._policy)
        self._children.append(child)
        opened = open_in(child, self._path, self._policy)
        if (opened.header, opened.animation) != (self.header, self.animation):
            child.end()
            raise PictureError(f"{self._path}: was changed while it was read; try again")
        return child


@dataclass(frozen=True, slots=True)
class _Rows:
    """The one large picture of a file."""

    source: Streamed

    @property
    def header(self) -> Header:
        return self.source.header

    def bands(self) -> Iterator[Band]:
        return self.source.bands()


def living(child: Child | None, path: Path, policy: Policy) -> Child:
    """The child, or a new one where it is dead. Raises PictureError."""
    if child is not None:
        if child.is_alive:
            return child
        child.end()
    try:
        return Child(policy.command)
    except OSError as error:
        raise PictureError(f"{path}: no process to decode it can be started ({error.strerror})") from error


def open_in(child: Child, path: Path, policy: Policy) -> Opened:
    """Makes the child open a file; it then waits for `read`."""
    limits = policy.to_open()
    child.request(path, {"open": str(path), "folder": _folder(), **limits})
    message = child.answer(path, limits["seconds"])
    with _understanding(child, path):
        opened = understood(message)
        most = policy.max_pixels
        if most is not None and opened.header.width * opened.header.height > most:
            raise WireError("too many pixels")
    return opened


def bands_of(child: Child, path: Path, opened: Opened, policy: Policy) -> Generator[Band]:
    """All rows of all frames of a file that the child has opened. Raises PictureError."""
    limits, header = policy.to_read(opened), opened.header
    seconds = limits["seconds"]
    child.request(path, {"read": True, **limits})
    for _ in range(opened.frames):
        missing = header.height
        while missing:
            message = child.answer(path, seconds)
            with _understanding(child, path):
                rows = number_of(message, "rows", 1, missing)
            band = _empty(header, rows)
            child.pixels(path, seconds, *([band.rgb] if band.alpha is None else [band.rgb, band.alpha]))
            yield band
            missing -= rows
    message = child.answer(path, seconds)
    if "end" not in message.fields:
        raise child.malformed(path, "more rows than announced")


def images_of(child: Child, path: Path, opened: Opened, policy: Policy) -> list[Image]:
    """All frames of a file that the child has opened; it is free after that. Raises PictureError."""
    with contextlib.closing(bands_of(child, path, opened, policy)) as bands:
        images = [_whole(opened.header, bands) for _ in range(opened.frames)]
        next(bands, None)  # hears of the end
    return images


def _whole(header: Header, bands: Iterator[Band]) -> Image:
    """The next header.height rows as a picture."""
    whole, done = _empty(header, header.height), 0
    while done < header.height:
        band = next(bands)
        rows = slice(done, done + len(band.rgb))
        whole.rgb[rows] = band.rgb
        if whole.alpha is not None and band.alpha is not None:
            whole.alpha[rows] = band.alpha
        done += len(band.rgb)
    return Image(whole.rgb, whole.alpha, header.color, header.metadata)


def _empty(header: Header, rows: int) -> Band:
    rgb = np.empty((rows, header.width, 3), header.dtype)
    return Band(rgb, np.empty((rows, header.width), header.dtype) if header.alpha else None)


@contextlib.contextmanager
def _understanding(child: Child, path: Path) -> Generator[None]:
    try:
        yield
    except WireError as error:
        raise child.malformed(path, str(error)) from error


def _folder() -> str | None:
    """Where relative names begin; None where that folder is gone."""
    with contextlib.suppress(OSError):
        return str(Path.cwd())
    return None


def _for_threads() -> int:
    return _MEMORY_PER_PROCESSOR * (os.cpu_count() or 1)
