"""Any picture into any file: what will be lost is said before the work, and only what was checked gets its name."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

from upscale.errors import OutputError
from upscale.files import replacing
from upscale.image import Animation, Band, Header
from upscale.media.formats import AVIF, BMP, GIF, PNG, PPM, TIFF, Format
from upscale.media.writing.animate import write_animation
from upscale.media.writing.check import STREAMED_UP_TO, check
from upscale.media.writing.fitting import Encoding, planned
from upscale.media.writing.gif import write_gif
from upscale.media.writing.icc import to_srgb
from upscale.media.writing.layout import Content, Inflow, Pixels
from upscale.media.writing.plain import BMP_END, bmp_bytes, write_bmp, write_ppm
from upscale.media.writing.png import write_png
from upscale.media.writing.tiff import write_tiff
from upscale.media.writing.whole import write_whole

_BYTES_PER_PIXEL = {
    "JPEG": (8, 8, 8),
    "WebP": (20, 50, 50),
    "AVIF": (50, 55, 55),
    "JPEG 2000": (55, 70, 75),
    "GIF": (35, 35, 35),
    "HEIC": (36, 60, 95),
    "JPEG XL": (55, 65, 65),
}
"""Peaks measured with 12-megapixel photographs, and a reserve: opaque, with alpha or without loss, with 16 bits."""
_MOVING = {"WebP": (75, 2, 1 << 16), "AVIF": (90, 8, 48)}
"""The same for animations: for a picture, for each frame, and up to how many frames this adds up."""
_STREAMED = 32 << 20
_BANDS = 512
"""Rows of a streamed picture that are in memory at once: bands of 64, in up to eight forms."""
_AVIF_AREA = 16384 * 16384
"""libavif, and so every browser, reads no more."""
_EXTRAS = {"heic": "pillow_heif", "jxl": "pillow_jxl"}


def losses(header: Header, animation: Animation | None, encoding: Encoding) -> list[str]:
    """What the format cannot hold of such a picture, a line each. `header` and `animation` describe the result."""
    return planned(header, animation, encoding)[1]


def bytes_needed(header: Header, animation: Animation | None, encoding: Encoding) -> int:
    """Memory that writing takes, in bytes. Raises OutputError where the format cannot hold such a size, or where what
    writes it is not installed."""
    format_ = encoding.format
    content, _ = planned(header, animation, encoding)
    _require_extra(format_)
    _require_size(content, format_)
    pixels = header.width * header.height
    if format_.streamed:
        whole = 5 * pixels * content.layout.bytes_per_pixel if content.animation is not None else 0
        return _STREAMED + _BANDS * content.row_bytes + max(whole, 4 * min(pixels, STREAMED_UP_TO))
    return _STREAMED + pixels * _each(content, format_)


def _each(content: Content, format_: Format) -> int:
    """Bytes for each pixel of a format that is written in one piece."""
    if content.animation is not None and format_.name in _MOVING:
        picture, frame, most = _MOVING[format_.name]
        return picture + frame * min(most, len(content.animation.durations))
    heavy = 2 if content.layout.depth == 16 else 1 if content.layout.alpha or content.quality == 100 else 0
    return _BYTES_PER_PIXEL[format_.name][heavy]


def _require_extra(format_: Format) -> None:
    if format_.extra is not None and find_spec(_EXTRAS[format_.extra]) is None:
        raise OutputError(f"{format_.name} needs an extra: pip install 'upscale[{format_.extra}]', or use .png")


def _require_size(content: Content, format_: Format) -> None:
    size, most = f"{content.width}×{content.height}", format_.largest_side
    if most is not None and max(content.width, content.height) > most:
        raise OutputError(f"{format_.name} holds at most {most} pixels a side, not {size}; use .png or .tif")
    if format_ is AVIF and content.width * content.height > _AVIF_AREA:
        raise OutputError(f"{format_.name} holds at most {_AVIF_AREA:,} pixels, not {size}; use .png or .tif")
    if format_ is BMP and bmp_bytes(content) >= BMP_END:
        raise OutputError(f"{format_.name} holds at most 4 GB, not {size}; use .png or .tif")


def save(
    path: Path, header: Header, animation: Animation | None, encoding: Encoding, frames: Iterator[Iterator[Band]]
) -> None:
    """Writes a file of `frames`, each the bands of one picture from the top: one, or as many as `animation` has
    durations if the format can move. `header` describes the result.

    Under a temporary name beside `path` and with its folder made if need be; takes its name when it has been read again
    and found right. Raises OutputError; what fails in `frames` passes through. Either way nothing is left behind.
    """
    try:
        bytes_needed(header, animation, encoding)
    except OutputError as error:
        raise OutputError(f"{path}: {error}") from None
    content = replace(planned(header, animation, encoding)[0], suffix=path.suffix.lower())
    inflow = Inflow(path, header, content.layout, frames)
    wanted = 1 if content.animation is None else len(content.animation.durations)
    content, recolor = _recoloring(encoding.format, content)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            with temporary.open("wb") as file:
                _write(file, encoding.format, content, (map(recolor, frame) for frame in inflow.take(wanted)))
            check(path, temporary, encoding.format, content)
    except Exception as error:
        if error is inflow.raised or isinstance(error, OutputError):
            raise
        raise _explained(path, error) from error


def _explained(path: Path, error: Exception) -> Exception:
    """Encoders raise what they like; a full disk or a read-only folder comes as OSError."""
    if isinstance(error, OSError):
        return OutputError(f"{path}: cannot be written ({error.strerror or error})")
    if isinstance(error, (ValueError, RuntimeError, OverflowError, MemoryError)):
        cause = " ".join(str(error).split())[:150] or type(error).__name__
        return OutputError(f"{path}: could not be encoded ({cause}); use -o with .png or .tif")
    return error


def _recoloring(format_: Format, content: Content) -> tuple[Content, Callable[[Pixels], Pixels]]:
    """For a format that holds no profile: without it, and what makes rows sRGB."""
    if content.icc is None or format_.icc:
        return content, lambda rows: rows
    return replace(content, icc=None), to_srgb(content.icc)


def _write(file: BinaryIO, format_: Format, content: Content, frames: Iterator[Iterator[Pixels]]) -> None:
    own: dict[str, Callable[[BinaryIO, Content, Iterator[Iterator[Pixels]]], None]] = {
        PNG.name: write_png,
        TIFF.name: write_tiff,
        PPM.name: write_ppm,
        BMP.name: write_bmp,
        GIF.name: write_gif,
    }
    if format_.name in own:
        own[format_.name](file, content, frames)
    elif content.animation is not None and len(content.animation.durations) > 1:
        write_animation(file, format_, content, frames)
    else:
        write_whole(file, format_, content, frames)


__all__ = ["Encoding", "bytes_needed", "losses", "save"]
