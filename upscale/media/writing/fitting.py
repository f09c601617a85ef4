"""What of a picture fits into a format, and what does not: planned before any work, told in one line each."""

from dataclasses import dataclass

import numpy as np

from upscale.errors import OutputError
from upscale.image import Animation, Color, Header
from upscale.media.formats import AVIF, GIF, HEIC, JPEG_2000, JPEG_XL, PNG, WEBP, Format
from upscale.media.writing.icc import for_channels, gray_profile_of, is_srgb, rgb_profile, told_by_chunks
from upscale.media.writing.layout import Content, Layout
from upscale.media.writing.metadata import fitting

WHITE = (255, 255, 255)

_LEAST_DEEP_JPEG_2000 = 32
"""OpenCV, which writes those of 16 bits, always halves five times."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a picture is to be written.

    `quality`: 0 to 100, None for the format's own. 100 is without loss in WebP and JPEG XL and as near to it as the
    format goes in JPEG, AVIF and HEIC; PNG, TIFF, BMP, PPM and JPEG 2000 are always without loss and ignore it.
    `background`: 8-bit RGB that lost transparency is put on, in the picture's own encoding; None for white.
    """

    format: Format
    quality: int | None = None
    background: tuple[int, int, int] | None = None


def planned(header: Header, animation: Animation | None, encoding: Encoding) -> tuple[Content, list[str]]:
    """What goes into the file beside the pixels and how these are laid out, and a line about each loss.

    `header` and `animation` describe the result. Raises OutputError for a quality that does not exist.
    """
    lost: list[str] = []
    format_ = encoding.format
    layout = _layout(header, encoding, lost)
    moving = _moving(animation, format_, lost)
    quality = _quality(header, encoding, lost)
    icc = _icc(header.color, format_, layout, lost)
    metadata, more = fitting(header.metadata, format_, header.width, header.height)
    chunks = header.color.chunks if format_ is PNG else ()
    content = Content(header.width, header.height, layout, metadata, icc, chunks, moving, quality)
    return content, [*lost, *more]


def _layout(header: Header, encoding: Encoding, lost: list[str]) -> Layout:
    format_, matte = encoding.format, None
    if header.alpha and not format_.alpha:
        matte = encoding.background or WHITE
        color = "white" if matte == WHITE else "#{:02x}{:02x}{:02x}".format(*matte)
        lost.append(f"{format_.name} has no transparency: put on {color} (--background chooses the color)")
    if format_ is GIF:
        _palette_losses(header, lost)
    depth = _depth(header, format_, lost)
    gray = header.color.gray and (matte is None or len(set(matte)) == 1)
    alpha = header.alpha and format_.alpha
    one = gray and format_.gray and not (format_ is JPEG_2000 and alpha and depth == 16)
    return Layout((1 if one else 3) + alpha, depth, gray, matte)


def _palette_losses(header: Header, lost: list[str]) -> None:
    if not header.color.gray:
        lost.append("GIF holds 256 colors a picture: where there are more, the nearest are dithered")
    if header.alpha:
        lost.append("GIF has no partial transparency: what is below a half becomes clear, the rest opaque")


def _depth(header: Header, format_: Format, lost: list[str]) -> int:
    if header.dtype == np.uint8:
        return 8
    bits = header.color.depth if header.color.depth > 8 else 16
    most = 16 if format_.deep else 10 if format_ is HEIC else 8
    if format_ is JPEG_2000 and min(header.width, header.height) < _LEAST_DEEP_JPEG_2000:
        most = 8
    if bits > most:
        small = "so small a " if format_.deep else ""
        lost.append(f"{small}{format_.name} has {most} bits a channel: {bits}-bit values are rounded")
    return 8 if most == 8 else 16


def _moving(animation: Animation | None, format_: Format, lost: list[str]) -> Animation | None:
    if animation is None:
        return None
    if not format_.animated:
        if len(animation.durations) > 1:
            lost.append(
                f"{format_.name} holds one picture: only the first of {len(animation.durations)} frames is kept"
            )
        return None
    if format_ is AVIF and any(duration < 1 for duration in animation.durations):
        lost.append("AVIF shows each frame for a millisecond at least: delays of 0 become 1")
        return Animation(tuple(max(1.0, duration) for duration in animation.durations), animation.plays)
    if format_ is GIF and any(round(duration) % 10 for duration in animation.durations):
        quick = any(duration < 20 for duration in animation.durations)
        slower = ", and those under 20 ms are played slower by most viewers" if quick else ""
        lost.append(f"GIF counts in hundredths of a second: delays are rounded{slower}")
    return animation


def _quality(header: Header, encoding: Encoding, lost: list[str]) -> int | None:
    asked, format_ = encoding.quality, encoding.format
    if asked is not None and not 0 <= asked <= 100:
        raise OutputError(f"a quality of {asked} does not exist; use 0 to 100")
    if format_.quality is None:
        if asked is not None:
            lost.append(f"{format_.name} knows no quality: {asked} has no effect")
        return None
    harm = _harm(header, format_)
    if harm is not None:
        if asked is None:
            return 100
        if asked < 100:
            lost.append(f"{harm}; without --quality it is written without loss")
    return format_.quality if asked is None else asked


def _harm(header: Header, format_: Format) -> str | None:
    """What the lossy form of a format does to such a picture that no one would take for compression."""
    if format_ is WEBP and header.color.gray:
        return "lossy WebP misses some grays by one level of green"
    if format_ is JPEG_XL and header.alpha:
        return "lossy JPEG XL spoils the edge of transparency: its encoder blackens what is hidden"
    return None


def _icc(color: Color, format_: Format, layout: Layout, lost: list[str]) -> bytes | None:
    """The profile that tells the colors: for formats that hold none, the one to convert from."""
    gray = layout.channels < 3
    icc = for_channels(color.icc, gray) if color.icc is not None else None
    if color.icc is not None and icc is None:
        lost.append("its ICC profile does not fit the kind of its pixels: dropped")
    if icc is None and format_ is not PNG:
        icc = _from_chunks(color, format_, gray, lost)
    if icc is None or format_.icc:
        return icc
    if is_srgb(icc):
        return None
    if layout.depth == 8:
        lost.append(f"{format_.name} holds no ICC profile: colors converted to sRGB")
        return icc
    lost.append(f"{format_.name} holds no ICC profile: its colors will be taken for sRGB; use PNG or TIFF")
    return None


def _from_chunks(color: Color, format_: Format, gray: bool, lost: list[str]) -> bytes | None:
    """A profile of what a PNG says in other ways; else the picture would be taken for sRGB, too dark or too pale."""
    try:
        space = told_by_chunks(color)
        if space is None:
            return None
        return gray_profile_of(space) if gray else rgb_profile(space)
    except ValueError as error:
        lost.append(f"{format_.name} cannot tell its colors ({error}): they will be taken for sRGB; use PNG")
        return None
