"""Formats whose encoders want the whole picture at once: JPEG, WebP, AVIF, JPEG 2000, HEIC and JPEG XL."""

import io
from collections.abc import Iterator
from importlib import import_module
from typing import Any, BinaryIO

import cv2
import numpy as np
from PIL import Image as Pil

from upscale.image import Array
from upscale.media.formats import AVIF, HEIC, JPEG, JPEG_2000, JPEG_XL, WEBP, Format
from upscale.media.writing.layout import Content, Pixels

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_BARE = (".j2k", ".j2c")
"""Names of JPEG 2000 files without the boxes around."""

_FULL_COLOR_FROM = 90
"""Quality from which color has the full resolution: it costs bytes that no one wants who asks for less."""


def write_whole(file: BinaryIO, format_: Format, content: Content, frames: Iterator[Iterator[Pixels]]) -> None:
    """The first frame."""
    bands = next(frames)
    encoded = io.BytesIO()  # then a full disk is told as such, which the encoders do not do
    if format_ is HEIC:
        _heic(encoded, content, _joined(content, bands))
    elif format_ is JPEG_2000 and content.layout.depth == 16:
        boxed = _deep_jpeg_2000(_joined(content, bands))
        encoded.write(_codestream(boxed) if content.suffix in _BARE else boxed)
    else:
        picture = pasted(content, bands)
        picture.save(encoded, format_.pillow, **options(format_, content), **beside(content))
    next(frames, None)
    file.write(encoded.getbuffer())


def pasted(content: Content, bands: Iterator[Pixels]) -> Pil.Image:
    """The picture in Pillow's memory, 8 bits a channel."""
    mode = _MODES[content.layout.channels]
    picture, top = Pil.new(mode, (content.width, content.height)), 0
    for band in bands:
        picture.paste(Pil.frombuffer(mode, band.shape[1::-1], np.ascontiguousarray(band), "raw", mode, 0, 1), (0, top))
        top += len(band)
    return picture


def _joined(content: Content, bands: Iterator[Pixels]) -> Pixels:
    dtype = np.uint8 if content.layout.depth == 8 else np.uint16
    pixels, top = np.empty((content.height, content.width, content.layout.channels), dtype), 0
    for band in bands:
        pixels[top : top + len(band)] = band
        top += len(band)
    return pixels


def beside(content: Content) -> dict[str, Any]:
    """Profile and metadata, as Pillow's encoders want them."""
    given = content.metadata
    exif = given.exif
    if exif is not None and content.suffix == ".webp":
        exif = exif.removeprefix(b"Exif\0\0")  # Pillow's animated WebP would keep it
    kept = {"icc_profile": content.icc, "exif": exif, "xmp": given.xmp, "dpi": given.dpi}
    return {key: value for key, value in kept.items() if value is not None}


def options(format_: Format, content: Content) -> dict[str, Any]:
    """How `content.quality` is meant: 100 is without loss in WebP and JPEG XL, and as near as it goes in the others."""
    quality = 100 if content.quality is None else content.quality
    full = quality >= _FULL_COLOR_FROM
    if format_ is JPEG:
        return {"quality": max(1, quality), "subsampling": 0 if full else 2}
    if format_ is WEBP:
        return {"lossless": True, "exact": True} if quality == 100 else {"quality": quality, "method": 4}
    if format_ is AVIF:
        return {"quality": quality, "subsampling": "4:4:4" if full and not content.layout.gray else "4:2:0"}
    if format_ is JPEG_XL:
        import_module("pillow_jxl")  # which makes it known to Pillow
        return {"lossless": True} if quality == 100 else {"quality": quality}
    if format_ is JPEG_2000:
        return {"no_jp2": content.suffix in _BARE}
    return {}


def _heic(file: BinaryIO, content: Content, pixels: Array) -> None:
    """10 bits where the picture has more than 8. Color has half the resolution below quality 100: only that is decoded
    by every phone."""
    heif: Any = import_module("pillow_heif")
    mode = _MODES[content.layout.channels] + (";16" if content.layout.depth == 16 else "")
    quality = 100 if content.quality is None else content.quality
    more = {"quality": quality, "chroma": 444 if quality == 100 else 420, "bit_depth": 10}
    kept = beside(content)
    kept.pop("dpi", None)
    heif.encode(mode, (content.width, content.height), pixels.tobytes(), file, **more, **kept)


def _deep_jpeg_2000(pixels: Pixels) -> bytes:
    """Reversible. OpenCV knows no gray with alpha: `layout` never asks for it."""
    ordered = pixels if pixels.shape[2] == 1 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    done, encoded = cv2.imencode(".jp2", ordered, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])
    if not done:
        raise ValueError("OpenCV could not encode it")
    return encoded.tobytes()


def _codestream(boxed: bytes) -> bytes:
    """The last box's content; its length in the head may be left open."""
    return boxed[boxed.index(b"jp2c") + 4 :]
