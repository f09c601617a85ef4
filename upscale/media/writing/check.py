"""Looks at a written file as the next program will, before it gets its name."""

import struct
import warnings
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image as Pil

from upscale.errors import OutputError
from upscale.media.formats import AVIF, GIF, HEIC, JPEG_XL, PNG, TIFF, WEBP, Format
from upscale.media.reading.boxes import av1_facts
from upscale.media.reading.frames import gif_facts, webp_facts
from upscale.media.writing.animate import milliseconds
from upscale.media.writing.gif import centiseconds
from upscale.media.writing.layout import Content

DECODED_UP_TO, STREAMED_UP_TO = 64_000_000, 16_000_000
"""Pixels up to which a file is decoded whole for the check, and that of a format whose writing needs little memory."""

_PORTION = 1 << 20
_MOST_PILLOW_INFLATES = 1 << 20
"""Pillow's PngImagePlugin.MAX_TEXT_CHUNK."""
_DEEP_MODES = {"I;16", "I;16B", "I"}
_MODES = {1: {"L", "1", "P"}, 2: {"LA", "RGBA"}, 3: {"RGB"}, 4: {"RGBA"}}


def check(path: Path, written: Path, format_: Format, content: Content) -> None:
    """Raises OutputError, naming `path`, where `written` is not what it should be."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd but readable metadata
            fault = _fault(written, format_, content)
    except OSError as error:
        if error.errno is not None:
            raise
        fault = str(error)  # so decoders tell of damage
    except (SyntaxError, ValueError, EOFError, LookupError, TypeError, RuntimeError, struct.error, zlib.error) as error:
        fault = " ".join(str(error).split())[:100] or type(error).__name__
    if fault is not None:
        raise OutputError(f"{path}: what was written cannot be read again ({fault}); nothing kept")


def _fault(written: Path, format_: Format, content: Content) -> str | None:
    if format_ is TIFF:
        return _tiff_fault(written, content)
    with written.open("rb") as file:
        fault = _png_fault(file, content) if format_ is PNG else None
        fault = fault or _moving_fault(file, format_, content)
        file.seek(0)
        if format_ is PNG and len(content.icc or b"") > _MOST_PILLOW_INFLATES:
            return fault  # Pillow takes such a profile for a bomb; other programs do not
        return fault or _pillow_fault(file, format_, content)


def _pillow_fault(file: BinaryIO, format_: Format, content: Content) -> str | None:
    """Opened by its own decoder, since `Pil.open` refuses large pictures; decoded where that does not take too long."""
    opener = _opener(format_)
    with opener(file, "") as opened:
        if opened.size != (content.width, content.height):
            return f"size {opened.size}"
        modes = _MODES[content.layout.channels] | (_DEEP_MODES if content.layout.depth == 16 else set[str]())
        loose = format_ in (GIF, WEBP, AVIF, HEIC)  # all opaque or all gray, they may come without these channels
        if opened.mode not in modes and not loose:
            return f"kind {opened.mode}"
        frames = 1 if content.animation is None else len(content.animation.durations)
        if content.width * content.height * frames <= (STREAMED_UP_TO if format_.streamed else DECODED_UP_TO):
            for frame in range(getattr(opened, "n_frames", 1)):
                if frame:
                    opened.seek(frame)
                opened.load()
    return None


def _opener(format_: Format) -> Any:
    if format_ is HEIC:
        from pillow_heif import HeifImageFile

        return HeifImageFile
    if format_ is JPEG_XL:
        import_module("pillow_jxl")  # which makes it known to Pillow
    if format_.pillow not in Pil.OPEN:
        Pil.init()
    return Pil.OPEN[format_.pillow][0]


def _png_fault(file: BinaryIO, content: Content) -> str | None:
    """Every chunk's checksum, that the (first) picture's data can be inflated and is all there, and that the last chunk
    ends the file."""
    if file.read(8) != b"\x89PNG\r\n\x1a\n":
        return "no PNG"
    name, inflater, found = b"", zlib.decompressobj(), 0
    while head := file.read(8):
        length, name = struct.unpack(">I4s", head)
        checksum = zlib.crc32(name)
        for start in range(0, length, _PORTION):
            data = file.read(min(_PORTION, length - start))
            checksum = zlib.crc32(data, checksum)
            found += _inflated(inflater, data) if name == b"IDAT" else 0
        if file.read(4) != checksum.to_bytes(4, "big"):
            return f"wrong checksum of {name.decode('latin-1')}"
    due = content.height * (content.row_bytes + 1)
    if found != due or not inflater.eof:
        return f"{found} bytes of pixels instead of {due}"
    return None if name == b"IEND" else "cut off"


def _inflated(inflater: Any, data: bytes) -> int:
    """How many bytes come out, of which few are kept at a time. Raises zlib.error."""
    count = 0
    while data:
        count += len(inflater.decompress(data, _PORTION))
        data = inflater.unconsumed_tail
    return count


def _moving_fault(file: BinaryIO, format_: Format, content: Content) -> str | None:
    """Frames and times. WebP joins equal frames, so that only their whole time must be right."""
    if content.animation is None:
        return None
    file.seek(0)
    wanted = content.animation.durations
    if format_ is PNG:
        return _apng_fault(file, len(wanted))
    if format_ is GIF:
        found, due = gif_facts(file).durations, [10 * step for step in centiseconds(wanted)]
        return None if list(found) == due else f"frames last {found} ms"
    if len(wanted) == 1:
        return None
    found = webp_facts(file).durations if format_ is WEBP else av1_facts(file.read()).durations
    whole = abs(sum(found) - sum(milliseconds(wanted))) < 1
    return None if whole and (format_ is WEBP or len(found) == len(wanted)) else f"frames last {found} ms"


def _apng_fault(file: BinaryIO, frames: int) -> str | None:
    """The number of frames that is announced, and of those that are there."""
    file.seek(8)
    found, announced = 0, 0
    while head := file.read(8):
        length, name = struct.unpack(">I4s", head)
        found += name == b"fcTL"
        if name == b"acTL":
            announced = int.from_bytes(file.read(4), "big")
            file.seek(-4, 1)
        file.seek(length + 4, 1)
    return None if found == announced == frames else f"{found} of {frames} frames"


def _tiff_fault(written: Path, content: Content) -> str | None:
    """By tifffile, since Pillow reads no 16-bit gray with alpha."""
    import tifffile  # takes a while, and most pictures do without

    layout = content.layout
    with tifffile.TiffFile(written) as file:
        page: Any = file.pages[0]
        shape = (content.height, content.width) + ((layout.channels,) if layout.channels > 1 else ())
        if page.shape != shape or page.dtype != np.dtype(f"u{layout.depth // 8}"):
            return f"{page.shape} {page.dtype}"
        if content.width * content.height > DECODED_UP_TO:
            return None if sum(page.databytecounts) < written.stat().st_size else "cut off"
        rows = sum(segment.shape[1] for segment, _, _ in page.segments() if segment is not None)
    return None if rows == content.height else f"{rows} rows"
