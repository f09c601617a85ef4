"""What every reader shares: the limits it keeps to, the faults it explains, and the opened file that it returns."""

import contextlib
import logging
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import cv2
import numpy as np
from PIL import Image as Pil
from PIL import UnidentifiedImageError

from upscale.errors import PictureError
from upscale.image import Animation, Array, Band, Header, Image, Picture, joined
from upscale.media.formats import MAX_PIXELS
from upscale.media.metadata import upright

_T = TypeVar("_T")
_logging: Any = cv2.utils.logging

_MOVING = 20
"""An animation may have so many times more pixels in all than one picture: its frames are never in memory together."""
_MOST_NAMED = 6
MAX_CHUNK = 64 << 20
"""Bytes that a compressed profile or text may have when inflated; more is no metadata but a bomb."""


class RefusedError(Exception):
    """Why a file is not read and what to do; the file's name is put before it by `explained`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`pixels` of a picture that are allowed, None for any number; `band`: bytes of decoded rows read in one go."""

    pixels: int | None = MAX_PIXELS
    band: int = 4 << 20

    def check(self, width: int, height: int, frames: int = 1) -> None:
        """By what a file announces, before anything is decoded. Raises RefusedError."""
        if width < 1 or height < 1:
            raise ValueError(f"a size of {width}×{height}")
        most = self.pixels
        if most is None or (width * height <= most and width * height * frames <= most * _MOVING):
            return
        size = f"{width}×{height}" + (f" in {frames:,} frames" if frames > 1 else "")
        allowed = most if width * height > most else most * _MOVING
        raise RefusedError(f"{size} is more than {allowed:,} pixels; if it is meant, use --allow-huge")

    def rows(self, row_bytes: int) -> int:
        return max(1, self.band // max(1, row_bytes))


@dataclass(frozen=True, slots=True, eq=False)
class FilePicture:
    """A picture still in its file: `read` starts from the top at each call."""

    header: Header
    read: Callable[[], Iterator[Band]]

    def bands(self) -> Iterator[Band]:
        return self.read()


@dataclass(slots=True, eq=False)
class Opened:
    """A `Source`. Holds no open file: every picture opens it anew, so that it can be read more than once."""

    header: Header
    read: Callable[[], Iterator[Picture]]
    animation: Animation | None
    warnings: list[str]

    def pictures(self) -> Iterator[Picture]:
        return self.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def still(header: Header, read: Callable[[], Iterator[Band]], warnings: Iterable[str] = ()) -> Opened:
    return Opened(header, lambda: iter([FilePicture(header, read)]), None, list(warnings))


def moving(
    header: Header, animation: Animation, read: Callable[[], Iterator[Band]], warnings: Iterable[str] = ()
) -> Opened:
    """`read` gives one whole frame after the other."""

    def pictures() -> Iterator[Picture]:
        count = 0
        for frame in read():
            _as_announced(header, frame, header.height - frame.rgb.shape[0])
            yield Image(frame.rgb, frame.alpha, header.color, header.metadata)
            count += 1
        if count != len(animation.durations):
            raise ValueError(f"{count} of {len(animation.durations)} frames")

    return Opened(header, pictures, animation, list(warnings))


def not_carried(names: Iterable[str]) -> list[str]:
    """The line that tells what a file holds beside its picture and goes nowhere; none where there is nothing."""
    told = list(dict.fromkeys(names))
    if not told:
        return []
    more = f" and {len(told) - _MOST_NAMED} more" if len(told) > _MOST_NAMED else ""
    return [f"not carried over: {', '.join(told[:_MOST_NAMED])}{more}"]


def guarded(path: Path, source: Opened) -> Opened:
    """The same, but every fault while reading is a PictureError, and what comes is what the header announced."""

    def pictures() -> Iterator[Picture]:
        for picture in _explained_items(path, source.pictures):
            if isinstance(picture, Image):
                yield picture
            else:
                yield FilePicture(picture.header, lambda picture=picture: _explained_items(path, _checked(picture)))

    return Opened(source.header, pictures, source.animation, source.warnings)


def _checked(picture: Picture) -> Callable[[], Iterator[Band]]:
    def bands() -> Iterator[Band]:
        left = picture.header.height
        for band in picture.bands():
            left -= band.rgb.shape[0]
            _as_announced(picture.header, band, left)
            yield band
        if left:
            raise ValueError(f"{left} rows are missing")

    return bands


def _as_announced(header: Header, band: Band, left: int) -> None:
    found = (band.rgb.shape[1:], band.rgb.dtype, band.alpha is not None, left >= 0)
    if found != ((header.width, 3), header.dtype, header.alpha, True):
        raise ValueError("the pixels are not what the file announces")


def _explained_items(path: Path, start: Callable[[], Iterator[_T]]) -> Iterator[_T]:
    """The items; between them nothing global is changed, however long the caller takes."""
    with explained(path):
        items = start()
    while True:
        with explained(path):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


@contextlib.contextmanager
def explained(path: Path) -> Generator[None]:
    """Turns whatever a decoder raises into one line that names the file and a remedy, and keeps libraries quiet.

    Any exception is taken: for hostile bytes the decoders raise nearly every type there is.
    """
    try:
        with _quiet():
            yield
    except PictureError:
        raise
    except RefusedError as refused:
        raise PictureError(f"{path}: {refused}") from refused
    except MemoryError as error:
        raise PictureError(f"{path}: too large for the memory of this machine; cut it into parts") from error
    except OSError as error:
        if error.errno is not None and not isinstance(error, UnidentifiedImageError):
            raise PictureError(f"{path}: cannot be read ({error.strerror})") from error
        raise _damaged(path, error) from error
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> PictureError:
    cause = " ".join(str(error).split())[:100] or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        cause = "its beginning cannot be understood"
    return PictureError(f"{path}: damaged or cut off ({cause}); copy or download it again")


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Libraries warn of odd but readable files, and refuse large ones by rules of their own: neither is wanted here."""
    level, logger = _logging.getLogLevel(), logging.getLogger("tifffile")
    disabled, most = logger.disabled, Pil.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _logging.setLogLevel(0)
            logger.disabled, Pil.MAX_IMAGE_PIXELS = True, None
            yield
        finally:
            _logging.setLogLevel(level)
            logger.disabled, Pil.MAX_IMAGE_PIXELS = disabled, most


def band_of(pixels: Array) -> Band:
    """(n, w) or (n, w, 1..4) pixels, gray, gray+alpha, RGB or RGBA, as a band."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    channels = pixels.shape[2]
    rgb = np.repeat(pixels[..., :1], 3, axis=2) if channels < 3 else np.ascontiguousarray(pixels[..., :3])
    return Band(rgb, np.ascontiguousarray(pixels[..., -1]) if channels in (2, 4) else None)


def turned(bands: Iterator[Band], orientation: int) -> Iterator[Band]:
    """The bands of the upright picture: as they come, or whole where it must be turned."""
    if orientation not in range(2, 9):
        yield from bands
        return
    whole = joined(list(bands))
    yield Band(upright(whole.rgb, orientation), None if whole.alpha is None else upright(whole.alpha, orientation))


def gathered(bands: Iterator[Band], rows: int) -> Iterator[Band]:
    """The same rows in bands of at least so many (but the last): a file's own may be of one row each."""
    parts: list[Band] = []
    count = 0
    for band in bands:
        parts.append(band)
        count += len(band.rgb)
        if count >= rows:
            yield joined(parts)
            parts, count = [], 0
    if parts:
        yield joined(parts)


def widened(samples: Array, bits: int) -> Array:
    """Integers of `bits` bits, 1 to 16, over the full range of uint8 (up to 8 bits) or uint16; rounded."""
    dtype, full = (np.uint8, 255) if bits <= 8 else (np.uint16, 65535)
    if bits in (8, 16):
        return samples.astype(dtype, copy=False)
    levels = np.rint(np.arange(1 << bits) * (full / ((1 << bits) - 1))).astype(dtype)
    return levels[samples]


def is_gray(palette: bytes) -> bool:
    """Whether all its colors, three bytes each, are gray."""
    return palette[0::3] == palette[1::3] == palette[2::3]


def straight(colors: Array, alpha: Array) -> Array:
    """(H, W, c) colors without the (H, W, 1) alpha that they were multiplied with; rounded, and clipped to full."""
    full = np.iinfo(colors.dtype).max
    return np.rint(np.minimum(colors.astype(np.float32) * full / np.maximum(alpha, 1), full)).astype(colors.dtype)
