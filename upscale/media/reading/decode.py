"""Any file as a `Source`: what it is, decides its content; what is wrong with it, one line that names it.

Runs inside a worker process (isolated/worker.py): whatever a native decoder does to a hostile file, it does it there.
"""

from collections.abc import Callable
from pathlib import Path

from upscale.media import Source
from upscale.media.formats import (
    AVIF,
    BMP,
    GIF,
    HEIC,
    JPEG,
    JPEG_2000,
    JPEG_XL,
    PNG,
    PPM,
    REFUSED,
    TIFF,
    WEBP,
    Format,
)
from upscale.media.reading.opened import MAX_PIXELS, Limits, Opened, RefusedError, explained, guarded
from upscale.media.reading.plain import open_bmp, open_pnm
from upscale.media.reading.png import open_png
from upscale.media.reading.sniff import HEAD, sniff
from upscale.media.reading.tiff import open_tiff
from upscale.media.reading.whole import (
    open_avif,
    open_gif,
    open_heic,
    open_jpeg,
    open_jpeg_2000,
    open_jpeg_xl,
    open_webp,
)

DEFAULT_BAND = Limits().band

_READERS: dict[Format, Callable[[Path, Limits], Opened]] = {
    **{PNG: open_png, TIFF: open_tiff, PPM: open_pnm, BMP: open_bmp},  # in bands
    **{JPEG: open_jpeg, WEBP: open_webp, AVIF: open_avif, GIF: open_gif},
    **{JPEG_2000: open_jpeg_2000, HEIC: open_heic, JPEG_XL: open_jpeg_xl},
}


def open_file(path: Path, max_pixels: int | None = MAX_PIXELS, band_bytes: int = DEFAULT_BAND) -> Source:
    """Opens a picture or animation; its header is known, its pixels are not decoded (but a JPEG XL's).

    More than `max_pixels` a picture, or twenty times as many in all frames, are refused by what the file announces;
    None allows any size. PNG, TIFF, PPM and BMP come in bands of about `band_bytes`, other formats whole.
    Raises PictureError, as everything does that one reads from the source.
    """
    with explained(path):
        reason = REFUSED.get(path.suffix.lower())
        if reason is not None and path.is_file():
            raise RefusedError(reason)
        with path.open("rb") as file:
            head = file.read(HEAD)
        if not head:
            raise RefusedError("the file is empty; copy or download it again")
        source = _READERS[sniff(head)](path, Limits(max_pixels, band_bytes))
    return guarded(path, source)
